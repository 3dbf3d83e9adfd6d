#!/usr/bin/env python3
"""Look at a USB drive before it is written, write an image to it, and read it back.

    stick.py look DEVICE --needs BYTES [CONFIRMED]                 may it be written? Also says its IDENTITY
    stick.py same DEVICE IMAGE [CONFIRMED]                         does it hold this image already?
    stick.py write DEVICE IMAGE --part N --parts M [CONFIRMED]     write one part, the first one last

    CONFIRMED: --serial SERIAL --identity IDENTITY --allow-fixed

Each of them looks at the drive that it has opened, and not at what the name means by then. Parts let the caller
show progress. The first part is followed by reading everything back past all caches.
Prints one JSON object; on a refusal says on standard error why, and what to do, and returns 1.
"""

from __future__ import annotations

import argparse
import errno
import fcntl
import hashlib
import json
import os
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BY_ID = Path("/dev/disk/by-id")
BLKFLSBUF = 0x1261
"""ioctl that drops what the kernel has cached of a block device (linux/fs.h)."""
BLKGETDISKSEQ = 0x80081280
"""ioctl for the number that each disk gets when it appears, never given twice until a reboot (linux/fs.h, 5.15)."""
CHUNK = 1 << 20
COLUMNS = "PATH,TYPE,SIZE,MODEL,SERIAL,RM,RO,MOUNTPOINTS"


class StickError(Exception):
    """The drive cannot be written; the text is for the person who asked."""


@dataclass(frozen=True)
class Drive:
    """A block device as lsblk(8) sees it, with what is on top of it. Size in bytes."""

    path: str
    kind: str
    model: str
    serial: str
    size: int
    removable: bool
    read_only: bool
    uses: tuple[str, ...]
    """What holds it: "/boot on /dev/sdb1", "swap on ...", "LUKS, LVM ... on ..."."""
    identity: str = ""
    """Which of the devices this machine has had: major and minor number, and the disk's sequence number."""

    @property
    def title(self) -> str:
        """One line that a person recognises the drive by."""
        model = self.model or "drive of unknown model"
        return f"{model}, serial {self.serial}, {megabytes(self.size)}, now {self.path}"


def megabytes(size: int) -> str:
    """Return a size in bytes as people read it on a drive's box (1 MB = 1,000,000 bytes)."""
    return f"{size / 1e6:,.1f} MB"


