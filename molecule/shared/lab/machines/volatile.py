"""A disk with a volatile write cache, as real ones have: what was not flushed is gone when the power goes.

QEMU's own writes end in the host's page cache, which outlives QEMU. Here they end in a nameless file of nbdkit's
(nbdkit-cache-filter(1), cache=writeback), which writes them to the disk's file when the guest flushes; it dies with it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .shell import LabError, process_of, wait_exit

ROOM_BYTES = 24 << 30
"""A qcow2 file grows, and an export cannot: it is made so long (sparse) before; more than a disk of the lab's takes."""
START_SECONDS = 30.0


@dataclass(frozen=True)
class VolatileDisk:
    """The server of one disk's file; `socket` is where QEMU finds it."""

    file: Path
    socket: Path

    @property
    def _pidfile(self) -> Path:
        return self.socket.with_name(f"{self.socket.name}.pid")  # QEMU's own is beside it

    @property
    def url(self) -> str:
        """What QEMU calls it."""
        return f"nbd+unix:///?socket={self.socket}"

    def start(self, lifetime_seconds: int) -> None:
        """Serve the file, for so long at most. Raises LabError."""
        self.stop()
        for left_over in (self.socket, self._pidfile):
            left_over.unlink(missing_ok=True)
        os.truncate(self.file, max(self.file.stat().st_size, ROOM_BYTES))
        options = ["--foreground", "--filter=cache", f"--unix={self.socket}", f"--pidfile={self._pidfile}"]
        command = ["timeout", str(lifetime_seconds), "nbdkit", *options, "file", str(self.file), "cache=writeback"]
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + START_SECONDS
        while not self._pidfile.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{self.file} is not served: nbdkit ended with {server.returncode}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Lose what was not flushed."""
        if pid := process_of(self._pidfile, str(self.socket)):
            os.kill(pid, signal.SIGKILL)
            wait_exit(pid, 10)
