"""Which key means what at the laptop, and when."""

import pytest

from stiefel_agent.server.person import Person
from stiefel_agent.server.sessions import Event, State


@pytest.mark.parametrize("state", [State.GIVING, State.SERVING])
def test_a_session_ends_by_two_keys(state: State) -> None:
    person = Person()
    assert person.press("e", state) is None
    assert person.sure
    assert person.press("y", state) is Event.ENDED
    assert not person.sure


@pytest.mark.parametrize("keys", ["y", "eny", "exy", "yy"])
def test_whoever_is_not_sure_ends_nothing(keys: str) -> None:
    person = Person()
    assert [person.press(key, State.SERVING) for key in keys] == [None] * len(keys)


def test_a_yes_that_comes_when_the_session_is_over_ends_nothing() -> None:
    person = Person()
    person.press("e", State.SERVING)
    assert person.press("y", State.RETURNING) is None


@pytest.mark.parametrize("state", list(State))
def test_a_laptop_is_sent_home_only_when_nobody_has_its_disk(state: State) -> None:
    decided = Person().press("r", state)
    assert decided is (Event.SENT_HOME if state in (State.WAITING, State.FENCING) else None)
