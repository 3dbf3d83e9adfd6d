"""Whether this system still runs, or is going down: seen from outside of it, when it may stand still itself."""

import os
from contextlib import suppress

PROCESSES = "1/root/sys/fs/cgroup/system.slice/stiefel-running.service/cgroup.procs"
"""Of a unit that does nothing but run (stiefel-generator makes it). PID 1 ends it when a shutdown begins, which takes
neither a program nor a byte of the disk; and then the kernel says that nobody is in its control group."""


class Running:
    """The unit, by way of /proc as it was opened in the initrd (see voice.Voice)."""

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = os.open(proc, os.O_PATH | os.O_CLOEXEC)
        self._seen = False

    def going_down(self) -> bool:
        """Say whether the unit ran when it was looked at before, and does not now."""
        runs = bool(self._look())
        self._seen = self._seen or runs
        return self._seen and not runs

    def _look(self) -> bytes:
        with suppress(OSError):
            file = os.open(PROCESSES, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
            try:
                return os.read(file, 64)
            finally:
                os.close(file)
        return b""
