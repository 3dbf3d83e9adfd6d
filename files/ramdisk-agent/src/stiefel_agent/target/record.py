"""What this boot reads is noted for the next one: which files are opened, and what of them is in memory in the end."""

from __future__ import annotations

import os
import select
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from stiefel_agent.machine.openings import Openings
from stiefel_agent.machine.page_cache import resident, resident_of_disk
from stiefel_agent.target.reads import MOST_BYTES, MOST_FILES, Ranges, Reads

USERS = Path("/run/user")
"""Has a folder for each user that is logged in, by number: pam_systemd(8)."""
ROOT, PEOPLE = 0, range(1000, 60001)
"""Who is a person; others are greeters: systemd.io/UIDS-GIDS, login.defs(5)."""
TICK_SECONDS = 1.0
LOGIN_SECONDS = 300.0
"""How long somebody is waited for."""
AFTER_LOGIN_SECONDS = 20.0
"""How long a desktop's session takes to stand."""

MOST_METADATA = 64 << 20
"""More is not what a boot reads: the filesystem was checked as a whole."""


class Recorder:
    """Notes the files of `/`'s filesystem, in the order in which they are first opened."""

    def __init__(self, proc: int, disk: int | None) -> None:
        """Begin. `proc` is a descriptor of /proc, `disk` of the filesystem's disk. Raises OSError."""
        self._proc, self._disk = proc, disk
        self._began = time.time() - 1.0  # a file's time is that of the kernel's last tick
        self._opened: dict[tuple[int, int], str] = {}
        self._openings = Openings("/")

    def until_login(self) -> bool:
        """Note until some time after somebody has logged in; returns False if nobody has."""
        deadline = time.monotonic() + LOGIN_SECONDS
        while not somebody():
            if time.monotonic() > deadline:
                return False
            self._note(TICK_SECONDS)
        end = time.monotonic() + AFTER_LOGIN_SECONDS
        while (left := end - time.monotonic()) > 0:
            self._note(left)
        return True

    def reads(self) -> Reads:
        """End, and return what was read. The largest part of it takes a second of a slow processor."""
        self._openings.close()
        return Reads(self._metadata(), tuple(self._files())).within(MOST_BYTES)

    def _note(self, seconds: float) -> None:
        select.select([self._openings], [], [], seconds)
        for file in self._openings.read():
            seen = os.fstat(file)
            if stat.S_ISREG(seen.st_mode) and 0 < seen.st_size <= MOST_BYTES and len(self._opened) < MOST_FILES:
                name = os.readlink(f"self/fd/{file}", dir_fd=self._proc)
                self._opened.setdefault((seen.st_dev, seen.st_ino), name)

    def _files(self) -> Iterator[tuple[str, Ranges]]:
        for identity, name in self._opened.items():
            with suppress(OSError):  # it was removed, or nobody may look
                if ranges := self._looked_at(name, identity):
                    yield name, ranges

    def _looked_at(self, name: str, identity: tuple[int, int]) -> Ranges:
        """Return what of a file is in memory; nothing of one that this boot has written itself."""
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_CLOEXEC)
        try:
            seen = os.fstat(file)
            if (seen.st_dev, seen.st_ino) != identity or seen.st_mtime >= self._began:
                return ()
            return tuple(resident(file, 0, seen.st_size))
        finally:
            os.close(file)

    def _metadata(self) -> Ranges:
        if self._disk is None:
            return ()
        with suppress(OSError):  # a kernel before 6.5 cannot say; then the files alone are noted
            found = tuple(resident_of_disk(self._disk, os.lseek(self._disk, 0, os.SEEK_END)))
            return found if Reads(found).bytes <= MOST_METADATA else ()
        return ()


def somebody() -> bool:
    """Say whether a person is logged in, at the screen or from afar."""
    with suppress(OSError):
        users = [int(folder.name) for folder in USERS.iterdir() if folder.name.isdecimal()]
        return any(user == ROOT or user in PEOPLE for user in users)
    return False
