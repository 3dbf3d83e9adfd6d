"""What the target tells the person in front of it while it has neither journal nor screen of its own."""

import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from stiefel_agent.face import journal

LAST_ERROR = Path("/run/stiefel/last-error.json")
"""What went wrong last, for `stiefel-agent status`; anybody may read it."""


def _write(line: str, priority: int = journal.INFO, fields: Mapping[str, object] = MappingProxyType({})) -> None:
    if not (journal.is_standard_error() and journal.send(line, priority, fields)):
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


def complain(text: str) -> None:
    """Tell the person what went wrong, and keep it for `stiefel-agent status`."""
    _write(f"[stiefel] {text}", journal.ERROR)
    with suppress(OSError):
        left = json.dumps({"at": time.clock_gettime(time.CLOCK_BOOTTIME), "text": text})
        new = LAST_ERROR.with_suffix(".new")
        new.write_text(left)
        new.chmod(0o644)
        new.rename(LAST_ERROR)


def event(name: str, **facts: object) -> None:
    """Leave the line that timelines are made of: stiefel: event=<name> key=value ...

    In the journal it has a field for each: STIEFEL_EVENT, STIEFEL_KEY ...
    """
    fields = {f"STIEFEL_{key.upper()}": value for key, value in {"event": name, **facts}.items()}
    _write(" ".join(["stiefel:", f"event={name}", *(f"{key}={value}" for key, value in facts.items())]), fields=fields)
