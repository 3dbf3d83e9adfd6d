"""What the target tells the person in front of it while it has neither journal nor screen of its own."""

import json
import os
import sys
import textwrap
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType

from stiefel_agent.face import journal, letters
from stiefel_agent.machine import whole

LAST_ERROR = Path("/run/stiefel/last-error.json")
"""What went wrong last, for `stiefel-agent status`; anybody may read it."""


_NAME = "  Stiefelsystem  "
_BOLD, _RED, _PLAIN = "\x1b[1m", "\x1b[1;31m", "\x1b[0m"


def look(text: str, *, wrong: bool = False) -> str:
    """Return a message as the pages look: the name in bold, the words beside it, and room around it."""
    lines = textwrap.wrap(text, letters.WIDTH - len(_NAME), break_on_hyphens=False, break_long_words=False) or [""]
    margin = " " * len(_NAME)
    told = f"\r\n{margin}".join(lines)
    return f"\r\n{_RED if wrong else _BOLD}{_NAME}{_PLAIN}{told}\r\n\r\n"


def _write(
    line: str, shown: str, priority: int = journal.INFO, fields: Mapping[str, object] = MappingProxyType({})
) -> None:
    """Write a line for programs, and what is shown of it on a screen."""
    if sys.stderr.isatty():
        sys.stderr.write(shown)
        sys.stderr.flush()
        return
    if not (journal.is_standard_error() and journal.send(line, priority, fields)):
        print(line, file=sys.stderr, flush=True)
    with suppress(OSError):  # under systemd standard error is the journal, and nobody would see the line
        _write_console(shown)


def _write_console(shown: str) -> None:
    """Write to the console, or lose it: one that was stopped (Scroll Lock) would never take it."""
    console = os.open("/dev/console", os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        os.write(console, shown.encode())
    finally:
        os.close(console)


def say(text: str) -> None:
    """Tell the person something in plain words."""
    _write(f"[stiefel] {text}", look(text))


def complain(text: str) -> None:
    """Tell the person what went wrong, and keep it for `stiefel-agent status`."""
    _write(f"[stiefel] {text}", look(text, wrong=True), journal.ERROR)
    with suppress(OSError):
        left = json.dumps({"at": time.clock_gettime(time.CLOCK_BOOTTIME), "text": text})
        whole.write(LAST_ERROR, left, 0o644)


def event(name: str, **facts: object) -> None:
    """Leave the line that timelines are made of: stiefel: event=<name> key=value ...

    In the journal it has a field for each: STIEFEL_EVENT, STIEFEL_KEY ...
    """
    fields = {f"STIEFEL_{key.upper()}": value for key, value in {"event": name, **facts}.items()}
    line = " ".join(["stiefel:", f"event={name}", *(f"{key}={value}" for key, value in facts.items())])
    _write(line, f"{line}\r\n", fields=fields)
