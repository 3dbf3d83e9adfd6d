"""The laptop's disk on the network: nbdkit as a systemd unit, started for one session and killed with it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from stiefel_agent.errors import ExportFailed
from stiefel_agent.machine import program

PORT = 10809
"""IANA's port for NBD."""
UNIT = "stiefel-export.service"
ENVIRONMENT = Path("/run/stiefel/export.env")
PROCESSES = Path("/sys/fs/cgroup/system.slice") / UNIT / "cgroup.procs"
LIMIT_SECONDS = 10.0
"""nbdkit starts within two seconds on an emulated machine, and is killed at once."""
_CONNECTIONS_FACTOR = 4
"""A target whose cable was out comes back with new connections, before the old ones have been found dead."""


def start(disk: str, address: str, name: str, connections: int) -> None:
    """Export a whole disk on one address only, under one secret name; returns when it can be reached.

    `connections` is what the target opens; four times as many are let in. nbdkit's file plugin passes flush, FUA and
    trim on to the device and allows several connections (nbdkit-file-plugin(1)); the unit holds its other options.

    Raises:
        ExportFailed: with what systemd said.
    """
    limit = _CONNECTIONS_FACTOR * connections
    values = {"DISK": disk, "ADDRESS": address, "PORT": PORT, "EXPORT": name, "LIMIT": limit}
    ENVIRONMENT.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        ENVIRONMENT.unlink()
    with open(os.open(ENVIRONMENT, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123
        file.write("".join(f"STIEFEL_{key}={value}\n" for key, value in values.items()))
    _systemctl("start")


def stop() -> None:
    """Kill nbdkit; systemd lets it be, then. Look at `process` to see that it is gone. Raises ExportFailed.

    It is never asked to end: it would answer every request with ESHUTDOWN, and the target's kernel makes I/O errors of
    that.
    """
    _systemctl("stop")


def process() -> int | None:
    """Return the process id of nbdkit, None if there is none: what the kernel says, not what systemd hopes."""
    try:
        return next((int(line) for line in PROCESSES.read_text().split()), None)
    except OSError:
        return None


def _systemctl(verb: str) -> None:
    done = program.run("systemctl", verb, UNIT, seconds=LIMIT_SECONDS)
    if done.returncode:
        raise ExportFailed(f"systemctl {verb} {UNIT}: {done.stderr.strip()}")
