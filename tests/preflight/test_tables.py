"""What preflight says about fstab and crypttab: what a boot waits for must be on the disk, under a name that lasts."""

from collections.abc import Callable
from typing import Any

import pytest
from recorded import device, disk, laptop, one, plain, said

ROOT = device("/dev/nvme0n1p2", "part", "ext4", "1")
HOME = device("/dev/nvme0n1p3", "part", "ext4", "3", partuuid="30")


def test_a_plain_installation_gets_no_word() -> None:
    fstab = "UUID=1 / ext4 errors=remount-ro 0 1\nUUID=AB /boot/efi vfat umask=0077 0 1\n/swapfile none swap sw 0 0\n"
    assert said(plain(fstab=fstab)) == []


def test_names_by_content_get_no_word() -> None:
    """Ubuntu's installer writes by-id names of LVM and RAID, which are made of contents (wiki.ubuntu.com/FSTAB)."""
    lv = device("/dev/mapper/ubuntu--vg-ubuntu--lv", "lvm", "ext4", "2", kname="dm-0")
    md = device("/dev/md127", "raid1", "ext4", "5")
    tree = disk(
        "/dev/nvme0n1",
        device("/dev/nvme0n1p1", "part", "vfat", "1234-ABCD"),
        device("/dev/nvme0n1p2", "part", "ext4", "1"),
        device("/dev/nvme0n1p3", "part", "LVM2_member", "x", lv),
        device("/dev/nvme0n1p4", "part", "linux_raid_member", "m", md),
    )
    links = {
        "/dev/disk/by-id/dm-uuid-LVM-AAAABBBB": "/dev/dm-0",
        "/dev/disk/by-id/dm-name-ubuntu--vg-ubuntu--lv": "/dev/dm-0",
        "/dev/ubuntu-vg/ubuntu-lv": "/dev/dm-0",
        "/dev/disk/by-id/md-uuid-11111111:22222222": "/dev/md127",
        "/dev/disk/by-partlabel/EFI": "/dev/nvme0n1p1",
    }
    fstab = "".join(f"{name} /{number} auto defaults 0 1\n" for number, name in enumerate(links))
    fstab += "/dev/disk/by-uuid/1 /boot ext4 defaults 0 1\n"  # udev's link was not recorded
    fstab += "/dev/mapper/ubuntu--vg-ubuntu--lv / ext4 defaults 0 1\n/swap.img none swap sw 0 0\n"
    found = laptop(
        tree, root="/dev/dm-0", links=links, fstab=fstab, cmdline="root=/dev/mapper/ubuntu--vg-ubuntu--lv ro"
    )
    assert said(found) == []


@pytest.mark.fault("F27")
@pytest.mark.parametrize(
    "name",
    [
        "/dev/nvme0n1p3",
        "/dev/disk/by-id/nvme-Disk_1-part3",
        "/dev/disk/by-path/pci-0000:3b:00.0-nvme-1-part3",
        "ID=nvme-Disk_1-part3",
        "/dev/home",
    ],
)
@pytest.mark.parametrize("table", ["fstab", "crypttab"])
def test_names_of_hardware_are_told_with_the_name_to_write(
    name: str, table: str, record_property: Callable[[str, object], None]
) -> None:
    links = dict.fromkeys((name, "/dev/disk/by-id/nvme-Disk_1-part3"), "/dev/nvme0n1p3")
    tree = disk("/dev/nvme0n1", ROOT, HOME)
    tables: dict[str, Any] = {
        "fstab": f"UUID=1 / ext4 defaults 0 1\n{name} /home ext4 defaults 0 2\n",
        "crypttab": f"\nhome {name} none luks\n",
    }
    told = one(said(laptop(tree, root="/dev/nvme0n1p2", links=links, **{table: tables[table]})))
    if (name, table) == ("/dev/nvme0n1p3", "fstab"):
        record_property("figure", told)
    assert told.startswith(f"mend: /etc/{table}, line 2")
    assert f"names {name}, which has another name on a desktop. Write UUID=3" in told


