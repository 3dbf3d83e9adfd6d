"""What preflight says about the disk and what lies on it: all of / must be on the one that is given away."""

from collections.abc import Callable
from typing import Any

import pytest
from recorded import Tree, device, disk, facts, laptop, one, plain, report, said


def part(path: str, *children: Tree, fstype: str = "ext4", uuid: str = "1") -> Tree:
    """Return a partition."""
    return device(path, "part", fstype, uuid, *children)


def lvm_on_luks() -> Tree:
    """Return the disk of Debian's guided installation with encryption."""
    lv = device("/dev/mapper/vg-root", "lvm", "ext4", "1")
    crypt = device("/dev/mapper/nvme0n1p3_crypt", "crypt", "LVM2_member", "p", lv)
    return disk("/dev/nvme0n1", device("/dev/nvme0n1p3", "part", "crypto_LUKS", "l", crypt))


def test_layers_are_read_from_top_to_bottom() -> None:
    found = laptop(lvm_on_luks(), root="/dev/mapper/vg-root", groups={"/dev/mapper/nvme0n1p3_crypt": "vg"})
    assert facts(found)["root"] == "/dev/mapper/vg-root: ext4 on LVM on LUKS on partition on disk"
    assert said(found) == []


BCACHE = device("/dev/bcache0", "disk", "ext4", "1")
MD = device("/dev/md0", "raid1", "ext4", "1")


@pytest.mark.parametrize(
    ("tree", "root", "words"),
    [
        (disk("/dev/mmcblk0", part("/dev/mmcblk0p2")), "/dev/mmcblk0p2", "partition on disk"),
        (disk("/dev/sda", part("/dev/sda2", BCACHE, fstype="bcache")), "/dev/bcache0", "bcache on partition on disk"),
        (disk("/dev/sda", part("/dev/sda1", MD)), "/dev/md0", "RAID (raid1) on partition on disk"),
        (
            disk("/dev/sda", device("/dev/mapper/root", "crypt", "ext4", "1"), fstype="crypto_LUKS"),
            "/dev/mapper/root",
            "LUKS on disk",
        ),
        (disk("/dev/nvme0n1", part("/dev/nvme0n1p2"), **{"log-sec": 4096}), "/dev/nvme0n1p2", "partition on disk"),
    ],
)  # fmt: skip
def test_what_one_disk_holds_works(tree: Tree, root: str, words: str) -> None:
    others = (
        disk("/dev/mmcblk0boot0"),
        disk("/dev/zram0", fstype="swap", mountpoints=["[SWAP]"]),
        device("/dev/loop0", "loop", "squashfs", "", mountpoints=["/snap/core22/1"]),
        disk("/dev/sdz", part("/dev/sdz1", uuid="z")),
    )
    found = laptop(tree, *others, root=root)
    assert facts(found)["root"] == f"{root}: ext4 on {words}"
    assert said(found) == []


def mirrored(number: int) -> Tree:
    """Return one side of an LVM mirror on LUKS over two SSDs (desultory/ugrd#349)."""
    lv = device("/dev/mapper/vg-ROOT", "lvm", "btrfs", "1")
    image = device(f"/dev/mapper/vg-ROOT_rimage_{number}", "lvm", "", "", lv)
    crypt = device(f"/dev/mapper/ROOT{number}", "crypt", "LVM2_member", f"p{number}", image)
    return disk(f"/dev/nvme{number}n1", device(f"/dev/nvme{number}n1p3", "part", "crypto_LUKS", f"l{number}", crypt))


