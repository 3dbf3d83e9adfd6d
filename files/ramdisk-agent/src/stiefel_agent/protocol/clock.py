"""The laptop's time on its way to the target: a word on the command line of the bundle, which is sealed. Pure.

A desktop's own clock may be in local time, because of another system on it, or wrong (failure mode F44; hwclock(8)).
"""

from collections.abc import Iterable

_NAME = "stiefel.clock="
LITTLE_SECONDS = 300.0
"""A clock that differs by less stays as it is: between the laptop's word and the target's kernel are the bundle's way
through the cable and kexec: minutes, where everything is slow. Zones of time differ by a quarter of an hour or more."""


def word(seconds: float) -> str:
    """Return the word that tells a time, in seconds since 1970, UTC."""
    return f"{_NAME}{seconds:.0f}"


LONGEST = len(word(10**10))


def right_time(words: Iterable[str], now: float, uptime: float) -> float | None:
    """Return the time that a target's clock is to be set to; None if it is right, or nobody has told the time.

    words: of the kernel's command line; now: what the clock says; uptime: seconds since this kernel started, which was
    after the laptop spoke.
    """
    told = [one.removeprefix(_NAME) for one in words if one.startswith(_NAME)]
    if not told or not (told[-1].isascii() and told[-1].isdecimal()):
        return None
    right = int(told[-1]) + uptime
    return None if abs(now - right) < LITTLE_SECONDS else right