def test_a_number_that_the_kernel_gave_is_no_name() -> None:
    lv = device("/dev/mapper/vg-home", "lvm", "ext4", "4", kname="dm-3")
    tree = disk(
        "/dev/nvme0n1",
        device("/dev/nvme0n1p2", "part", "ext4", "1"),
        device("/dev/nvme0n1p3", "part", "LVM2_member", "p", lv),
    )
    told = one(said(laptop(tree, root="/dev/nvme0n1p2", fstab="/dev/dm-3 /home ext4 defaults 0 2\n")))
    assert "Write UUID=4" in told


def test_entries_that_never_hold_a_boot_up_get_no_word() -> None:
    """Ubuntu Forums (a laptop's fstab), AskUbuntu's entry of the installer's stick, OpenZFS' guide's EFI entry."""
    fstab = """\
UUID=1\t/\text4\terrors=remount-ro\t0\t1
/dev/sr0        /media/cdrom0   udf,iso9660 user,noauto     0       0
/dev/sdb1       /media/usb0     auto    rw,user,noauto  0       0
/dev/disk/by-id/usb-Backup_1-part1 /backup ext4 nofail,x-systemd.device-timeout=1 0 0
/dev/disk/by-path/pci-0000:3b:00.0-usb-0:2:1.0-scsi-0:0:0:0-part1 /mnt/My\\040Drive vfat noauto,x-systemd.automount 0 0
UUID=gone /mnt/other ext4 x-systemd.automount 0 0
tmpfs /tmp tmpfs defaults,size=4G 0 0
/srv/data /data none bind 0 0
/srv/image.iso /mnt/iso iso9660 loop,ro 0 0
//nas/Fotos#2024 /mnt/nas cifs credentials=/root/c,_netdev,x-systemd.automount 0 0
nas:/export /mnt/nfs nfs4 _netdev 0 0
/dev/nvme0n1p9 none swap sw 0 0
proc /proc proc defaults 0 0
"""
    crypttab = "data /dev/sdb1 none luks,noauto\nmore UUID=gone none luks,nofail\nfile /srv/secret.img none luks\n"
    assert said(plain(fstab=fstab, crypttab=crypttab)) == []


def test_what_lies_on_another_disk_is_refused_unless_nofail_or_told_if_nobody_waits_long() -> None:
    """SSD with /, /home on a second disk, the EFI partition on a third: pop-os/pop#2724, systemd#5836."""
    trees = (
        disk("/dev/nvme0n1", device("/dev/nvme0n1p2", "part", "ext4", "aaaa", mountpoints=["/"])),
        disk(
            "/dev/sda", device("/dev/sda1", "part", "ext4", "bbbb"), device("/dev/sda2", "part", "crypto_LUKS", "cccc")
        ),
        disk("/dev/nvme1n1", device("/dev/nvme1n1p1", "part", "vfat", "ABCD-1234")),
    )
    fstab = """\
UUID=aaaa / ext4 errors=remount-ro 0 1
UUID=bbbb /home ext4 defaults 0 2
UUID=ABCD-1234 /boot/efi vfat umask=0077 0 1
/dev/mapper/data /data ext4 defaults 0 2
UUID=dddd /mnt/My\\040Drive ntfs-3g nofail,x-systemd.device-timeout=5 0 0
"""
    crypttab = "data UUID=cccc /etc/keys/data luks\n"
    for exported in ("", "/dev/nvme0n1"):
        found = laptop(*trees, root="/dev/nvme0n1p2", fstab=fstab, crypttab=crypttab, exported=exported)
        told = said(found)
        waits = ["impossible: /etc/fstab, line 2 (/home)", "impossible: /etc/fstab, line 3 (/boot/efi)"]
        waits += ["impossible: /etc/fstab, line 4 (/data)", "mend: /etc/crypttab, line 1"]
        for beginning, text in zip(waits, told, strict=True):
            assert text.startswith(beginning)
            assert ("names /dev/mapper/data (in /etc/crypttab UUID=cccc), which is on /dev/sda" in text) == (
                "/data" in text
            )
            assert "Only /dev/nvme0n1 goes to a desktop" in text
            assert "Add the option nofail" in text


