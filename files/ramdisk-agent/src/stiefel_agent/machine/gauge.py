"""What the kernel has counted and measured of a network interface: signal, speed, bytes (sysfs-class-net)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stiefel_agent.machine import netdev, sysfs


@dataclass(frozen=True, slots=True)
class Gauge:
    """A network interface at one moment."""

    name: str
    up: bool
    carrier: bool
    speed: int | None
    """Mbit/s; None: it does not say, as without a carrier."""
    received: int
    sent: int
    """Bytes since the interface is there."""


def read(name: str, net: Path = netdev.SYS_NET) -> Gauge | None:
    """Return an interface's figures, None if there is none of this name."""
    folder = net / name
    if not folder.is_dir():
        return None
    speed = sysfs.number(folder / "speed")
    return Gauge(
        name,
        up=bool((sysfs.number(folder / "flags") or 0) & 1),
        carrier=sysfs.number(folder / "carrier") == 1,
        speed=speed if speed and speed > 0 else None,
        received=sysfs.number(folder / "statistics/rx_bytes") or 0,
        sent=sysfs.number(folder / "statistics/tx_bytes") or 0,
    )
