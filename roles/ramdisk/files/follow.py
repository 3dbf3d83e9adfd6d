#!/usr/bin/env python3
"""Run a command that lets apt install packages, and note how far it is: apt names each that it fetches and installs.

Usage: follow.py COMMAND...

What the command says besides goes on to standard output. The file that STIEFEL_PROGRESS names gets a line such as
"45 % of 254 packages" for each new percent; who waits shows it (plugins/callback/short.py).
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

TOTAL = re.compile(r"(\d+) newly installed")
STEP = re.compile(r"Get:\d+ .*\[\d|Unpacking |Setting up ")
STEPS_PER_PACKAGE = 3
"""Each is fetched, unpacked and set up."""


def followed(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield what is said, and what is to be noted, either may be nothing; of steps only how far they are."""
    total = steps = noted = 0
    for line in lines:
        if found := TOTAL.search(line):
            total, steps = int(found[1]), 0
        step = bool(STEP.match(line))
        steps += step
        percent = min(100, 100 * steps // (STEPS_PER_PACKAGE * total)) if total else 0
        yield "" if step else line, f"{percent} % of {total} packages" if percent > noted else ""
        noted = percent


def note(text: str) -> None:
    """Append a line to the file of who waits, if anybody does. It is not made here: it belongs to who waits."""
    if waits := os.environ.get("STIEFEL_PROGRESS"):
        with contextlib.suppress(FileNotFoundError), Path(waits).open("r+") as file:
            file.seek(0, os.SEEK_END)
            file.write(f"{text}\n")


def main() -> int:
    """Run the command; return its exit code."""
    with subprocess.Popen(
        sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as running:
        for said, far in followed(running.stdout or ()):
            sys.stdout.write(said)
            if far:
                note(far)
    return running.returncode


if __name__ == "__main__":
    sys.exit(main())
