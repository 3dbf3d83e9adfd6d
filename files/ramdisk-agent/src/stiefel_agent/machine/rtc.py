"""The machine's hardware clock, from which a kernel takes its time when it starts (rtc(4))."""

import time
from pathlib import Path

from stiefel_agent.machine import sysfs

SYS_RTC = Path("/sys/class/rtc/rtc0")


def ahead() -> int:
    """Return by how many seconds the hardware clock is ahead of the system's, if read as UTC; 0 where there is none.

    Hours, where it is in local time: the next kernel does not know that.
    """
    stands = sysfs.number(SYS_RTC / "since_epoch")
    return 0 if stands is None else stands - round(time.time())
