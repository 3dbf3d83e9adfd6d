"""Run in the target, by root: print for how many seconds the laptop's disk stood still, each time that it did.

A time of more than LEAST_SECONDS without an answer counts, so something must be asking for the disk. Ends when
terminated.
"""

import ctypes
import time
from pathlib import Path

ANSWERED = Path("/sys/block/nbd0/stat")
READS, WRITES, FLUSHES = 0, 4, 15
"""Of the numbers in that file: how many of each were answered (Documentation/block/stat.rst)."""
LEAST_SECONDS, LOOK_SECONDS = 1.5, 0.05
LOCK_ALL = 3
"""MCL_CURRENT | MCL_FUTURE: it must go on while its own program cannot be read."""


def answered() -> int:
    """How many requests the disk has answered."""
    numbers = ANSWERED.read_text().split()
    return sum(int(numbers[which]) for which in (READS, WRITES, FLUSHES))


def main() -> None:
    """Look and print until somebody ends it."""
    ctypes.CDLL(None).mlockall(LOCK_ALL)
    count, since = answered(), time.monotonic()
    while True:
        time.sleep(LOOK_SECONDS)
        before, count, now = count, answered(), time.monotonic()
        if count != before:
            if now - since > LEAST_SECONDS:
                print(round(now - since, 2), flush=True)
            since = now


if __name__ == "__main__":
    main()
