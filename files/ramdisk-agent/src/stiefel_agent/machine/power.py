"""What this machine runs on: mains or battery, as /sys/class/power_supply says (sysfs-class-power), and its changes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stiefel_agent.machine import sysfs
from stiefel_agent.machine.netlink import Ear

SYS_POWER = Path("/sys/class/power_supply")
NETLINK_KOBJECT_UEVENT, KERNEL_GROUP = 15, 1
"""linux/netlink.h; lib/kobject_uevent.c: group 1 is the kernel's own, group 2 is udev's."""
SUBSYSTEM = b"SUBSYSTEM="
MEASURES = (("energy_now", "energy_full"), ("charge_now", "charge_full"))
"""In µWh or µAh: a battery has one of the pairs, or neither."""


@dataclass(frozen=True, slots=True)
class Power:
    """How a machine is fed now."""

    plugged: bool
    """It does not live on its battery."""
    percent: int | None = None
    """What all its batteries together hold, 0 to 100; None: it has none, or they do not say."""
    charging: bool = False
    draining: bool = False
    """Some battery gives more than it gets, whatever is plugged in."""


@dataclass(frozen=True, slots=True)
class _Supply:
    """One folder of /sys/class/power_supply."""

    folder: Path

    def says(self, name: str) -> str:
        """Return an attribute; empty if there is none, or if it cannot be read now."""
        return sysfs.read(self.folder / name)

    def number(self, name: str) -> int | None:
        return sysfs.number(self.folder / name)

    def feeds_us(self) -> bool:
        """Say whether it is the machine's own: a mouse's battery, and a phone's at a port, have the scope Device."""
        return self.says("scope") != "Device"


def read(folder: Path = SYS_POWER) -> Power:
    """Return how this machine is fed. A machine without any supply in `folder` is one that is plugged in."""
    supplies = [_Supply(path) for path in sorted(folder.iterdir())] if folder.is_dir() else []
    own = [one for one in supplies if one.feeds_us()]
    batteries = [one for one in own if one.says("type") == "Battery" and one.says("present") != "0"]
    feeds = [one.number("online") for one in own if one.says("type") not in ("Battery", "UPS", "")]
    states = {one.says("status") for one in batteries}
    plugged = any(feeds) or ("Discharging" not in states and (0 not in feeds or not batteries))
    return Power(plugged, percent(batteries), "Charging" in states, "Discharging" in states)


def percent(batteries: list[_Supply]) -> int | None:
    """Return what batteries hold together, by their sizes where all of them tell those, in whole percent."""
    for now, full in MEASURES:
        amounts = [(one.number(now), one.number(full)) for one in batteries]
        known = [(held, whole) for held, whole in amounts if held is not None and whole]
        if known and len(known) == len(batteries):
            return _bounded(100 * sum(held for held, _ in known) / sum(whole for _, whole in known))
    shares = [share for one in batteries if (share := one.number("capacity")) is not None]
    return _bounded(sum(shares) / len(shares)) if shares else None


def _bounded(share: float) -> int:
    return max(0, min(100, round(share)))


def subsystem(message: bytes) -> str:
    """Return which subsystem of the kernel an uevent is about, empty if it does not say (lib/kobject_uevent.c)."""
    fields = message.split(b"\0")
    return next(
        (one.removeprefix(SUBSYSTEM).decode(errors="replace") for one in fields if one.startswith(SUBSYSTEM)), ""
    )


class Uevents(Ear):
    """The kernel's announcements of changed devices, without udev: for a selector."""

    def __init__(self) -> None:
        super().__init__(NETLINK_KOBJECT_UEVENT, KERNEL_GROUP)

    def about_power(self) -> bool:
        """Take what was announced so far; say whether any of it was about a power supply, or may have been."""
        return "power_supply" in [subsystem(message) if message else "power_supply" for message in self.heard()]
