"""What the laptop tells its target of its power: one datagram through the tunnel, again and again. Pure.

The tunnel seals it. Without encryption nothing does, as nothing seals the disk then.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from stiefel_agent.errors import MessageError

PORT = 61573
"""UDP, at the target's end of the tunnel."""
MAGIC = b"stPW"
VERSION = 1
UNKNOWN = 255
PLUGGED, CHARGING, SHUT_DOWN = 1, 2, 4
_LAYOUT = struct.Struct("!4sBBBB")
SIZE = _LAYOUT.size


class Level(IntEnum):
    """How urgent it is; the higher, the more."""

    WELL = 0
    """Plugged in, or nothing that runs out."""
    BATTERY = 1
    """It lives on its battery."""
    LOW = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True)
class Supply:
    """How the laptop is fed, and whether its target is to shut down now."""

    level: Level
    plugged: bool
    percent: int | None
    """What its batteries hold; None: it has none, or they do not say."""
    charging: bool = False
    shut_down: bool = False

    def encode(self) -> bytes:
        """Return the datagram: magic, version, level, percent (255: unknown), flags; 8 bytes."""
        flags = PLUGGED * self.plugged | CHARGING * self.charging | SHUT_DOWN * self.shut_down
        return _LAYOUT.pack(MAGIC, VERSION, self.level, UNKNOWN if self.percent is None else self.percent, flags)


def decode(data: bytes) -> Supply:
    """Read a datagram; raises MessageError when it is none."""
    if len(data) != SIZE:
        raise MessageError("a word on the laptop's power has another length")
    magic, version, level, percent, flags = _LAYOUT.unpack(data)
    if (magic, version) != (MAGIC, VERSION) or flags & ~(PLUGGED | CHARGING | SHUT_DOWN):
        raise MessageError("this is no word on the laptop's power")
    if level > max(Level) or not (percent <= 100 or percent == UNKNOWN):
        raise MessageError("a word on the laptop's power makes no sense")
    known = None if percent == UNKNOWN else percent
    return Supply(Level(level), bool(flags & PLUGGED), known, bool(flags & CHARGING), bool(flags & SHUT_DOWN))
