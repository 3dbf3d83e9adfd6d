"""What lies between the disk and the root file system: one disk is given away, and all must be on it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from stiefel_agent.machine.storage import Device, Storage

from stiefel_preflight.laptop import Laptop
from stiefel_preflight.report import Found, fact, impossible, know, mend

_KINDS = {"lvm": "LVM", "crypt": "LUKS", "part": "partition", "dm": "device mapper", "mpath": "multipath"}
_NO_DISK = {
    "zfs": (
        "ZFS brings its own drivers and finds its disks by itself, which a target's initrd cannot do. "
        "Install the system on ext4, xfs or btrfs (with LUKS or LVM as you like) on one disk to use Stiefelsystem."
    ),
    "overlay": "This is a live system or a container. Install the system on the laptop's disk first.",
    "nfs": "This system itself comes over the network. Stiefelsystem needs a laptop with a disk of its own.",
}
_MORE = "set autokexec_disk to the by-id name of the disk that the system is on"


def exported(laptop: Laptop) -> str:
    """Return the path of the disk that is given away; empty if there is none, or more than one could be meant."""
    if laptop.exported or laptop.disk_error:
        return laptop.exported
    disks = laptop.storage.disks(laptop.storage.found(laptop.root))
    return disks[0] if len(disks) == 1 else ""


def layers(laptop: Laptop) -> Iterator[Found]:
    """Say what / is made of, and refuse what one disk cannot hold."""
    if laptop.disk_facts:
        yield fact("disk", laptop.disk_facts)
    if laptop.disk_error:
        yield impossible(f"{laptop.disk_error} If the disk is another one, set autokexec_disk to its by-id name.")
    top = laptop.storage.found(laptop.root)
    if not top:
        yield from _no_disk(laptop)
        return
    stack = laptop.storage.stack(top)
    yield fact("root", f"{stack[0].path}: {' on '.join([laptop.root_fstype, *_words(stack)])}")
    yield from _one_disk(laptop, stack)
    yield from _hibernated(laptop)
    if laptop.lvm_devices_file and any(one.fstype == "LVM2_member" for one in stack):
        yield know(
            "LVM keeps a devices file (/etc/lvm/devices/system.devices), which does not know the disk's name on the "
            "desktop. If the target stops at LVM, set use_devicesfile=0 in /etc/lvm/lvm.conf."
        )


def _words(stack: list[Device]) -> list[str]:
    """Return the layers' names from top to bottom; alike ones side by side count once."""
    names = [_name(one) for one in stack]
    return [name for name, _ in groupby(names)]


def _name(one: Device) -> str:
    if one.kind.startswith(("raid", "linear", "md")):
        return f"RAID ({one.kind})"
    if one.kind == "disk" and one.below:
        return "bcache"
    return _KINDS.get(one.kind, one.kind)


def _no_disk(laptop: Laptop) -> Iterator[Found]:
    kind = "nfs" if laptop.root_fstype.startswith("nfs") else laptop.root_fstype
    why = _NO_DISK.get(kind, f"That is no disk that this laptop shows. Is it one? Then {_MORE}.")
    yield impossible(f"/ is on {laptop.root or 'nothing'} ({laptop.root_fstype}). {why}")


def _one_disk(laptop: Laptop, stack: list[Device]) -> Iterator[Found]:
    """Refuse a root that needs several disks, or another one than is given away."""
    disks = [one.path for one in stack if not one.below]
    if len(disks) > 1:
        yield impossible(
            f"/ needs {len(disks)} disks ({', '.join(sorted(disks))}); one is given away, and a target would wait for "
            f"the others. {remedy(laptop.storage, stack)}"
        )
    elif laptop.exported and disks != [laptop.exported]:
        yield impossible(
            f"autokexec_disk leads to {laptop.exported}, but / is on {disks[0]}. Leave it empty, or {_MORE}."
        )


def remedy(storage: Storage, stack: list[Device]) -> str:
    """Return how to bring a stack onto one disk: by the layer that spreads it."""
    groups = {storage.groups[one.path] for one in stack if one.path in storage.groups}
    mirrored = any(one.kind == "lvm" and len(one.below) > 1 for one in stack)
    for one in stack:
        if len(one.below) > 1 and one.kind == "disk":
            name = one.path.removeprefix("/dev/")
            return (
                f"Detach the cache (echo 1 >/sys/block/{name}/bcache/detach) and wait until "
                f"/sys/block/{name}/bcache/state says: no cache."
            )
        if len(one.below) > 1 and one.kind == "raid1":
            disk = storage.devices[one.below[1]].path
            return (
                f"Make it a RAID of one disk (mdadm {one.path} --fail {disk} --remove {disk}, then mdadm --grow "
                f"{one.path} --force --raid-devices=1), or set the system up anew on one disk."
            )
        if len(one.below) > 1 and one.kind.startswith("raid"):
            return "Such a RAID cannot be made smaller: save what is on it, and set the system up anew on one disk."
    if groups or mirrored:
        group = min(groups, default="GROUP")
        return (
            f"Bring the LVM group {group} onto one disk: undo mirrors (lvconvert -m0 {group}/NAME) and caches "
            f"(lvconvert --uncache {group}/NAME), move what is on the others (pvmove /dev/...), and take them out "
            f"(vgreduce {group} /dev/...)."
        )
    if stack[0].fstype == "btrfs":
        return (
            "Bring the file system onto one disk: btrfs balance start -dconvert=single -mconvert=dup / (if it is "
            "mirrored), then btrfs device remove /dev/... / for each of the others."
        )
    return "Set the system up anew on one disk."


def _hibernated(laptop: Laptop) -> Iterator[Found]:
    """Look for an image of a system that sleeps on the disk (blkid shows type swsuspend)."""
    disk = exported(laptop)
    for one in laptop.storage.above(disk) if disk else ():
        if one.fstype == "swsuspend":
            yield mend(
                f"{one.path} holds a hibernated system. Running the disk elsewhere and resuming the old image later "
                "would destroy it, so the laptop will not be a server. Start that system, and shut it down."
            )


def swap(laptop: Laptop) -> Iterator[Found]:
    """Look for swap space on the disk that is given away."""
    disk = exported(laptop)
    found = [one.path for one in laptop.storage.above(disk) if "[SWAP]" in one.mounts] if disk else []
    if found:
        yield know(f"Swap on the disk ({', '.join(found)}) is not used by the target: it would be slow.")
