"""What the target tells the person in front of it while it has neither journal nor screen of its own."""

import sys
from contextlib import suppress
from pathlib import Path


def _write(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
    if not sys.stderr.isatty():  # under systemd standard error is the journal, and nobody would see the line
        with suppress(OSError), Path("/dev/console").open("w") as console:
            console.write(line + "\r\n")


def say(text: str) -> None:
    """Tell the person something in plain words."""
    _write(f"[stiefel] {text}")


def event(name: str, **facts: object) -> None:
    """Print the line that timelines are made of: stiefel: event=<name> key=value ..."""
    _write(" ".join(["stiefel:", f"event={name}", *(f"{key}={value}" for key, value in facts.items())]))
