"""The page that people see."""

import io

from stiefel_agent.face.screen import Mark, Screen, Step, progress


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
