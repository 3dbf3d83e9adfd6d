"""The boot loader, where it is to start the server in kexec's stead (autokexec_method: bootloader)."""

from __future__ import annotations

from collections.abc import Iterator

from stiefel_preflight.laptop import Laptop
from stiefel_preflight.report import Found, fact, impossible, know
from stiefel_preflight.system import INITRD_SPACE, MEBIBYTE, RAMDISK_SPACE

NEEDED = RAMDISK_SPACE + INITRD_SPACE
"""Ramdisk, and the bundle in it, while the laptop is the server."""
_READ_ONLY = ("btrfs", "zfs", "f2fs", "squashfs")
"""File systems that GRUB cannot write its environment block to (its own 00_header leaves it alone there)."""
_KEXEC = "Set autokexec_method to kexec."


def loader(laptop: Laptop) -> Iterator[Found]:
    """Look whether the boot loader can start something once, and forget it."""
    found = laptop.loader
    if not found:
        return
    yield fact("way into the server", f"{found.name or 'unknown'}, which reads {found.device} ({found.fstype})")
    if not found.name:
        yield impossible(
            "autokexec_method is bootloader, and this laptop starts neither by GRUB nor by systemd-boot, which take an "
            f"entry for one time. {_KEXEC}"
        )
        return
    if why := _never_forgets(laptop):
        yield impossible(
            f"autokexec_method is bootloader, and GRUB cannot write to {why}, where its environment block (grubenv) "
            f"is: it would start the server again and again. {_KEXEC}"
        )
    if found.free < NEEDED:
        yield impossible(
            f"autokexec_method is bootloader, for which {NEEDED // MEBIBYTE} MiB are needed where {found.name} reads; "
            f"{found.free // MEBIBYTE} MiB are free. Remove old kernels (apt autoremove). Or: {_KEXEC}"
        )
    if any(one.fstype == "crypto_LUKS" for one in laptop.storage.stack(laptop.storage.found(laptop.root))):
        yield know(
            "autokexec_method is bootloader: while a session runs, the key lies below /boot, for root alone but not "
            "encrypted. Who takes the laptop's disk then has it."
        )


def _never_forgets(laptop: Laptop) -> str:
    """Return what GRUB cannot write to, in words; empty if it can, or is not asked to."""
    found = laptop.loader
    if not found or found.name != "GRUB":
        return ""
    if found.fstype in _READ_ONLY:
        return found.fstype
    kinds = [one.kind for one in laptop.storage.stack(laptop.storage.found(found.device))]
    return next((words for kind, words in _LAYERS.items() if any(one.startswith(kind) for one in kinds)), "")


_LAYERS = {"lvm": "a logical volume", "crypt": "an encrypted disk", "raid": "an array", "md": "an array"}
"""Types of lsblk(8), or how they begin."""
