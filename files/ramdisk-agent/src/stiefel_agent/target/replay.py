"""What the last boots of this kernel have read is read once more, many pieces at a time, beside the boot.

A boot reads one small piece after the other, and each waits for the cable; many at a time do not.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from stiefel_agent.target.reads import Ranges, Reads

AT_A_TIME = 32
PIECE = 128 << 10
"""The kernel reads no more for one call of posix_fadvise() than it reads ahead, or its disk takes: mm/readahead.c."""


def replay(reads: Reads, disk: int | None) -> None:
    """Read a list into memory, from `/` and a descriptor of its disk; what cannot be read is left out."""
    tasks: deque[Callable[[], None]] = deque()
    if disk is not None:
        tasks += [_part(disk, start, length) for start, length in _pieces(reads.disk)]
    device = Path("/").stat().st_dev
    tasks += [_file(name, ranges, device) for name, ranges in reads.files]
    workers = [threading.Thread(target=_work, args=(tasks,)) for _ in range(AT_A_TIME)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(tasks: deque[Callable[[], None]]) -> None:
    while True:
        try:
            task = tasks.popleft()
        except IndexError:
            return
        with suppress(OSError):
            task()


def _part(disk: int, start: int, length: int) -> Callable[[], None]:
    return lambda: _fetch(disk, start, length)


def _file(name: str, ranges: Ranges, device: int) -> Callable[[], None]:
    return lambda: _read(name, ranges, device)


def _read(name: str, ranges: Ranges, device: int) -> None:
    """Read parts of a file, if it still is one: to open anything else might do something."""
    seen = os.lstat(name)
    if not stat.S_ISREG(seen.st_mode) or seen.st_dev != device:
        return
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC)
    try:
        for start, length in _pieces(ranges):
            if start < seen.st_size:
                _fetch(file, start, min(length, seen.st_size - start))
    finally:
        os.close(file)


def _fetch(file: int, start: int, length: int) -> None:
    """Have a piece read as a whole, and wait for it: so no more than AT_A_TIME are on their way."""
    os.posix_fadvise(file, start, length, os.POSIX_FADV_WILLNEED)
    os.pread(file, 1, start + length - 1)


def _pieces(ranges: Ranges) -> list[tuple[int, int]]:
    return [
        (place, min(PIECE, start + length - place))
        for start, length in ranges
        for place in range(start, start + length, PIECE)
    ]
