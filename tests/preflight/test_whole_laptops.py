"""Whole laptops as their installers leave them: each must come through without a word that its owner cannot use."""

from typing import Any

from recorded import CABLE, device, disk, facts, laptop, one, said
from stiefel_preflight.laptop import Adapter, Drivers, Laptop, Machine

FIRMWARE = {"rtl_nic": True, "tigon": True, "bnx2": True}


def drivers(version: str) -> Drivers:
    """Return what a distribution's own kernel has."""
    return Drivers(wired={version: CABLE}, firmware=FIRMWARE)


def debian_encrypted(**more: Any) -> Laptop:
    """Return Debian 13 by the installer's guided "encrypted LVM": ESP, a plain /boot, LUKS2, LVM, swap in it."""
    root = device("/dev/mapper/debian--vg-root", "lvm", "ext4", "11", kname="dm-1", mountpoints=["/"])
    swap = device("/dev/mapper/debian--vg-swap_1", "lvm", "swap", "12", kname="dm-2", mountpoints=["[SWAP]"])
    crypt = device("/dev/mapper/nvme0n1p3_crypt", "crypt", "LVM2_member", "10", root, swap, kname="dm-0")
    tree = disk(
        "/dev/nvme0n1",
        device("/dev/nvme0n1p1", "part", "vfat", "0A0B-0C0D"),
        device("/dev/nvme0n1p2", "part", "ext4", "2"),
        device("/dev/nvme0n1p3", "part", "crypto_LUKS", "3", crypt),
    )
    fstab = """\
/dev/mapper/debian--vg-root /               ext4    errors=remount-ro 0       1
UUID=2 /boot           ext4    defaults        0       2
UUID=0A0B-0C0D  /boot/efi       vfat    umask=0077      0       1
/dev/mapper/debian--vg-swap_1 none            swap    sw              0       0
"""
    known: dict[str, Any] = {
        "root": "/dev/dm-1",
        "groups": {"/dev/mapper/nvme0n1p3_crypt": "debian-vg"},
        "fstab": fstab,
        "crypttab": "nvme0n1p3_crypt UUID=3 none luks,discard,x-initrd.attach\n",
        "luks": {"/dev/nvme0n1p3": {"keyslots": {"0": {}}, "tokens": {}}},
        "cmdline": "BOOT_IMAGE=/vmlinuz-6.12.48+deb13-amd64 root=/dev/mapper/debian--vg-root ro quiet splash",
        "drivers": drivers("6.12.48+deb13-amd64"),
    }
    return laptop(tree, **{**known, **more})


def test_debians_guided_encrypted_laptop() -> None:
    found = debian_encrypted()
    assert facts(found)["root"] == "/dev/mapper/debian--vg-root: ext4 on LVM on LUKS on partition on disk"
    assert (
        one(said(found))
        == "know: Swap on the disk (/dev/mapper/debian--vg-swap_1) is not used by the target: it would be slow."
    )


def test_the_same_with_a_tpm_beside_the_passphrase() -> None:
    token = {"type": "systemd-tpm2", "keyslots": ["1"]}
    luks = {"/dev/nvme0n1p3": {"keyslots": {"0": {}, "1": {}}, "tokens": {"0": token}}}
    cmdline = "root=/dev/mapper/debian--vg-root ro rd.luks.options=tpm2-device=auto"
    told = said(debian_encrypted(luks=luks, cmdline=cmdline))
    assert [text.split(":")[0] for text in told] == ["know"] * 3
    assert "--test-passphrase /dev/nvme0n1p3" in told[0]
    assert "rd.luks.options=tpm2-device=auto" in told[2]


def test_ubuntus_laptop() -> None:
    """Ubuntu 25.10: dracut, snaps in loop devices, a swap file, netplan for any adapter, GRUB's vt.handoff."""
    root = device("/dev/mapper/ubuntu--vg-ubuntu--lv", "lvm", "ext4", "11", kname="dm-0")
    trees = (
        *(device(f"/dev/loop{n}", "loop", "squashfs", "", mountpoints=[f"/snap/core22/{n}"]) for n in range(20)),
        disk(
            "/dev/nvme0n1",
            device("/dev/nvme0n1p1", "part", "vfat", "0A0B-0C0D"),
            device("/dev/nvme0n1p2", "part", "ext4", "2"),
            device("/dev/nvme0n1p3", "part", "LVM2_member", "3", root),
        ),
    )
    found = laptop(
        *trees,
        root="/dev/dm-0",
        machine=Machine(os="Ubuntu 25.10", release="6.17.0-5-generic"),
        groups={"/dev/nvme0n1p3": "ubuntu-vg"},
        links={"/dev/disk/by-id/dm-uuid-LVM-AAAA": "/dev/dm-0"},
        fstab="/dev/disk/by-id/dm-uuid-LVM-AAAA / ext4 defaults 0 1\n/dev/disk/by-uuid/2 /boot ext4 defaults 0 1\n"
        "/dev/disk/by-uuid/0A0B-0C0D /boot/efi vfat defaults 0 1\n/swap.img none swap sw 0 0\n",
        cmdline="BOOT_IMAGE=/vmlinuz root=/dev/mapper/ubuntu--vg-ubuntu--lv ro quiet splash vt.handoff=7",
        kernels={"installed": ("6.17.0-5-generic",), "next": "6.17.0-5-generic", "tools": ("dracut",)},
        drivers=drivers("6.17.0-5-generic"),
        profiles={"/etc/netplan/90-NM-1.yaml": "network:\n  version: 2\n  renderer: NetworkManager\n"},
    )
    assert said(found) == []
    assert "vt.handoff" not in facts(found)["target's command line"]
    assert facts(found)["initramfs tool"] == "dracut"


def test_a_laptop_with_systemd_boot_btrfs_and_a_dock() -> None:
    """Subvolumes, zram, root by PARTUUID in a unified kernel image, an adapter that comes and goes with the dock."""
    parts = (device("/dev/sda1", "part", "vfat", "0A0B-0C0D"), device("/dev/sda2", "part", "btrfs", "2", partuuid="22"))
    fstab = "".join(f"UUID=2 {point} btrfs subvol=@{name} 0 0\n" for point, name in (("/", ""), ("/home", "home")))
    found = laptop(
        disk("/dev/sda", *parts),
        disk("/dev/zram0", fstype="swap", mountpoints=["[SWAP]"]),
        root="/dev/sda2",
        root_fstype="btrfs",
        fstab=fstab,
        cmdline="root=PARTUUID=22 rw rootflags=subvol=@ systemd.machine_id=0123",
        adapters=(Adapter(name="enx525400000002", driver="r8152", carrier=False),),
        drivers=drivers("6.12.48+deb13-amd64"),
    )
    assert said(found) == []
    assert facts(found)["root"] == "/dev/sda2: btrfs on partition on disk"