def test_a_volume_group_must_be_on_the_disk_as_a_whole() -> None:
    lv = device("/dev/mapper/data-media", "lvm", "ext4", "2", kname="dm-0")
    trees = (
        disk(
            "/dev/nvme0n1",
            device("/dev/nvme0n1p2", "part", "ext4", "1"),
            device("/dev/nvme0n1p3", "part", "LVM2_member", "p", lv),
        ),
        disk("/dev/sda", device("/dev/sda1", "part", "LVM2_member", "q")),
    )
    groups = {"/dev/nvme0n1p3": "data", "/dev/sda1": "data"}
    told = one(
        said(
            laptop(
                *trees, root="/dev/nvme0n1p2", groups=groups, fstab="/dev/mapper/data-media /media ext4 defaults 0 2\n"
            )
        )
    )
    assert "which is on /dev/sda." in told


def test_a_file_system_on_two_disks_is_on_the_other_as_well() -> None:
    trees = (
        disk(
            "/dev/nvme0n1",
            device("/dev/nvme0n1p2", "part", "ext4", "1"),
            device("/dev/nvme0n1p3", "part", "btrfs", "b"),
        ),
        disk("/dev/sda", device("/dev/sda1", "part", "btrfs", "b")),
    )
    told = one(said(laptop(*trees, root="/dev/nvme0n1p2", fstab="UUID=b /home btrfs subvol=@home 0 0\n")))
    assert "which is on /dev/sda." in told


def test_what_is_not_there_now_is_told() -> None:
    told = one(said(plain(fstab="UUID=1 / ext4 defaults 0 1\nUUID=gone /data ext4 defaults 0 2\n")))
    assert told.startswith("mend: /etc/fstab, line 2 (/data) names UUID=gone, which is not there now")
    assert "nofail" in told


# serverfault.com/q/312123; OpenZFS' "Root on ZFS" guides
FRESH = disk(
    "/dev/sda",
    device("/dev/sda3", "part", "ext4", "1"),
    device("/dev/sda4", "part", partuuid="44"),
    device("/dev/sda6", "part", "", "", device("/dev/mapper/cswap", "crypt", "swap", "9"), partuuid="66"),
)
FRESH_LINKS = {"/dev/disk/by-id/ata-Disk_1-part4": "/dev/sda4", "/dev/disk/by-path/pci-1-ata-1-part6": "/dev/sda6"}


@pytest.mark.parametrize("name", ["/dev/sda6", "/dev/disk/by-path/pci-1-ata-1-part6"])
@pytest.mark.parametrize("options", ["swap,cipher=aes-xts-plain64,size=256", "tmp", "plain,nofail"])
def test_a_fresh_key_for_what_is_another_partition_on_a_desktop_is_refused(name: str, options: str) -> None:
    crypttab = f"cswap\t{name}\t/dev/urandom\t{options}\n"
    told = one(said(laptop(FRESH, root="/dev/sda3", crypttab=crypttab, links=FRESH_LINKS)))
    assert told.startswith("impossible: /etc/crypttab, line 1")
    assert told.endswith("Write PARTUUID=66")


def test_a_fresh_key_for_a_name_that_no_desktop_has_is_told() -> None:
    crypttab = "swap /dev/disk/by-id/ata-Disk_1-part4 /dev/urandom swap\n"
    told = one(said(laptop(FRESH, root="/dev/sda3", crypttab=crypttab, links=FRESH_LINKS)))
    assert told.startswith("mend: ")
    assert told.endswith("Write PARTUUID=44")


def test_a_fresh_key_for_a_lasting_name_gets_no_word() -> None:
    lv = device("/dev/mapper/vg-swap", "lvm")
    tree = disk(
        "/dev/sda",
        device("/dev/sda3", "part", "ext4", "1"),
        device("/dev/sda5", "part", "LVM2_member", "p", lv, partuuid="55"),
    )
    crypttab = "cswap PARTUUID=55 /dev/urandom swap\nother /dev/mapper/vg-swap /dev/urandom swap\n"
    assert said(laptop(tree, root="/dev/sda3", crypttab=crypttab)) == []


@pytest.mark.parametrize("key", ["/dev/disk/by-label/STICK:/key", "/key:LABEL=STICK"])
def test_a_key_on_a_stick_must_be_brought_along(key: str) -> None:
    tree = disk("/dev/sda", device("/dev/sda3", "part", "ext4", "1"), device("/dev/sda4", "part", "crypto_LUKS", "4"))
    told = one(said(laptop(tree, root="/dev/sda3", crypttab=f"data UUID=4 {key} luks\n")))
    assert told.startswith("know: ")
    assert "Bring that along" in told
