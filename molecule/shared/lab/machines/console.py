"""Following a machine's serial console: what it said, when, and waiting for what it has yet to say."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path

from .shell import LabError, say

PROGRESS_SECONDS = 10.0
PANIC = re.compile(r"Kernel panic - not syncing.*")
ESCAPES = re.compile(r"\x1b[\[\](][0-9;?=]*[A-Za-z]|\x1b[=>]|[\x00\r]")


@dataclass(frozen=True)
class Seen:
    """What a wait found: the matching text and when it arrived (time.monotonic, seconds)."""

    text: str
    when: float


class Console:
    """One machine's serial log, read as it grows by `tail` (it waits by inotify) until the machine ends."""

    def __init__(self, name: str, log: Path, pid: int, *, from_end: bool = False) -> None:
        """Follow `log` while the process `pid` lives; `from_end` leaves out what was said before."""
        self.name = name
        self._text = ""
        self._arrivals: list[tuple[int, float]] = []  # (length of the text after a read, when)
        self._position = 0
        self._ended = False
        self._news = threading.Condition()
        command = [
            "tail",
            f"--pid={pid}",
            "--follow=descriptor",
            f"--bytes={'0' if from_end else '+1'}",
            str(log),
        ]
        self._tail = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0)
        threading.Thread(target=self._read, name=f"console {name}", daemon=True).start()

    def _read(self) -> None:
        """Take in what tail delivers; at its end wake who waits."""
        assert self._tail.stdout is not None
        while data := self._tail.stdout.read(65536):
            with self._news:
                self._text += data.decode(errors="replace")
                self._arrivals.append((len(self._text), time.monotonic()))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def wait_for(self, pattern: str, *, seconds: float, why: str) -> Seen:
        """Wait until `pattern` appears after the last match; `why` tells a person what that would mean.

        Raises:
            LabError: it did not within `seconds`, the kernel panicked, or the machine ended.
        """
        start = time.monotonic()
        report_at = start + PROGRESS_SECONDS
        wanted = re.compile(pattern)
        with self._news:
            while not (match := wanted.search(self._text, self._position)):
                now = time.monotonic()
                self._check(why, pattern, now - start, seconds)
                if now >= report_at:
                    say(f"{self.name}: {now - start:.0f} s (of {seconds:.0f}): waiting for {why}")
                    report_at += PROGRESS_SECONDS
                self._news.wait(min(report_at, start + seconds) - now)
            self._position = match.end()
            arrival = bisect_left(self._arrivals, (match.end(), 0.0))
            return Seen(match.group(), self._arrivals[arrival][1])

    def _check(self, why: str, pattern: str, waited: float, seconds: float) -> None:
        """Give up when waiting has no sense any more; the condition is held."""
        if panic := PANIC.search(self._text, self._position):
            raise LabError(f"{self.name}: {panic.group()} (while waiting for {why})")
        if self._ended:
            raise LabError(f"{self.name} ended while waiting for {why} ({pattern!r})")
        if waited >= seconds:
            raise LabError(f"{self.name}: {why} ({pattern!r}) did not come within {seconds:.0f} s")

    def close(self) -> None:
        """Stop following."""
        self._tail.kill()
        self._tail.wait()


def last_lines(log: Path, count: int = 40) -> str:
    """The end of a serial log for a person: without terminal control sequences and empty lines."""
    text = ESCAPES.sub("", log.read_text(errors="replace")) if log.exists() else ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-count:])