def layers(device: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a device of lsblk's JSON and everything on top of it."""
    yield device
    for child in device.get("children", []):
        yield from layers(child)


def uses(device: dict[str, Any]) -> tuple[str, ...]:
    """Return in words what a device of lsblk's JSON is in use for, through partitions, LUKS, LVM and RAID."""
    found = []
    for layer in layers(device):
        for place in filter(None, layer["mountpoints"]):
            found.append(f"{'swap' if place == '[SWAP]' else place} on {layer['path']}")
        if layer["type"] not in ("disk", "loop", "part"):
            found.append(f"an open {layer['type']} volume, {layer['path']}")
    return tuple(dict.fromkeys(found))


def drive_of(listing: dict[str, Any], name: str, identity: str = "") -> Drive:
    """Return the drive that lsblk's JSON describes; one without a serial goes by the last part of `name`."""
    device = listing["blockdevices"][0]
    return Drive(
        path=device["path"],
        kind=device["type"],
        model=(device["model"] or "").strip(),
        serial=(device["serial"] or "").strip() or Path(name).name,
        size=int(device["size"]),
        removable=bool(device["rm"]),
        read_only=bool(device["ro"]),
        uses=uses(device),
        identity=identity,
    )


def candidates() -> str:
    """Return the whole drives there are by-id names for, as help in a message."""
    names = sorted(BY_ID.glob("usb-*")) if BY_ID.is_dir() else []
    whole = [str(name) for name in names if "-part" not in name.name]
    return "USB drives here: " + ", ".join(whole) if whole else "No USB drive is plugged in."


def numbers(descriptor: int) -> str:
    """Return an open device's major and minor number, as /sys/dev/block names it."""
    number = os.fstat(descriptor).st_rdev
    return f"{os.major(number)}:{os.minor(number)}"


def identity(descriptor: int) -> str:
    """Return what no other device has had since this machine was started; before Linux 5.15 the numbers alone."""
    try:
        (sequence,) = struct.unpack("=Q", fcntl.ioctl(descriptor, BLKGETDISKSEQ, bytes(8)))
    except OSError:  # an older kernel
        return numbers(descriptor)
    return f"{numbers(descriptor)}-{sequence}"


def check_name(name: str) -> None:
    """Raise StickError for a name that can come to mean another drive, or none."""
    path = Path(name)
    if path.parent != BY_ID:
        raise StickError(
            f"usbdrive_device is {name}: give the drive's name below {BY_ID}/, which cannot come to mean "
            f"another drive. {candidates()}"
        )
    if not path.exists():
        raise StickError(f"usbdrive_device is {name}: there is no such device. {candidates()}")


def examine(descriptor: int, name: str) -> Drive:
    """Return what an open device is like; raises StickError when it is no block device."""
    if not stat.S_ISBLK(os.fstat(descriptor).st_mode):
        raise StickError(f"usbdrive_device is {name}: that is not a block device. {candidates()}")
    # By its numbers: the name may mean another drive already.
    node = Path("/sys/dev/block", numbers(descriptor)).resolve().name.replace("!", "/")
    command = ["lsblk", "--json", "--bytes", "--output", COLUMNS, f"/dev/{node}"]
    listing = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return drive_of(listing, name, identity(descriptor))


@dataclass(frozen=True)
class Confirmed:
    """What the person, and the look before, said of the drive. `needs` in bytes."""

    needs: int
    serial: str
    allow_fixed: bool
    identity: str = ""
    """Empty: nobody has looked yet."""


def objections(drive: Drive, confirmed: Confirmed) -> Iterator[str]:
    """Yield each reason why the drive must not be written, with its remedy."""
    needs, serial = confirmed.needs, confirmed.serial
    if confirmed.identity and confirmed.identity != drive.identity:
        yield "it is not the drive that was looked at before: the name means another one now. Run this again"
    if drive.kind not in ("disk", "loop"):
        yield f"it is not a whole drive but a '{drive.kind}': give the name without -partN"
        return
    if drive.uses:
        yield f"it is in use ({'; '.join(drive.uses)}): unmount or close that, if this really is the stick"
    if drive.read_only:
        yield "it is write-protected: look for a switch on its side"
    if not drive.removable and not confirmed.allow_fixed:
        yield "it is not a removable drive: if it really is to be erased, set usbdrive_allow_fixed: true"
    if drive.size < needs:
        yield f"it is too small: needs {megabytes(needs)}, has {megabytes(drive.size)}"
    if serial != drive.serial:
        given = f"usbdrive_confirm_serial is '{serial}'" if serial else "usbdrive_confirm_serial is not set"
        confirm = f"-e usbdrive_confirm_serial={drive.serial}"
        yield f"{given}: everything on the drive will be lost, so confirm it with {confirm}"


@contextmanager
def opened(path: str, name: str, flags: int) -> Iterator[int]:
    """Open a device; raises StickError in words about `name`."""
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise StickError(f"{name}: the drive is in use. Unmount it, and run this again.") from error
        raise StickError(f"{name}: {error.strerror}. Is the drive still plugged in?") from error
    try:
        yield descriptor
    except OSError as error:
        raise StickError(f"{name}: {error.strerror}. Was it unplugged? If not, use another drive.") from error
    finally:
        os.close(descriptor)


@contextmanager
def held(name: str, flags: int, confirmed: Confirmed) -> Iterator[tuple[int, Drive]]:
    """Hold a drive that may be written and that nobody else uses, and tell udev to leave it alone meanwhile.

    What is judged is what was opened, and the same is then opened for good (proc(5): /proc/self/fd): a link that
    is pointed elsewhere in between changes nothing. open(2): O_EXCL on a block device; systemd's "Locking Block
    Device Access" for the lock. Raises StickError with everything that speaks against writing it.
    """
    check_name(name)
    with opened(name, name, os.O_RDONLY | os.O_NONBLOCK) as judged:
        drive = examine(judged, name)
        if problems := list(objections(drive, confirmed)):
            listing = "\n".join(f"- {problem}" for problem in problems)
            raise StickError(f"{name} ({drive.title}) is left alone:\n{listing}")
        with opened(f"/proc/self/fd/{judged}", name, flags | os.O_EXCL) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if identity(descriptor) != drive.identity:
                raise StickError(f"{name}: the drive was changed for another one just now. Run this again.")
            yield descriptor, drive


def confirmed_by(options: argparse.Namespace) -> Confirmed:
    """Return what the command line confirms; for an image, the drive needs its size."""
    needs = options.needs if options.act is look else options.image.stat().st_size
    return Confirmed(needs, options.serial, options.allow_fixed, options.identity)


def look(options: argparse.Namespace) -> dict[str, object]:
    """Return the drive's facts."""
    with held(options.device, os.O_RDONLY, confirmed_by(options)) as (_, drive):
        return {"changed": False, "title": drive.title, "identity": drive.identity}


def digest(descriptor: int, size: int) -> str:
    """Return the SHA-256 of the first `size` bytes, in hex; shorter media give that of what there is."""
    checksum = hashlib.sha256()
    offset = 0
    while offset < size and (chunk := os.pread(descriptor, min(CHUNK, size - offset), offset)):
        checksum.update(chunk)
        offset += len(chunk)
    return checksum.hexdigest()


def is_same(descriptor: int, image: Path) -> bool:
    """Return whether an open drive starts with the image's bytes, as the medium has them, not a cache."""
    fcntl.ioctl(descriptor, BLKFLSBUF)
    size = image.stat().st_size
    with image.open("rb") as file:
        return digest(descriptor, size) == digest(file.fileno(), size)


def same(options: argparse.Namespace) -> dict[str, object]:
    """Return whether the drive still has to be written."""
    with held(options.device, os.O_RDONLY, confirmed_by(options)) as (descriptor, _):
        return {"changed": not is_same(descriptor, options.image)}


def put(descriptor: int, data: bytes, offset: int) -> None:
    """Write all of `data` at `offset`."""
    while data:
        done = os.pwrite(descriptor, data, offset)
        data, offset = data[done:], offset + done


def copy(descriptor: int, image: Path, part: int, parts: int) -> None:
    """Write one of equal parts of the image and wait until the medium has it."""
    size = image.stat().st_size
    length = -(-size // parts // CHUNK) * CHUNK
    start, end = (min(number * length, size) for number in (part, part + 1))
    with image.open("rb") as file:
        file.seek(start)
        for offset in range(start, end, CHUNK):
            put(descriptor, file.read(min(CHUNK, end - offset)), offset)
    os.fsync(descriptor)


def write(options: argparse.Namespace) -> dict[str, object]:
    """Write one part; part 0 comes last and verifies the whole drive.

    The last part, which comes first, blanks the drive's start: a drive that was not written to its end never
    boots, and no desktop mounts it in between.
    """
    with held(options.device, os.O_RDWR, confirmed_by(options)) as (descriptor, _):
        if options.part == options.parts - 1:
            put(descriptor, bytes(CHUNK), 0)
        copy(descriptor, options.image, options.part, options.parts)
        if options.part == 0 and not is_same(descriptor, options.image):
            raise StickError(
                f"{options.device} gives back other data than was written to it: it is worn out, or smaller "
                "than it claims. Use another drive."
            )
    return {"changed": True}


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line; the docstring of this file describes it."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    commands = parser.add_subparsers(required=True)
    for act in (look, same, write):
        command = commands.add_parser(act.__name__)
        command.set_defaults(act=act)
        command.add_argument("device")
        command.add_argument("--serial", default="")
        command.add_argument("--identity", default="")
        command.add_argument("--allow-fixed", action="store_true")
        if act is look:
            command.add_argument("--needs", type=int, required=True)
        else:
            command.add_argument("image", type=Path)
        if act is write:
            command.add_argument("--part", type=int, required=True)
            command.add_argument("--parts", type=int, required=True)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says."""
    options = parse(arguments)
    try:
        print(json.dumps(options.act(options)))
    except StickError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
