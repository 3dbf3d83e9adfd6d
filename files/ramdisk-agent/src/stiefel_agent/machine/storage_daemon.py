"""What makes a process fit to serve the disk that it must not need: it outlives the initrd and every shutdown.

Sources: systemd's "Storage Daemons for the Root File System" (systemd.io/ROOT_STORAGE_DAEMONS), prctl(2), mlock(2).
"""

import ctypes
import os
import signal
from contextlib import suppress
from pathlib import Path

from stiefel_agent.errors import StiefelError

MCL_CURRENT, MCL_FUTURE = 1, 2
PR_SET_NAME, PR_SET_IO_FLUSHER = 15, 57
ARG_START, ARG_END = 48, 49
"""proc_pid_stat(5): where the command line begins and ends in memory."""
CGROUP_ROOT = Path("/sys/fs/cgroup/cgroup.procs")

_libc = ctypes.CDLL(None, use_errno=True)


def outlive(name: str) -> None:
    """Make the calling process one that lives on when the initrd ends.

    * Its command line becomes `@name`: systemd kills nobody whose argv[0] begins so, at switch_root or shutdown.
    * It goes to the root control group: with its unit's, systemd would end it.
    * It has no terminal, no working folder, no open standard stream.
    * A child that ends is gone at once (wait(2), SIGCHLD). One that nobody has asked for yet has no command line any
      more, and nobody can kill it: systemd would wait 90 s for its end at each shutdown, and then once more.
    """
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.close(null)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    rename(f"@{name}")
    with suppress(OSError):  # an initramfs without systemd has no control groups
        CGROUP_ROOT.write_text("0")


def become(name: str) -> None:
    """Make the calling process one that systemd spares, and that needs neither disk nor memory that is not there yet.

    Beside what outlive() does, all its memory is locked, now and later; its allocations never wait for the disk
    (PR_SET_IO_FLUSHER); the kernel's search for a victim passes it over.
    """
    outlive(name)
    with suppress(OSError):  # a container may not; it has no disk to keep either
        Path("/proc/self/oom_score_adj").write_text("-1000")
    _libc.prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0)
    if _libc.mlockall(MCL_CURRENT | MCL_FUTURE):
        raise StiefelError(f"mlockall: {os.strerror(ctypes.get_errno())}")


def rename(name: str) -> None:
    """Write another command line over our own, and the short name that ps shows; its `@` is not part of that."""
    fields = Path("/proc/self/stat").read_text().rpartition(") ")[2].split()
    start, end = int(fields[ARG_START - 3]), int(fields[ARG_END - 3])
    line = name.encode()[: end - start - 1]
    ctypes.memmove(start, line.ljust(end - start, b"\0"), end - start)
    _libc.prctl(PR_SET_NAME, name.removeprefix("@").encode(), 0, 0, 0)
