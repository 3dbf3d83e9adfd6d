"""The machine and its operating system: can a server run here at all, and is there room?"""

from __future__ import annotations

from collections.abc import Iterator

from stiefel_preflight.laptop import Laptop
from stiefel_preflight.report import Found, fact, impossible, know

MEBIBYTE = 1 << 20
LEAST_MEMORY = 900 * MEBIBYTE
"""The unpacked ramdisk, a bundle and room to work; a laptop sold with 1 GiB shows a little less."""
RAMDISK_SPACE = 100 * MEBIBYTE
INITRD_SPACE = 150 * MEBIBYTE
"""One target's initrd with all drivers and their firmware, and the old one beside it while it is replaced."""
BUILD_SPACE = 600 * MEBIBYTE
"""What the initramfs tools unpack into /var/tmp while they build one."""


def system(laptop: Laptop) -> Iterator[Found]:
    """Look at the operating system and the memory that the server will have."""
    machine = laptop.machine
    yield fact("system", f"{machine.os}, Linux {machine.release}, {machine.architecture}")
    if machine.architecture != "x86_64":
        yield impossible(
            f"This laptop's architecture is {machine.architecture}; ramdisk and stick are made for x86_64 only."
        )
    if not machine.systemd:
        yield impossible("This laptop does not run systemd, through which it moves into the server.")
    if not machine.apt:
        yield impossible("This laptop has no apt-get: only Debian and its descendants are supported so far.")
    yield fact("memory", f"{machine.memory // MEBIBYTE} MiB")
    if machine.memory < LEAST_MEMORY:
        yield impossible(
            f"This laptop has {machine.memory // MEBIBYTE} MiB of memory; the server needs "
            f"{LEAST_MEMORY // MEBIBYTE} MiB."
        )


def space(laptop: Laptop) -> Iterator[Found]:
    """Look for room for the ramdisk and the target's initrds."""
    needed = {
        "/var/lib": RAMDISK_SPACE + len(laptop.kernels.installed) * INITRD_SPACE - laptop.machine.taken,
        "/var/tmp": BUILD_SPACE,
    }
    for path, free in laptop.machine.free.items():
        needs = needed[path]
        yield fact(f"free in {path}", f"{free // MEBIBYTE} MiB, needed: {max(needs, 0) // MEBIBYTE} MiB")
        if free < needs:
            yield impossible(
                f"{path} has {free // MEBIBYTE} MiB free, {needs // MEBIBYTE} MiB are needed (each installed kernel "
                f"takes {INITRD_SPACE // MEBIBYTE}). Make room, or remove old kernels: apt autoremove"
            )


def security(laptop: Laptop) -> Iterator[Found]:
    """Look at Secure Boot and at what will protect the block traffic."""
    yield fact("Secure Boot", "on" if laptop.machine.secure_boot else "off")
    yield fact("encryption", laptop.encryption)
    if laptop.encryption == "none":
        yield know(
            "stiefel_encryption is none: whoever can listen on the cable reads and changes everything on the disk."
        )
