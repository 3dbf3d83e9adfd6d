"""Block devices as lsblk(8) shows them: what lies on what, and what a name in a table means. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

COLUMNS = "NAME,PATH,KNAME,TYPE,FSTYPE,UUID,LABEL,PARTUUID,PARTLABEL,MOUNTPOINTS"
"""What lsblk is asked for (--json --output=...). Without NAME it prints no tree, but a list."""
_CONTENTS = ("fstype", "uuid", "label", "partuuid", "partlabel")
_TAGS = {"UUID": "uuid", "LABEL": "label", "PARTUUID": "partuuid", "PARTLABEL": "partlabel"}
_SPREAD = ("btrfs", "bcachefs")
"""File systems that lie on several devices by themselves; all of these show its UUID."""
_CONTENT = ("by-uuid/", "by-label/", "by-partuuid/", "by-partlabel/", "by-id/dm-", "by-id/md-", "by-id/lvm-pv-")
_NUMBERED = ("/dev/dm-", "/dev/bcache")


@dataclass(frozen=True, slots=True)
class Device:
    """A block device, and the paths of the devices that it lies on directly: none for a disk."""

    path: str
    kname: str
    kind: str
    """lsblk's TYPE: disk, part, crypt, lvm, raid1, loop ..."""
    fstype: str = ""
    uuid: str = ""
    label: str = ""
    partuuid: str = ""
    partlabel: str = ""
    mounts: tuple[str, ...] = ()
    below: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Storage:
    """All block devices of a machine, by path."""

    devices: Mapping[str, Device]
    links: Mapping[str, str] = field(default_factory=dict)
    """Other names of devices, such as /dev/disk/by-id/..., and the paths that they lead to."""
    groups: Mapping[str, str] = field(default_factory=dict)
    """The LVM volume group of each physical volume, by its path (pvs(8))."""

    def found(self, name: str) -> list[Device]:
        """Return the devices of a name as fstab, crypttab and root= have it; several for a file system on several."""
        tag, _, value = (name if name in self.links else _as_tag(name)).partition("=")
        if tag in _TAGS:
            return [one for one in self.devices.values() if value and getattr(one, _TAGS[tag]) == value]
        path = f"/dev/disk/by-id/{value}" if tag == "ID" else name
        path = self.links.get(path, path)
        one = self.devices.get(path) or next((one for one in self.devices.values() if one.kname == path), None)
        return [] if one is None else self._spread(one)

    def _spread(self, one: Device) -> list[Device]:
        """Return a device, with the others that its file system lies on."""
        if one.fstype not in _SPREAD or not one.uuid:
            return [one]
        return [
            one,
            *(two for two in self.devices.values() if (two.fstype, two.uuid) == (one.fstype, one.uuid) and two != one),
        ]

    def stack(self, top: Iterable[Device]) -> list[Device]:
        """Return the devices and all that they lie on, from top to bottom, each once, after what lies on it."""
        layers: list[Device] = []
        level = list(top)
        while level:
            layers = [one for one in layers if one not in level] + list(dict.fromkeys(level))
            level = [below for one in level for below in self._below(one)]
        return layers

    def _below(self, one: Device) -> Iterator[Device]:
        """Yield what a device needs: what it lies on, and for LVM the whole volume group, without which none starts."""
        direct = [self.devices[path] for path in one.below]
        yield from direct
        group = next((self.groups[two.path] for two in direct if two.path in self.groups), "")
        if one.kind == "lvm" and group:
            others = (self.devices.get(path) for path, name in self.groups.items() if name == group)
            yield from (two for two in others if two and two not in direct)

    def disks(self, top: Iterable[Device]) -> list[str]:
        """Return the paths of the disks below devices: what lies on nothing else (a bcache is no disk, says lsblk)."""
        return sorted(one.path for one in self.stack(top) if not one.below)

    def above(self, path: str) -> list[Device]:
        """Return a disk and all that lies on it."""
        return [one for one in self.devices.values() if path in self.disks([one])]


def parse(
    blockdevices: list[dict[str, Any]], links: Mapping[str, str] | None = None, groups: Mapping[str, str] | None = None
) -> Storage:
    """Return the devices of lsblk's tree, in which one that lies on several occurs below each of them."""
    devices: dict[str, Device] = {}

    def walk(found: list[dict[str, Any]], parents: tuple[str, ...]) -> None:
        for entry in found:
            path = entry["path"]
            known = devices[path].below if path in devices else ()
            devices[path] = _device(entry, tuple(dict.fromkeys((*known, *parents))))
            walk(entry.get("children", []), (path,))

    walk(blockdevices, ())
    return Storage(devices, links or {}, groups or {})


def _device(entry: dict[str, Any], below: tuple[str, ...]) -> Device:
    """Return one entry of lsblk's tree, in which what is unknown is null."""
    fstype, uuid, label, partuuid, partlabel = (entry.get(name) or "" for name in _CONTENTS)
    kname = entry.get("kname") or entry["path"].removeprefix("/dev/")
    mounts = tuple(point for point in entry.get("mountpoints") or () if point)
    return Device(
        entry["path"], f"/dev/{kname}", entry.get("type") or "", fstype, uuid, label, partuuid, partlabel, mounts, below
    )


def _as_tag(name: str) -> str:
    """Return a name below /dev/disk as the tag that it stands for; udev may not have made the link."""
    kind, _, value = name.removeprefix("/dev/disk/by-").partition("/")
    return f"{kind.upper()}={value}" if name.startswith("/dev/disk/by-") and kind.upper() in _TAGS else name


def by_content(name: str, device: Device) -> bool:
    """Return whether a name finds a device by what is on it, so that it is the same on a desktop.

    There the laptop's disk is /dev/nbd0: names of hardware, of its place and by number mean nothing, or something else.
    """
    if not name.startswith("/dev/"):
        return name.partition("=")[0] in _TAGS
    if name.startswith("/dev/disk/"):
        return name.removeprefix("/dev/disk/").startswith(_CONTENT)
    return device.kind not in ("disk", "part") and not name.startswith(_NUMBERED)


def lasting_name(device: Device) -> str:
    """Return how to name a device by what is on it; empty if nothing is."""
    named = {"UUID": device.uuid, "PARTUUID": device.partuuid, "LABEL": device.label}
    return next((f"{tag}={value}" for tag, value in named.items() if value), "")
