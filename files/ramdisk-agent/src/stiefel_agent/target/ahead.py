"""A process of the target that reads ahead of the boot what the boot will need; or notes it, for the next boot.

It is forked from the attach program, with everything loaded, waits until root is mounted, and changes its own root to
it: that holds before and after switch_root, and names of files are those of the running system.

A list is for one kernel version, and for a month: then a boot goes without, and notes anew what it reads. Were it noted
beside a replay, what was once on the list would stay on it for ever, for it is in memory because of the list.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path

from stiefel_agent.machine import storage_daemon
from stiefel_agent.target.reads import LONGEST, Reads, parse
from stiefel_agent.target.record import Recorder
from stiefel_agent.target.replay import replay
from stiefel_agent.target.voice import Voice

NAME = "stiefel-ahead"
ROOTS = ("/root", "/sysroot", "/new_root")
"""Where root is mounted by initramfs-tools, dracut and mkinitcpio."""
HOME = Path("/var/lib/stiefel")
LISTS = HOME / "reads"
LIFE_SECONDS = 30 * 86400.0
MODULES = Path("/lib/modules")


def start() -> None:
    """Start the process. Should it fail, nothing is lost but time."""
    try:
        child = os.fork()
    except OSError:
        return
    if child:
        return
    try:
        storage_daemon.outlive(NAME)
        _run(Voice())
    finally:
        os._exit(1)


def _run(voice: Voice) -> None:
    proc = os.open("/proc", os.O_PATH | os.O_CLOEXEC)
    root = _mounted()
    try:
        disk = disk_of(root)
        os.chroot(root)
        os.chdir("/")
        go(voice, proc, disk)
    except OSError as error:
        voice.note(f"nothing is read ahead: {error}")


def _mounted() -> str:
    """Wait until root is mounted, and return where: proc_pid_mounts(5)."""
    with open("/proc/self/mounts") as mounts:  # noqa: PTH123 - it is polled
        changes = select.poll()
        changes.register(mounts, select.POLLPRI)
        while True:
            places = {line.split()[1] for line in mounts}
            if found := next((place for place in ROOTS if place in places), None):
                return found
            changes.poll()
            mounts.seek(0)


def disk_of(root: str) -> int | None:
    """Return a descriptor of the disk that a filesystem is on; None where that is not one (btrfs)."""
    device = Path(root).stat().st_dev
    with suppress(OSError):
        told = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/uevent").read_text()
        name = next(line.removeprefix("DEVNAME=") for line in told.splitlines() if line.startswith("DEVNAME="))
        return os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC)
    return None


def go(voice: Voice, proc: int, disk: int | None) -> None:
    """Read ahead what the list of this kernel says; without one, note what is read. Raises OSError."""
    if not HOME.is_dir():  # /var is a filesystem of its own, and comes later than a list is needed
        return
    place = LISTS / os.uname().release
    if wanted := _list(place, voice):
        start = time.monotonic()
        wanted = wanted.within(_spare_memory(proc))
        replay(wanted, disk)
        seconds = f"{time.monotonic() - start:.1f}"
        voice.note(f"event=read_ahead files={len(wanted.files)} megabytes={wanted.bytes >> 20} seconds={seconds}")
        return
    recorder = Recorder(proc, disk)
    if recorder.until_login():
        storage_daemon.rename(NAME)  # a shutdown may end it now, and must: it is about to write
        noted = recorder.reads()
        keep(place, noted)
        voice.note(f"event=reads_noted files={len(noted.files)} megabytes={noted.bytes >> 20}")


def _list(place: Path, voice: Voice) -> Reads | None:
    """Return the list, if there is one that can be used."""
    try:
        seen = place.stat()
        if not 0 <= time.time() - seen.st_mtime < LIFE_SECONDS:
            return None
        if seen.st_size > LONGEST:
            raise ValueError("the list is too long")
        return parse(place.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        voice.note(f"{place}: {error}; it is made anew")
        return None


def _spare_memory(proc: int) -> int:
    """Return half of the bytes that are there for the asking: proc_meminfo(5)."""
    file = os.open("meminfo", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
    try:
        told = os.read(file, 4096).decode()
    finally:
        os.close(file)
    line = next(line for line in told.splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024 // 2


def keep(place: Path, noted: Reads) -> None:
    """Write a list, whole or not at all, for root alone; those of kernels that are gone go. Raises OSError."""
    place.parent.mkdir(mode=0o700, exist_ok=True)
    new = place.parent / "new"
    try:
        file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(file, "w") as writing:  # noqa: PTH123 - for root alone from the first moment
            writing.write(noted.to_json())
            writing.flush()
            os.fsync(file)
        new.rename(place)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    for old in place.parent.iterdir():
        if old != place and not (MODULES / old.name).is_dir():
            old.unlink()
