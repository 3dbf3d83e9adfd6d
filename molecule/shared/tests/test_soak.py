import pytest
from lab.trials.soak import GROWTH_FILES, GROWTH_KIB, Size

FIRST = Size(2_000_000, 50_000)


@pytest.mark.parametrize(
    ("kib", "files", "grows"),
    [(0, 0, False), (GROWTH_KIB, GROWTH_FILES, False), (GROWTH_KIB + 1, 0, True), (0, GROWTH_FILES + 1, True)],
)
def test_a_systems_own_housekeeping_is_no_growth(kib, files, grows):
    assert Size(FIRST.kib + kib, FIRST.files + files).has_grown_since(FIRST) == grows


def test_what_became_less_has_not_grown():
    assert not Size(1_000_000, 49_000).has_grown_since(FIRST)
