"""The laptop's disk on the network: nbdkit as a systemd unit, started for one session and stopped with it."""

from __future__ import annotations

import subprocess
from pathlib import Path

from stiefel_agent.errors import ExportFailed

PORT = 10809
"""IANA's port for NBD."""
NAME = "disk"
"""Name of the export."""
UNIT = "stiefel-export.service"
_ENVIRONMENT = Path("/run/stiefel/export.env")


def start(disk: str, address: str) -> None:
    """Export a whole disk on one address only; returns when nbdkit listens. Raises ExportFailed.

    nbdkit's file plugin passes flush, FUA and trim on to the device and allows several connections
    (nbdkit-file-plugin(1)); the unit holds the rest of its options.
    """
    _ENVIRONMENT.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    values = {"DISK": disk, "ADDRESS": address, "PORT": PORT, "EXPORT": NAME}
    _ENVIRONMENT.write_text("".join(f"STIEFEL_{key}={value}\n" for key, value in values.items()))
    _systemctl("start")


def stop() -> None:
    """Stop exporting. When this returns, no connection is left and nothing more is written. Raises ExportFailed."""
    _systemctl("stop")


def _systemctl(verb: str) -> None:
    done = subprocess.run(["systemctl", verb, UNIT], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ExportFailed(f"systemctl {verb} {UNIT}: {done.stderr.strip()}")
