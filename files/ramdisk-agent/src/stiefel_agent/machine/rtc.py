"""The machine's hardware clock, from which a kernel takes its time when it starts (rtc(4))."""

import time
from pathlib import Path

SYS_RTC = Path("/sys/class/rtc/rtc0")


def ahead() -> int:
    """Return by how many seconds the hardware clock is ahead of the system's, if read as UTC; 0 where there is none.

    Hours, where it is in local time: the next kernel does not know that.
    """
    try:
        return int((SYS_RTC / "since_epoch").read_text()) - round(time.time())
    except (OSError, ValueError):
        return 0
