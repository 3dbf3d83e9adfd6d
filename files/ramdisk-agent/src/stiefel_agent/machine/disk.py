"""Block devices: which disk the system is on, what it is like, and holding it so that nobody else can claim it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stiefel_agent.errors import DiskHibernated, DiskInUse, NoSuchDisk
from stiefel_agent.machine import program, storage

_BY_ID = Path("/dev/disk/by-id")
_SYS_BLOCK = Path("/sys/block")
# Names a person recognises come first; `wwn-` and `nvme-eui.` are as stable but say nothing.
_FRIENDLY = ("nvme-", "ata-", "mmc-", "usb-", "virtio-", "scsi-", "wwn-")


@dataclass(frozen=True, slots=True)
class Disk:
    """A whole block device. Sizes are in bytes; `path` is its by-id name if it has one."""

    path: str
    model: str
    serial: str
    size: int
    logical_sector: int
    physical_sector: int


def _lsblk(*arguments: str) -> list[dict[str, Any]]:
    """Return lsblk(8)'s list of devices as it stands in its JSON output."""
    done = program.run("lsblk", "--json", "--bytes", *arguments)
    if done.returncode:
        raise NoSuchDisk(done.stderr.strip())
    devices: list[dict[str, Any]] = json.loads(done.stdout)["blockdevices"]
    return devices


def _flat(devices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield devices and all their children."""
    for device in devices:
        yield device
        yield from _flat(device.get("children", []))


def by_id(path: str) -> str:
    """Return the by-id name of a device, the friendliest if it has several; the path itself if it has none."""
    real = os.path.realpath(path)
    links = sorted(_BY_ID.iterdir()) if _BY_ID.is_dir() else []
    names = [link.name for link in links if os.path.realpath(link) == real]
    return str(_BY_ID / min(names, key=_unfriendliness)) if names else path


def _unfriendliness(name: str) -> tuple[bool, int]:
    """Return what sorts by-id names: those that a person recognises first."""
    return "eui." in name, next((place for place, prefix in enumerate(_FRIENDLY) if name.startswith(prefix)), 99)


def describe(path: str) -> Disk:
    """Return what a whole disk is like. Raises NoSuchDisk when it is not there or not a whole disk."""
    if not Path(path).exists():
        raise NoSuchDisk(path)
    columns = "--output=TYPE,MODEL,SERIAL,SIZE,LOG-SEC,PHY-SEC"
    facts = _lsblk("--nodeps", columns, path)[0]
    if facts["type"] != "disk":
        raise NoSuchDisk(f"{path} is not a whole disk but: {facts['type']}")
    model, serial = ((facts[name] or "").strip() for name in ("model", "serial"))
    return Disk(by_id(path), model, serial, int(facts["size"]), int(facts["log-sec"]), int(facts["phy-sec"]))


def disk_below(mount_point: str) -> Disk:
    """Return the one disk that a file system lies on, through partitions, LUKS and LVM.

    Raises NoSuchDisk when it lies on none, or on several.
    """
    found = program.run("findmnt", "--noheadings", "--nofsroot", "--output=SOURCE", mount_point)
    source = found.stdout.strip()
    if not source.startswith("/dev/"):
        raise NoSuchDisk(f"{mount_point} is on {source or 'nothing'}, which is not a disk of this machine")
    devices = storage.parse(_lsblk(f"--output={storage.COLUMNS}"))
    disks = devices.disks(devices.found(os.path.realpath(source)))
    if len(disks) != 1:
        raise NoSuchDisk(f"{mount_point} is on {len(disks)} disks ({', '.join(disks)}); one is needed")
    return describe(disks[0])


def refuse_hibernated(path: str) -> None:
    """Raise DiskHibernated if a partition of the disk holds a hibernation image (blkid shows type `swsuspend`)."""
    for device in _flat(_lsblk("--output=PATH,FSTYPE", path)):
        if device["fstype"] == "swsuspend":
            raise DiskHibernated(device["path"])


def sectors_written(path: str) -> int | None:
    """Return how many 512-byte sectors were written to a disk since this kernel started; None if it does not say.

    Source: the kernel's documentation, block/stat.rst: the seventh number. What waits in the page cache is not among
    them before an fsync.
    """
    try:
        return int((_SYS_BLOCK / Path(os.path.realpath(path)).name / "stat").read_text().split()[6])
    except (OSError, ValueError, IndexError):
        return None


@contextmanager
def held(path: str) -> Iterator[int]:
    """Hold a disk exclusively: no mount, no other exclusive opener can claim it meanwhile (open(2), O_EXCL)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise NoSuchDisk(path) from error
    except OSError as error:
        raise DiskInUse(f"{path}: {error.strerror}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)
