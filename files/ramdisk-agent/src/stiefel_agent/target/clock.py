"""The target's clock follows the laptop's, before anything asks for the time: file systems, systemd, certificates."""

import ctypes
import time
from collections.abc import Collection
from contextlib import suppress

from stiefel_agent.face.console import event
from stiefel_agent.protocol import clock
from stiefel_agent.target.notes import boottime

_UTC = bytes(8)
"""struct timezone, gettimeofday(2): no minutes west of Greenwich."""


def follow(words: Collection[str]) -> None:
    """Set the clock if the laptop's word on the command line differs from it by more than a little."""
    take_as_utc()
    now = time.time()
    right = clock.right_time(words, now, boottime())
    if right is None:
        return
    with suppress(OSError, OverflowError):
        time.clock_settime(time.CLOCK_REALTIME, right)
        event("clock_set", was_ahead=round(now - right))


def take_as_utc() -> None:
    """See that nobody shifts the clock by a time zone.

    The kernel's first settimeofday(2) with a zone does (kernel/time/time.c), and systemd calls it where the laptop's
    /etc/adjtime says that its hardware clock is in local time. That clock is not here: so the first call is made now.
    """
    ctypes.CDLL(None).settimeofday(None, _UTC)
