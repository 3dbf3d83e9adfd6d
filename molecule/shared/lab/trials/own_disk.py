"""A disk of the desktop's own, on which everything has the names of the laptop's: nothing may happen to it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..machines import volumes
from ..machines.layout import VOLUME_GROUP
from ..machines.shell import LabError

PART_MIB = 64


def own_disk(folder: Path, root_uuid: str) -> Path:
    """Make it: a volume group of the laptop's name, two filesystems with its root's UUID, swap, an array's member."""
    parts = {name: volumes.sparse_file(folder / f"own-{name}.part", PART_MIB) for name in ("root", "swap", "raid")}
    volumes.filesystem("ext4", parts["root"], root_uuid, 512)
    volumes.filesystem("swap", parts["swap"], root_uuid, 512)
    volumes.raid_member(parts["raid"], root_uuid)
    group = volumes.sparse_file(folder / "own-group.part", 3 * PART_MIB)
    volumes.volume_group(VOLUME_GROUP, {"root": parts["root"], "swap_1": parts["swap"]}, [group])
    disk = folder / "desktop-own.img"
    volumes.gpt_disk(disk, {"main": group, **parts}, 512)
    return disk


@contextmanager
def left_alone(*disks: Path) -> Iterator[None]:
    """See that nothing is written to these disks.

    Raises:
        LabError: something was.
    """
    before = [digest(disk) for disk in disks]
    yield
    for disk, digest_before in zip(disks, before, strict=True):
        if digest(disk) != digest_before:
            raise LabError(f"the desktop's own disk was written to: {disk}")


def digest(file: Path) -> str:
    """The SHA-256 of what is in a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
