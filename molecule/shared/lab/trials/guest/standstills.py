"""Run in the target, by root, in the cable's namespace: note each time in which the laptop's disk stood still.

For each time of more than LEAST_SECONDS without an answer from the disk it prints {"seconds": ..., "carrier": ...}: how
long it was, and how long before its end a wired interface first got a carrier (null: none did). All by the target's own
clock, and something must be asking for the disk. Ends when terminated.
"""

import ctypes
import json
import time
from pathlib import Path

ANSWERED = Path("/sys/block/nbd0/stat")
READS, WRITES, FLUSHES = 0, 4, 15
"""Of the numbers in that file: how many of each were answered (Documentation/block/stat.rst)."""
CABLES, NO_CABLE = Path("/sys/class/net"), {"lo", "stiefeltunnel"}
LEAST_SECONDS, LOOK_SECONDS = 1.5, 0.05
LOCK_ALL = 3
"""MCL_CURRENT | MCL_FUTURE: it must go on while its own program cannot be read."""


def answered() -> int:
    """How many requests the disk has answered."""
    numbers = ANSWERED.read_text().split()
    return sum(int(numbers[which]) for which in (READS, WRITES, FLUSHES))


def carriers() -> set[str]:
    """The wired interfaces that have a carrier; one that is down, or gone, has none."""
    having = set()
    for cable in CABLES.iterdir():
        try:
            if (cable / "carrier").read_text().strip() == "1" and cable.name not in NO_CABLE:
                having.add((cable / "ifindex").read_text().strip())
        except OSError:
            continue
    return having


def main() -> None:
    """Look and note until somebody ends it."""
    ctypes.CDLL(None).mlockall(LOCK_ALL)
    count, since, having, came = answered(), time.monotonic(), carriers(), None
    while True:
        time.sleep(LOOK_SECONDS)
        now, count_now, having_now = time.monotonic(), answered(), carriers()
        if came is None and having_now - having:
            came = now
        having = having_now
        if count_now == count:
            continue
        if now - since > LEAST_SECONDS:
            carrier = None if came is None else round(now - came, 2)
            print(json.dumps({"seconds": round(now - since, 2), "carrier": carrier}), flush=True)
        count, since, came = count_now, now, None


if __name__ == "__main__":
    main()
