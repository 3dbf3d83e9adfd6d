"""The page that people see."""

import io
import os
import pty
import termios
from collections.abc import Iterator
from typing import TextIO, cast

import pytest

from stiefel_agent.face import letters, screen
from stiefel_agent.face.screen import Mark, Screen, Step, progress, take_keys
from stiefel_agent.face.screen import Terminal as OwnTerminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_says_bytes_rate_and_time_left() -> None:
    text = progress(25_000_000, 100_000_000, 5.0)
    assert "25.0 of 100.0 MB" in text
    assert "5.0 MB/s" in text
    assert "15 s left" in text


def test_progress_of_nothing_yet_is_calm() -> None:
    assert "left" not in progress(0, 100, 0.0)
    assert "0.0 of 0.0 MB" in progress(0, 0, 0.0)


def test_a_step_marks_those_before_it_done_and_those_after_it_open() -> None:
    steps = [Step("one"), Step("two"), Step("three")]
    Screen("desktop", steps, Terminal()).start(steps[1], "now")
    assert [step.mark for step in steps] == [Mark.DONE, Mark.NOW, Mark.TODO]


def test_a_failure_shows_reason_and_remedy() -> None:
    terminal, step = Terminal(), Step("one")
    Screen("desktop", [step], terminal).fail(step, "the cable is out", "plug it in")
    assert "the cable is out" in terminal.getvalue()
    assert "plug it in" in terminal.getvalue()


def test_an_unchanged_page_is_not_drawn_again() -> None:
    terminal, step = Terminal(), Step("one")
    screen = Screen("desktop", [step], terminal)
    screen.start(step, "same")
    drawn = len(terminal.getvalue())
    screen.start(step, "same")
    assert len(terminal.getvalue()) == drawn


def test_what_is_new_lights_the_screen_and_what_is_not_leaves_it_dark() -> None:
    terminal, steps = Terminal(), [Step("one"), Step("two")]
    page = Screen("laptop", steps, terminal)
    for change, lights in (
        (lambda: page.start(steps[0], "waiting"), True),
        (lambda: page.start(steps[0], "still waiting"), False),
        (lambda: page.start(steps[1]), True),
        (lambda: page.warn("the battery is low", fresh=True), True),
        (lambda: page.warn("the battery is lower", fresh=False), False),
        (lambda: page.fail(steps[1], "it broke"), True),
    ):
        before = len(terminal.getvalue())
        change()
        assert ("\x1b[13]" in terminal.getvalue()[before:]) is lights


def test_a_warning_is_on_the_page_whatever_the_step_is() -> None:
    terminal, steps = Terminal(), [Step("one"), Step("two")]
    page = Screen("laptop", steps, terminal)
    page.warn("the battery is low", fresh=True)
    page.start(steps[1], "going on")
    assert "the battery is low" in terminal.getvalue().rpartition("\x1b[H")[2]
    page.warn("", fresh=False)
    assert "the battery is low" not in terminal.getvalue().rpartition("\x1b[H")[2]


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """A hand at the keyboard, and the terminal."""
    hand, end = os.openpty()
    yield hand, end
    os.close(hand)
    os.close(end)


def test_a_stopped_terminal_loses_a_page_and_shows_the_next(terminal: tuple[int, int]) -> None:
    hand, end = terminal
    step = Step("Serve the disk")
    page = Screen("laptop", [step], cast(TextIO, OwnTerminal(os.ttyname(end))))
    termios.tcflow(end, termios.TCOOFF)
    page.start(step, "lost")
    page.advise("as well")
    termios.tcflow(end, termios.TCOON)
    page.advise("as well")
    assert b"as well" in os.read(hand, 65536)


def test_keys_that_stop_or_end_programs_are_keys_like_others(terminal: tuple[int, int]) -> None:
    hand, end = terminal
    take_keys(end)
    pressed = b"\x03\x13\x1a\x1c"  # Ctrl-C, Ctrl-S, Ctrl-Z, Ctrl-\
    os.write(hand, pressed)
    assert os.read(end, 16) == pressed


def test_what_is_still_to_come_has_no_details_of_an_earlier_time() -> None:
    steps = [Step("one"), Step("two")]
    screen = Screen("laptop", steps, Terminal())
    screen.start(steps[1], "of a session that is over")
    screen.start(steps[0], "waiting")
    assert [step.detail for step in steps] == ["waiting", ""]


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "25")


def size(columns: int, lines: int) -> os.terminal_size:
    return os.terminal_size((columns, lines))


def test_a_small_terminal_has_the_page_in_its_corner() -> None:
    assert screen.centred("one\n\ntwo", size(80, 3)) == " one\n\n two"
    assert screen.centred("one", size(40, 1)) == "one"


def test_a_large_terminal_has_the_page_in_its_middle() -> None:
    lines = screen.centred("one\ntwo", size(160, 50)).split("\n")
    assert lines.index(" " * 41 + "one") == 16
    assert lines[-1] == " " * 41 + "two"


def test_letters_are_large_where_the_page_still_fits() -> None:
    assert letters.is_large(size(160, 50))  # 1280x800
    assert letters.is_large(size(240, 67))  # 1920x1080
    assert not letters.is_large(size(128, 48))  # 1024x768
    assert not letters.is_large(size(80, 25))  # text mode


def test_a_terminal_that_has_no_fonts_stays_as_it_is() -> None:
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (67, 240))
    letters.enlarge(follower)
    assert termios.tcgetwinsize(follower) == (67, 240)
    os.close(leader)
    os.close(follower)


def test_a_screen_that_another_driver_takes_over_gets_large_letters_and_the_page_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The laptop's own graphics driver comes while the page stands there, and begins with small letters."""
    terminal, step = Terminal(), Step("one")
    page = Screen("laptop", [step], terminal)
    page.start(step, "the same")
    before = len(terminal.getvalue())
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setattr(screen, "enlarge", lambda _: monkeypatch.setenv("COLUMNS", "120"))
    page.start(step, "the same")
    assert f"{' ' * 21}  " in terminal.getvalue()[before:]
