"""The fence between a session that is over and the disk: closed step by step, and looked at after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stiefel_agent.errors import StiefelError
from stiefel_agent.machine import firewall, tunnel
from stiefel_agent.server import export


@dataclass(frozen=True, slots=True)
class Gate:
    """One way to the disk: how it is closed, and whether it is closed."""

    name: str
    close: Callable[[], None]
    closed: Callable[[], bool]

    def shut(self) -> str:
        """Close it, however often that was done before; return what is wrong, nothing if it is closed for certain."""
        try:
            self.close()
        except (StiefelError, OSError) as error:
            return f"{self.name}: {error}"
        return "" if self.closed() else f"{self.name}: still there"


def shut() -> list[str]:
    """Close every way to the disk; return what could not be closed.

    The network first: behind it nbdkit can be killed without a word to the target, whose I/O then waits. All are tried,
    whatever becomes of one.
    """
    gates = (
        Gate("tunnel", tunnel.remove, lambda: not tunnel.exists()),
        Gate("firewall", firewall.close, firewall.closed),
        Gate("export", export.stop, lambda: export.process() is None),
    )
    return [wrong for gate in gates if (wrong := gate.shut())]
