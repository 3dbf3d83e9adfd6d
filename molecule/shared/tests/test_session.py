"""A session's pictures are kept, and a black one is a fault that names its file."""

from pathlib import Path

import pytest
from lab.machines.bench import DESKTOP, LAPTOP
from lab.machines.machine import Machine
from lab.machines.picture import Picture
from lab.machines.shell import LabError
from lab.trials import session
from lab.trials.report import Report
from lab.trials.session import Person, Session

BLACK = Picture(100, 100, bytes(30_000))
TEXT = Picture(100, 100, b"\xaa" * 30_000)


class Screen(Machine):
    """A machine that is on and shows one picture after the other; the last one stays."""

    pid = 1

    def picture(self):
        shown = self.shown
        return shown.pop(0) if len(shown) > 1 else shown[0]


def screen(name, *shown):
    machine = Screen(name, Path("/nowhere"), Path("/nowhere"), 0, "")
    object.__setattr__(machine, "shown", list(shown))
    return machine


@pytest.fixture
def at(tmp_path, monkeypatch):
    """Return a function that takes the pictures of a moment: laptop's screens, desktop's screens -> the report."""
    monkeypatch.setattr(session, "DARK_SECONDS", 0.05)
    monkeypatch.setattr(session, "DARK_STEP", 0.01)

    def take(moment, laptop, desktop):
        class Bench:
            def machine(self, name):
                return screen(name, *desktop)

        class Watch:
            bench = Bench()

        Watch.laptop = screen(LAPTOP, *laptop)
        one = Session(Watch(), tmp_path, Report("uefi", "tcg", "wireguard"), Person())
        one.take_screenshots(moment)
        return one.report

    return take


def test_a_black_screen_is_a_fault_with_its_picture(at, tmp_path):
    report = at("target_kernel", [TEXT], [BLACK])
    with pytest.raises(LabError, match=r"not black: screenshots/00-target_kernel-desktop\.png"):
        report.require_success()
    assert (tmp_path / "screenshots/00-target_kernel-desktop.png").exists()


def test_a_screen_between_two_drivers_is_looked_at_again(at):
    at("target_kernel", [TEXT], [BLACK, BLACK, TEXT]).require_success()


def test_what_cannot_have_a_picture_yet_may_be_black(at):
    at("power_on", [TEXT], [BLACK]).require_success()
    assert ("power_on", DESKTOP) in session.DARK_BY_NATURE
