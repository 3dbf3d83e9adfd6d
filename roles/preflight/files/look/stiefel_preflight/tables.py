"""fstab and crypttab: what a boot waits for must be on the disk that is given away, under a name that lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from stiefel_agent.laptop.tables import Crypt, Mount, crypttab, fstab
from stiefel_agent.machine.storage import Device, Storage, by_content, lasting_name

from stiefel_preflight.laptop import Laptop
from stiefel_preflight.layers import exported
from stiefel_preflight.report import Found, impossible, know, mend

_TAGS = ("UUID=", "LABEL=", "PARTUUID=", "PARTLABEL=", "ID=")
_SERIALS = ("/dev/disk/by-id/",)
"""Names that no other disk has: on a desktop they lead nowhere, and never to a disk of the desktop."""


class _End(NamedTuple):
    """What becomes of a target that waits in vain."""

    words: str
    elsewhere: Callable[[str], Found]
    """What it means for the laptop that it waits for another disk, which no desktop will ever have."""


_LATE = _End("start a minute and a half late", mend)
_EMERGENCY = _End("end in emergency mode", impossible)


def tables(laptop: Laptop) -> Iterator[Found]:
    """Look at both tables."""
    crypts = crypttab(laptop.crypttab)
    for crypt in crypts:
        if crypt.random_key:
            yield from _fresh(laptop, crypt)
        elif crypt.needed:
            named = f"/etc/crypttab, line {crypt.line} names {crypt.source}"
            yield from _judged(laptop, crypt.source, named, _LATE)
            yield from _key(laptop, crypt)
    for mount in fstab(laptop.fstab):
        if mount.needed and mount.source.startswith(("/dev/", *_TAGS)) and "loop" not in mount.options:
            source = _opened(laptop.storage, crypts, mount)
            more = " Do not upgrade kernels in a target then." if mount.point.startswith("/boot") else ""
            place = f"/etc/fstab, line {mount.line} ({mount.point})"
            named = f"{place} names {mount.source}" + (
                f" (in /etc/crypttab {source})" if source != mount.source else ""
            )
            yield from _judged(laptop, source, named, _EMERGENCY, more)


def _opened(storage: Storage, crypts: list[Crypt], mount: Mount) -> str:
    """Return a mount's device; for one that crypttab opens and that is not open now, what crypttab names."""
    sources = {f"/dev/mapper/{crypt.name}": crypt.source for crypt in crypts}
    return mount.source if storage.found(mount.source) else sources.get(mount.source, mount.source)


def _judged(laptop: Laptop, name: str, named: str, end: _End, more: str = "") -> Iterator[Found]:
    """Judge a device that a boot waits for: by where it lies, and then by its name."""
    if not name.startswith(("/dev/", *_TAGS)):
        return  # a file, which comes with the file system that it is in
    disk, found = exported(laptop), laptop.storage.found(name)
    if not found:
        yield mend(
            f"{named}, which is not there now: a target would wait for it, and {end.words}. If it is not always "
            "there, add the option nofail; if it is gone for good, drop the entry."
        )
        return
    elsewhere = [path for path in laptop.storage.disks(found) if path != disk]
    if disk and elsewhere:
        yield end.elsewhere(
            f"{named}, which is on {' and '.join(elsewhere)}. Only {disk} goes to a desktop: a target "
            f"would wait for the other, and {end.words}. Add the option nofail: the laptop uses it as ever, and a "
            f"target goes on without.{more}"
        )
    elif not by_content(name, found[0]):
        yield mend(f"{named}, which has another name on a desktop. {_write(found[0])}")


def _write(device: Device) -> str:
    """Return what to write instead of a name that does not last."""
    if name := lasting_name(device):
        return f"Write {name}"
    return f"Nothing on it has a name: give the partition one (parted {device.path}: name), and write PARTLABEL=..."


def _fresh(laptop: Laptop, crypt: Crypt) -> Iterator[Found]:
    """Judge what is encrypted with a fresh key at each boot: what it is called on a desktop would be overwritten.

    Swap of that kind is not made in a target, but a name that may be another's is not left to that alone.
    """
    found = laptop.storage.found(crypt.source)
    if not crypt.source.startswith(("/dev/", *_TAGS)) or (found and by_content(crypt.source, found[0])):
        return
    device = found[0] if found else None
    name = f"PARTUUID={device.partuuid}" if device and device.partuuid else "PARTUUID=... (lsblk -o +PARTUUID shows it)"
    place = f"/etc/crypttab, line {crypt.line} encrypts {crypt.source} anew at each boot"
    if crypt.source.startswith(_SERIALS) or crypt.source.startswith(_TAGS):
        yield mend(
            f"{place}. No desktop has a disk of that name, so its system would wait for it in vain. Write {name}"
        )
    else:
        yield impossible(
            f"{place}. On a desktop that may be the name of a partition of its own, and what is on it would be lost. "
            f"Write {name}"
        )


def _key(laptop: Laptop, crypt: Crypt) -> Iterator[Found]:
    """Look for a key that is kept on another device (crypttab(5): PATH:DEVICE; passdev of cryptsetup: DEVICE:PATH)."""
    parts = [part for part in crypt.key.split(":") if part.startswith(("/dev/", *_TAGS))]
    for name in parts if ":" in crypt.key else ():
        disks = laptop.storage.disks(laptop.storage.found(name))
        if disks != [exported(laptop)]:
            yield know(
                f"/etc/crypttab, line {crypt.line}: the key of {crypt.name} is on {name}. Bring that along to the "
                "desktop, or a target asks for the passphrase."
            )
