"""The end of this machine's system without asking anybody: no process, no disk, no sync. reboot(2)."""

import ctypes

RB_AUTOBOOT, RB_POWER_OFF = 0x01234567, 0x4321FEDC


def restart() -> None:
    """Start the machine anew, now."""
    ctypes.CDLL(None).reboot(RB_AUTOBOOT)


def power_off() -> None:
    """Switch the machine off, now."""
    ctypes.CDLL(None).reboot(RB_POWER_OFF)
