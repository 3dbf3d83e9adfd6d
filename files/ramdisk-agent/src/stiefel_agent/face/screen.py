"""What the person at the keyboard sees: one page of plain words on the first console."""

from __future__ import annotations

import io
import os
import shutil
import sys
import termios
import textwrap
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import TextIO, cast

from stiefel_agent.face.letters import LINES, WIDTH, enlarge

_BAR = 30
_GREEN, _YELLOW, _RED = "\x1b[1;32m", "\x1b[1;33m", "\x1b[1;31m"
_CANCEL = "\x18"
"""Ends an escape sequence of which the rest was lost (console_codes(4))."""
_UNBLANK = "\x1b[13]"
_DIM, _BOLD, _PLAIN = "\x1b[90m", "\x1b[1m", "\x1b[0m"


class Mark(Enum):
    """How far a step is. The glyphs are in the consoles' built-in font (code page 437)."""

    TODO = f"{_DIM}\u00b7"
    NOW = f"{_YELLOW}\u25ba"
    DONE = f"{_GREEN}\u25a0"
    FAILED = f"{_RED}!"


@dataclass(slots=True)
class Step:
    """One line of the page: what is done, how far it is, and a detail in plain words."""

    title: str
    mark: Mark = Mark.TODO
    detail: str = ""


def progress(done: int, total: int, seconds: float) -> str:
    """Return a bar with bytes, rate and time left; `seconds` have passed since the first byte."""
    share = min(done / total, 1.0) if total else 1.0
    filled = round(share * _BAR)
    bar = "\u2588" * filled + "\u2591" * (_BAR - filled)
    text = f"{bar} {done / 1e6:.1f} of {total / 1e6:.1f} MB"
    if seconds > 0 and done:
        rate = done / seconds
        text += f"  {rate / 1e6:.1f} MB/s  {max(0, round((total - done) / rate))} s left"
    return text


@dataclass(slots=True)
class Screen:
    """The page of one role. Every change is drawn at once; on anything but a terminal, it is a line of text."""

    title: str
    steps: Sequence[Step]
    stream: TextIO = field(default_factory=lambda: patient_stdout())  # noqa: PLW0108 - it stands further down
    hints: tuple[str, ...] = ()
    notice: str = ""
    """What must not be overlooked, whatever the step is; empty: nothing."""
    _drawn: str = ""

    def start(self, step: Step, detail: str = "") -> None:
        """Say that a step has begun, or what is new about it; the steps before it are done, those after are not."""
        if step.mark is not Mark.NOW:
            self.light()
        position = self.steps.index(step)
        for index, other in enumerate(self.steps):
            other.mark = Mark.DONE if index < position else Mark.TODO
            other.detail = other.detail if index < position else ""
        step.mark, step.detail = Mark.NOW, detail
        self.draw()

    def finish(self, step: Step, detail: str = "") -> None:
        """Say that a step is done."""
        step.mark, step.detail = Mark.DONE, detail or step.detail
        self.draw()

    def fail(self, step: Step, reason: str, *hints: str) -> None:
        """Say that a step did not work, why, and what to try."""
        if step.mark is not Mark.FAILED:
            self.light()
        step.mark, step.detail, self.hints = Mark.FAILED, "", (reason, *hints)
        self.draw()

    def advise(self, *hints: str) -> None:
        """Show what a person may do now; none takes the old advice away."""
        self.hints = hints
        self.draw()

    def warn(self, notice: str, *, fresh: bool) -> None:
        """Show what must not be overlooked, on a screen that is lit for it if it is fresh; empty takes it away."""
        if fresh:
            self.light()
        self.notice = notice
        self.draw()

    def light(self) -> None:
        """Light a screen that has gone dark because nobody pressed a key (console_codes(4))."""
        if self.stream.isatty():
            self.stream.write(_UNBLANK)

    def draw(self) -> None:
        """Show the page, if it differs from what is shown."""
        is_terminal = self.stream.isatty()
        page = centred(self._page(), fitted()) if is_terminal else self._page()
        if page == self._drawn:
            return
        self._drawn = page
        if is_terminal:
            # Home, page, clear the rest: no flicker. The cursor has nothing to point at.
            placed = page.replace("\n", "\x1b[K\n")
            if not self.stream.write(f"{_CANCEL}\x1b[?25l\x1b[H{placed}\x1b[J"):
                self._drawn = ""  # the terminal takes nothing now; the whole page comes again with the next look
        else:
            current = next((step for step in self.steps if step.mark in (Mark.NOW, Mark.FAILED)), None)
            if current:
                self.stream.write(f"{current.title}: {current.detail or ' '.join(self.hints)}\n")
        self.stream.flush()

    def _page(self) -> str:
        lines = ["", f"  {_BOLD}Stiefelsystem{_PLAIN}  {self.title}", ""]
        for step in self.steps:
            lines.append(f"  {step.mark.value} {_BOLD if step.mark is Mark.NOW else ''}{step.title}{_PLAIN}")
            if step.detail:
                lines += [f"      {line}" for line in _wrap(step.detail)]
        lines.append("")
        if self.notice:
            lines += [f"  {_YELLOW}{line}{_PLAIN}" for line in _wrap(self.notice)] + [""]
        for hint in self.hints:
            lines += [f"  {line}" for line in _wrap(hint)] + [""]
        return "\n".join(lines)


