"""What of a file or a disk is in memory: mincore(2), and cachestat(2) where there is too much to look at each page.

Since Linux 5.2 mincore tells that only to who could write the file; cachestat is in Linux 6.5 and newer.
"""

import ctypes
import mmap
import os
import re
from collections.abc import Iterator

Range = tuple[int, int]
"""Where it begins, and its length, in bytes: whole pages."""
PAGE = mmap.PAGESIZE
SYS_CACHESTAT = 451
"""include/uapi/asm-generic/unistd.h: the same number for every processor."""
IN_MEMORY = re.compile(b"\x01+")

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_FAILED = ctypes.c_void_p(-1).value


def resident(file: int, start: int, length: int) -> list[Range]:
    """Return what of a part of a file is in memory; start is that of a page. Raises OSError."""
    if not length:
        return []
    seen = ctypes.create_string_buffer(-(-length // PAGE))
    place = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, file, start)
    if place == _FAILED:
        raise _refusal("mmap")
    try:
        if _libc.mincore(place, length, seen):
            raise _refusal("mincore")
    finally:
        _libc.munmap(place, length)
    return [(start + PAGE * run.start(), PAGE * len(run[0])) for run in IN_MEMORY.finditer(seen.raw)]


def resident_of_disk(disk: int, size: int) -> Iterator[Range]:
    """Yield what of a disk itself is in memory, in its order; a filesystem like ext4 has its metadata there.

    Found by halving: a terabyte has 268 million pages, of which a few thousand are in memory. mincore() does not see
    pages of which a filesystem has read single blocks. Raises OSError.
    """
    waiting = [(0, size // PAGE)]
    while waiting:
        first, pages = waiting.pop()
        found = _count(disk, PAGE * first, PAGE * pages) if pages else 0
        if found == pages:
            yield from [(PAGE * first, PAGE * pages)] if pages else []
        elif found:
            half = pages // 2
            waiting += [(first + half, pages - half), (first, half)]


def _count(file: int, start: int, length: int) -> int:
    """Return how many pages of a part are in memory."""
    part, found = (ctypes.c_uint64 * 2)(start, length), (ctypes.c_uint64 * 5)()
    if _libc.syscall(SYS_CACHESTAT, file, part, found, 0):
        raise _refusal("cachestat")
    return found[0]


def _refusal(what: str) -> OSError:
    code = ctypes.get_errno()
    return OSError(code, f"{what}: {os.strerror(code)}")
