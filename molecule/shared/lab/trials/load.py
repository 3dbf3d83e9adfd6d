"""A target that writes, flushes, reads back and compares, while something else is done to it."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass

from ..machines.machine import Machine
from .guest import program

PROGRESS = "/run/stiefel-io-loop"
STANDSTILLS = "/run/stiefel-standstills"
ROUND_SECONDS = 600
"""A round takes seconds; after an outage the kernel's own patience is part of it."""


@dataclass(frozen=True)
class Count:
    """How many blocks were written and read back, and how many of them were not what was written."""

    rounds: int
    errors: int


class Load:
    """The load in one target; `seed` says what its block is made of (see guest/io_loop.py)."""

    def __init__(self, target: Machine, seed: str) -> None:
        """Start it and wait for its first round."""
        self._target = target
        target.put(program("io_loop").read_bytes(), "io_loop.py")
        words = f"python3 $PWD/io_loop.py {shlex.quote(seed)} {PROGRESS}"
        target.ssh(f"sudo systemd-run --quiet --unit=stiefel-io-loop {words}")
        target.ssh(f"until test -s {PROGRESS}; do sleep 1; done", seconds=ROUND_SECONDS)

    @property
    def count(self) -> Count:
        """How far it is."""
        return Count(**json.loads(self._target.ssh(f"cat {PROGRESS}")))

    def whole_round(self) -> Count:
        """Wait until a round has begun and ended after now.

        Raises:
            LabError: none did.
        """
        wanted = self.count.rounds + 2
        ready = f"until [ $(tr -dc '0-9,' < {PROGRESS} | cut -d, -f1) -ge {wanted} ]; do sleep 1; done"
        self._target.ssh(ready, seconds=ROUND_SECONDS)
        return self.count

    def stop(self) -> None:
        """End it."""
        self._target.ssh("sudo systemctl stop stiefel-io-loop")


class Standstills:
    """Notes in one target for how long its disk stood still (guest/standstills.py); something must be asking for it."""

    def __init__(self, target: Machine) -> None:
        """Start noting."""
        self._target = target
        target.put(program("standstills").read_bytes(), "standstills.py")
        unit = f"--unit=stiefel-standstills --property=StandardOutput=truncate:{STANDSTILLS}"
        target.ssh(f"sudo systemd-run --quiet {unit} python3 $PWD/standstills.py")
        target.ssh(f"until test -e {STANDSTILLS}; do sleep 1; done", seconds=ROUND_SECONDS)

    def noted(self) -> list[float]:
        """Return the seconds of each until now."""
        return [float(line) for line in self._target.ssh(f"cat {STANDSTILLS}").split()]
