"""One command to a running QEMU over its QMP socket (https://www.qemu.org/docs/master/interop/qmp-spec.html)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from .shell import LabError

ANSWER_SECONDS = 30


def qmp(path: Path, command: str, /, **arguments: Any) -> Any:
    """Run `command` and return what QEMU returns; each call is a connection of its own.

    QEMU's arguments have dashes where Python's have underscores.

    Raises:
        LabError: QEMU does not answer, or answers with an error.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(path))
            with connection.makefile("rw", encoding="utf-8") as stream:
                json.loads(stream.readline())  # the greeting
                _ask(stream, "qmp_capabilities", {})
                return _ask(stream, command, {name.replace("_", "-"): value for name, value in arguments.items()})
        except OSError as error:
            raise LabError(f"QEMU does not answer at {path}: {error}") from error


def _ask(stream: Any, command: str, arguments: dict[str, Any]) -> Any:
    """Send one command and skip events until its answer arrives."""
    stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    stream.flush()
    for line in stream:
        answer = json.loads(line)
        if "error" in answer:
            raise LabError(f"QEMU refused {command}: {answer['error']['desc']}")
        if "return" in answer:
            return answer["return"]
    return None  # QEMU closed the connection: the right answer to "quit"
