"""Partition tables, filesystems, volume groups and LUKS, written into files without device-mapper."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

from .shell import run

MIB = 1 << 20
LUKS_MIB = 32
"""What cryptsetup-reencrypt(8) wants beside the data; half of it is the header."""
ARGON2 = ("--pbkdf=argon2id", "--pbkdf-memory=32768", "--pbkdf-force-iterations=4", "--pbkdf-parallel=1")
"""Real laptops take 1 GiB and seconds: an emulated CPU would take minutes. What is tried is the way, not the cost."""
TYPES = {"esp": "ef00", "swap": "8200", "raid": "fd00"}
RAID_MAGIC, RAID_LEVEL, RAID_AT, RAID_DATA_SECTORS, RAID_IN_SYNC = 0xA92B4EFC, 1, 4096, 2048, 2**64 - 1
RAID_BLOCK_BYTES = 258
"""256 bytes, and two for the role of the one member: it is number 0."""


def sparse_file(file: Path, mib: int) -> Path:
    """A file of that size without any content."""
    with file.open("wb") as opened:
        opened.truncate(mib * MIB)
    return file


def copy_into(source: Path, destination: Path, at: int, *, start: int = 0, size: int = 0) -> None:
    """Copy a file (or `size` bytes of it from `start`) into another, `at` bytes after its beginning."""
    where = [f"seek={at}", f"skip={start}", *([f"count={size}"] if size else [])]
    flags = ["iflag=skip_bytes,count_bytes", "oflag=seek_bytes", "conv=notrunc,sparse"]
    run(["dd", "bs=1M", "status=none", f"if={source}", f"of={destination}", *where, *flags])


@contextmanager
def loop(file: Path, *, sector_bytes: int = 512) -> Iterator[str]:
    """A block device whose content is the file."""
    device = run(["losetup", "--find", "--show", f"--sector-size={sector_bytes}", file]).strip()
    try:
        yield device
    finally:
        run(["losetup", "--detach", device])


@contextmanager
def mounted(file: Path, folder: Path, *options: str) -> Iterator[Path]:
    """A filesystem in a file, mounted on the folder.

    It is written out before it is unmounted: a mount namespace that somebody has made meanwhile, such as a test's, has
    the mount as well, and until that ends nothing else writes what is still in memory: the file would stay empty.
    """
    run(["mount", "-o", ",".join(("loop", *options)), file, folder])
    try:
        yield folder
    finally:
        run(["sync", "--file-system", folder])
        run(["umount", folder])


def filesystem(kind: str, file: Path, uuid: str, sector_bytes: int) -> None:
    """Make an empty one: ext4, xfs, btrfs or swap."""
    command = {
        "ext4": ["mke2fs", "-q", "-t", "ext4", "-U", uuid],
        "xfs": ["mkfs.xfs", "-q", "-m", f"uuid={uuid}", "-s", f"size={sector_bytes}"],
        "btrfs": ["mkfs.btrfs", "-q", "-U", uuid],
        "swap": ["mkswap", "-q", "-U", uuid],
    }
    run([*command[kind], file])


def fat(file: Path, serial: str, content: Path, sector_bytes: int) -> None:
    """Make a FAT filesystem that holds what is in a folder."""
    sectors = file.stat().st_size // sector_bytes
    code = sector_bytes.bit_length() - 8  # 2 ** (code + 7) bytes: mformat(1)
    wide = ["-F"] if sector_bytes == 512 else []  # FAT32 has at least 65525 clusters
    run(["mformat", "-i", file, *wide, "-S", str(code), "-T", str(sectors), "-N", serial, "::"])
    run(["mcopy", "-i", file, "-s", *content.iterdir(), "::"])


def volume_group(name: str, volumes: Mapping[str, Path], disks: Sequence[Path]) -> None:
    """Write a group whose volumes have the given content onto empty files; nothing is activated.

    With several files the volumes are dealt out to them in turn.
    """
    with ExitStack() as stack:
        devices = {stack.enter_context(loop(disk)): disk for disk in disks}
        lvm = _Lvm(tuple(devices))
        lvm("vgcreate", "--autobackup=n", name, *devices)
        for number, (volume, content) in enumerate(volumes.items()):
            size, on = f"--size={content.stat().st_size}b", [*devices][number % len(devices)]
            lvm("lvcreate", "--autobackup=n", "-an", "-Zn", "-Wn", size, f"--name={volume}", name, on)
        segments = lvm.report("lvs", name, "lv_name,seg_start,seg_size,seg_pe_ranges,vg_extent_size", "--segments")
        first = int(lvm.report("pvs", next(iter(devices)), "pe_start")[0]["pe_start"])
    for segment in segments:
        device, _, extents = segment["seg_pe_ranges"].rpartition(":")
        at = first + int(extents.partition("-")[0]) * int(segment["vg_extent_size"])
        whence = {"start": int(segment["seg_start"]), "size": int(segment["seg_size"])}
        copy_into(volumes[segment["lv_name"]], devices[device], at, **whence)


@dataclass(frozen=True)
class _Lvm:
    """lvm(8) that sees these devices and no others."""

    devices: tuple[str, ...]

    def __call__(self, command: str, *words: str) -> str:
        quiet = {"DM_DISABLE_UDEV": "1", "LVM_SUPPRESS_FD_WARNINGS": "1", "PATH": os.environ["PATH"]}
        return run(["lvm", command, "--driverloaded=n", "--devices", ",".join(self.devices), *words], env=quiet)

    def report(self, command: str, what: str, columns: str, *words: str) -> list[dict[str, str]]:
        """One of its tables: sizes in bytes."""
        shape = ["--units=b", "--nosuffix", "--reportformat=json", f"--options={columns}"]
        (table,) = json.loads(self(command, *shape, *words, what))["report"][0].values()
        return [*table]


def encrypt(file: Path, passphrase: str, uuid: str, sector_bytes: int) -> None:
    """Turn a file into a LUKS2 device that holds what it held; it grows by LUKS_MIB."""
    os.truncate(file, file.stat().st_size + LUKS_MIB * MIB)
    with TemporaryDirectory() as folder:
        key = Path(folder) / "key"
        key.write_text(passphrase)
        shape = [f"--reduce-device-size={LUKS_MIB}M", f"--sector-size={sector_bytes}"]
        luks = ["--type=luks2", "--encrypt", "--batch-mode", f"--key-file={key}"]
        # cryptsetup makes the new header, LUKS2-temp-UUID.new, in the folder that it is called from.
        run(["cryptsetup", "reencrypt", *luks, *ARGON2, *shape, file.absolute()], cwd=Path(folder))
    run(["cryptsetup", "luksUUID", "--batch-mode", f"--uuid={uuid}", file])


def gpt_disk(disk: Path, partitions: Mapping[str, Path], sector_bytes: int) -> None:
    """Write a GPT disk whose partitions have the given content, in this order."""
    sizes = {name: -(-file.stat().st_size // MIB) for name, file in partitions.items()}
    sparse_file(disk, sum(sizes.values()) + 2)  # a MiB before, one after
    table, start = [f"--set-alignment={MIB // sector_bytes}"], 1
    for number, (name, mib) in enumerate(sizes.items(), start=1):
        table += [f"--new={number}:{start}M:+{mib}M", f"--typecode={number}:{TYPES.get(name, '8300')}"]
        copy_into(partitions[name], disk, start * MIB)
        start += mib
    with loop(disk, sector_bytes=sector_bytes) as device:
        run(["sgdisk", *table, device])


def raid_member(file: Path, uuid: str) -> None:
    """Turn a file into the only member of an md array, which mdadm would assemble and start at once.

    The superblock is version 1.2, 4 KiB after the beginning: struct mdp_superblock_1, include/uapi/linux/raid/md_p.h.
    """
    sectors, array = file.stat().st_size // 512, UUID(uuid).bytes
    fields = [RAID_MAGIC, 1, 0, 0, array, b"desktop:0", 0, RAID_LEVEL, 0, sectors - RAID_DATA_SECTORS, 0, 1]
    block = bytearray(struct.pack("<4I16s32sQ2IQ2I", *fields).ljust(RAID_BLOCK_BYTES, b"\0"))
    struct.pack_into("<3Q", block, 128, RAID_DATA_SECTORS, sectors - RAID_DATA_SECTORS, RAID_AT // 512)
    struct.pack_into("<16s", block, 168, array[::-1])
    struct.pack_into("<3Q2I", block, 192, 0, 1, RAID_IN_SYNC, 0, 1)
    total = sum(word for (word,) in struct.iter_unpack("<I", block[:256])) + int.from_bytes(block[256:], "little")
    struct.pack_into("<I", block, 216, (total & 0xFFFFFFFF) + (total >> 32))
    with file.open("r+b") as opened:
        opened.seek(RAID_AT)
        opened.write(block)
