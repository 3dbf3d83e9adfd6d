"""What the target tells the person in front of it while it has neither journal nor screen of its own."""

import os
import sys
from contextlib import suppress


def _write(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    if not sys.stderr.isatty():  # under systemd standard error is the journal, and nobody would see the line
        with suppress(OSError):
            _write_console(line)


def _write_console(line: str) -> None:
    """Write a line to the console, or lose it: one that was stopped (Scroll Lock) would never take it."""
    console = os.open("/dev/console", os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        os.write(console, f"{line}\r\n".encode())
    finally:
        os.close(console)


def say(text: str) -> None:
    """Tell the person something in plain words."""
    _write(f"[stiefel] {text}")


def event(name: str, **facts: object) -> None:
    """Print the line that timelines are made of: stiefel: event=<name> key=value ..."""
    _write(" ".join(["stiefel:", f"event={name}", *(f"{key}={value}" for key, value in facts.items())]))
