"""The kernel's attributes, and files that others read while they are written."""

import os
import stat

import pytest
from trees import plant, wired

from stiefel_agent.machine import gauge, sysfs, whole


@pytest.mark.parametrize(
    ("said", "number"),
    [("1000", 1000), ("-1", -1), ("0x1003", 0x1003), ("", None), ("unknown", None), ("1 2", None), ("0xyz", None)],
)
def test_a_number_is_a_number_and_a_word_is_none(tmp_path, said, number):
    (tmp_path / "speed").write_text(said + "\n")
    assert sysfs.number(tmp_path / "speed") == number


def test_what_is_gone_or_silent_says_nothing(tmp_path):
    assert sysfs.read(tmp_path / "carrier") == ""
    assert sysfs.number(tmp_path / "carrier") is None
    assert sysfs.read(tmp_path) == ""  # it cannot be read, as the carrier of an interface that is down


def test_a_driver_that_says_words_for_figures_costs_the_figures_only(tmp_path):
    plant(tmp_path, wired("eth0", speed="unknown", carrier="up"))
    read = gauge.read("eth0", tmp_path / "sys/class/net")
    assert (read.speed, read.carrier, read.received) == (None, False, 5000)


@pytest.fixture
def closed_umask():
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.parametrize("mode", [0o644, 0o600])
def test_a_file_has_its_mode_whatever_the_umask_and_whatever_was_left_of_another_try(tmp_path, closed_umask, mode):
    file = tmp_path / "record.json"
    for left in (file, file.with_suffix(".new")):
        left.write_text("a longer text of before")
        left.chmod(0o666)
    whole.write(file, "new", mode)
    assert file.read_text() == "new"
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_written_is_left_as_it_was(tmp_path):
    file = tmp_path / "record.json"
    file.write_text("before")
    file.with_suffix(".new").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        whole.write(file, "new", 0o600)
    assert file.read_text() == "before"
    assert not (tmp_path / "elsewhere").exists()