STRIPE = {**MD, "type": "raid0"}
SECOND_PV = disk("/dev/sda", part("/dev/sda1", fstype="LVM2_member", uuid="q"))
BTRFS = [disk(path, part(f"{path}1", fstype="btrfs")) for path in ("/dev/sda", "/dev/sdb")]
SPREAD = {
    "bcache": ((disk("/dev/sda", part("/dev/sda2", BCACHE)), disk("/dev/nvme0n1", part("/dev/nvme0n1p3", BCACHE))),
               "/dev/bcache0", {}, "bcache0/bcache/detach"),
    "raid1": ((disk("/dev/sda", part("/dev/sda1", MD)), disk("/dev/sdb", part("/dev/sdb1", MD))),
              "/dev/md0", {}, "mdadm /dev/md0 --fail /dev/sdb1 --remove /dev/sdb1"),
    "raid0": ((disk("/dev/sda", part("/dev/sda1", STRIPE)), disk("/dev/sdb", part("/dev/sdb1", STRIPE))),
              "/dev/md0", {}, "set the system up anew"),
    "LVM mirror": ((mirrored(0), mirrored(1)), "/dev/mapper/vg-ROOT",
                   {"/dev/mapper/ROOT0": "vg", "/dev/mapper/ROOT1": "vg"}, "vgreduce vg"),
    "a second PV": ((lvm_on_luks(), SECOND_PV), "/dev/mapper/vg-root",
                    {"/dev/mapper/nvme0n1p3_crypt": "vg", "/dev/sda1": "vg"}, "pvmove"),
    "btrfs": (BTRFS, "/dev/sda1", {}, "btrfs device remove"),
}  # fmt: skip


@pytest.mark.parametrize("layout", SPREAD)
@pytest.mark.parametrize("chosen", [{}, {"exported": "/dev/sda"}])
def test_a_root_on_several_disks_is_refused_with_its_remedy(layout: str, chosen: dict[str, Any]) -> None:
    """bcache: canonical/lxd#16347, util-linux#3779."""
    trees, root, groups, remedy = SPREAD[layout]
    told = one(report(laptop(*trees, root=root, groups=groups, **chosen))["impossible"])
    assert told.startswith("/ needs 2 disks (")
    assert remedy in told


ZFS = disk("/dev/nvme0n1", part("/dev/nvme0n1p4", fstype="zfs_member", uuid="9"))


@pytest.mark.parametrize("chosen", [{}, {"exported": "/dev/nvme0n1"}])
def test_zfs_is_refused_whatever_disk_is_set(chosen: dict[str, Any]) -> None:
    found = laptop(ZFS, root="rpool/ROOT/debian", root_fstype="zfs", cmdline="root=ZFS=rpool/ROOT/debian ro", **chosen)
    told = one(report(found)["impossible"])
    assert told.startswith("/ is on rpool/ROOT/debian (zfs). ZFS brings its own drivers")
    assert "autokexec_disk" not in told


@pytest.mark.parametrize(
    ("source", "fstype", "word"),
    [
        ("overlay", "overlay", "live system"),
        ("nas:/root", "nfs4", "over the network"),
        ("/dev/root", "ext4", "autokexec_disk"),
    ],
)
def test_a_root_that_is_no_disk_is_refused(source: str, fstype: str, word: str) -> None:
    assert word in one(report(plain(root=source, root_fstype=fstype))["impossible"])


def test_a_disk_that_does_not_hold_the_system_is_refused() -> None:
    found = laptop(disk("/dev/sda", part("/dev/sda1")), disk("/dev/sdb"), root="/dev/sda1", exported="/dev/sdb")
    assert "autokexec_disk leads to /dev/sdb, but / is on /dev/sda" in one(report(found)["impossible"])


@pytest.mark.fault("F15")
def test_a_hibernated_system_on_the_disk_is_told(record_property: Callable[[str, object], None]) -> None:
    sleeping = device("/dev/sda5", "part", "swsuspend", "s")
    told = one(said(laptop(disk("/dev/sda", part("/dev/sda1"), sleeping), root="/dev/sda1")))
    record_property("figure", told)
    assert told.startswith("mend: /dev/sda5 holds a hibernated system.")
    assert said(laptop(disk("/dev/sda", part("/dev/sda1")), disk("/dev/sdb", sleeping), root="/dev/sda1")) == []


def test_swap_on_the_disk_is_told_and_other_swap_is_not() -> None:
    swap = device("/dev/sda5", "part", "swap", "s", mountpoints=["[SWAP]"])
    told = one(
        said(
            laptop(
                disk("/dev/sda", part("/dev/sda1"), swap), disk("/dev/zram0", mountpoints=["[SWAP]"]), root="/dev/sda1"
            )
        )
    )
    assert told == "know: Swap on the disk (/dev/sda5) is not used by the target: it would be slow."


@pytest.mark.fault("F20")
def test_lvms_devices_file_is_told() -> None:
    found = laptop(lvm_on_luks(), root="/dev/mapper/vg-root", lvm_devices_file=True)
    assert "use_devicesfile=0" in one(said(found))
    assert said(plain(lvm_devices_file=True)) == []