class Terminal(io.TextIOBase):
    """The terminal of a stream, through a description of our own that never waits: what it does not take now is lost.

    A terminal that was stopped (Scroll Lock; Ctrl-S where it counts) or whose reader is slow would hold the writer up.
    The description is our own because O_NONBLOCK belongs to one, and the stream's is others' as well (open(2)).
    """

    def __init__(self, path: str) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)

    def isatty(self) -> bool:
        """Return True."""
        return True

    def write(self, text: str) -> int:
        """Return how many characters were taken: all or, as far as anybody should rely on them, none."""
        data = text.encode(errors="replace")
        try:
            return len(text) if os.write(self._descriptor, data) == len(data) else 0
        except OSError:
            return 0


def patient_stdout() -> TextIO:
    """Return standard output, through a description that never waits if it is a terminal."""
    if not sys.stdout.isatty():
        return sys.stdout
    return cast(TextIO, Terminal(os.ttyname(sys.stdout.fileno())))


def fitted() -> os.terminal_size:
    """Return the terminal's size, in large letters if there is room.

    Looked at each time: a graphics driver that takes the screen over, as the laptop's own does, begins with small ones.
    """
    with suppress(OSError):
        enlarge(1)
    return shutil.get_terminal_size((WIDTH, LINES))


def centred(page: str, size: os.terminal_size) -> str:
    """Return the page in the middle of a terminal, a little above: where a person looks first."""
    left = max(0, (size.columns - WIDTH) // 2)
    above = max(0, (size.lines - page.count("\n") - 1) // 3)
    lines = [" " * left + line if line else line for line in page.split("\n")]
    return "\n" * above + "\n".join(lines)


def _wrap(text: str) -> list[str]:
    """Break a text into lines that fit."""
    return [line for paragraph in text.split("\n") for line in textwrap.wrap(paragraph, WIDTH - 6)]


def wake_console(dark_after: int = 0) -> None:
    """Let the console go dark after so many minutes without a key; 0: never.

    A dark screen looks like a broken machine, so only one that nobody need look at for hours may go dark.
    Source: console_codes(4).
    """
    if os.isatty(1):
        patient_stdout().write(f"\x1b[9;{dark_after}]\x1b[14;0]\x1b[2J")


def beep(hertz: int, milliseconds: int) -> None:
    """Sound the console's bell, which is the PC speaker, without waiting for its end (console_codes(4))."""
    if os.isatty(1):
        patient_stdout().write(f"\x1b[10;{hertz}]\x1b[11;{milliseconds}]\a")


def take_keys(terminal: int) -> None:
    """Let each key come at once, unseen, and as nothing but a key (termios(3)); `terminal` is a descriptor.

    Without ISIG, Ctrl-C is a key like others and ends nothing; without IXON, Ctrl-S does not stop what is written.
    """
    mode = termios.tcgetattr(terminal)
    mode[0] &= ~termios.IXON
    mode[3] &= ~(termios.ISIG | termios.ICANON | termios.ECHO)
    mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
    termios.tcsetattr(terminal, termios.TCSANOW, mode)
