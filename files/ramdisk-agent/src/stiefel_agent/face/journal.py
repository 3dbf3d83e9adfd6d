"""The journal's own protocol, so that events have fields: `journalctl STIEFEL_EVENT=triggered`.

Source: systemd's "Native Journal Protocol" (systemd.io/JOURNAL_NATIVE_PROTOCOL), systemd.exec(5) for JOURNAL_STREAM.
"""

import os
import socket
import struct
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
ERROR, INFO = 3, 6
"""Priorities, as syslog(3) numbers them."""


def entry(fields: Mapping[str, object]) -> bytes:
    """Return an entry as journald takes it; a value of several lines is given with its length."""
    parts = []
    for name, value in fields.items():
        data = str(value).encode(errors="replace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


def is_standard_error() -> bool:
    """Say whether what is written to standard error goes to the journal: systemd names the stream it has opened."""
    try:
        stream = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"


def send(message: str, priority: int, fields: Mapping[str, object]) -> bool:
    """Leave an entry; False if that is not possible at once, as in a unit that may not use UNIX sockets."""
    everything = {"MESSAGE": message, "PRIORITY": priority, "SYSLOG_IDENTIFIER": "stiefel-agent", **fields}
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as journal:
            journal.setblocking(False)
            journal.sendto(entry(everything), SOCKET)
    except OSError:
        return False
    return True
