"""What preflight says where the boot loader is to start the server in kexec's stead (F24)."""

import pytest
from recorded import device, disk, facts, laptop, one, plain, report, said
from stiefel_preflight.laptop import Loader

GUIDED = disk(
    "/dev/nvme0n1",
    device("/dev/nvme0n1p2", "part", "ext4", "B"),
    device(
        "/dev/nvme0n1p3", "part", "crypto_LUKS", "C",
        device("/dev/mapper/crypt", "crypt", "LVM2_member", "D", device("/dev/mapper/vg-root", "lvm", "ext4", "1")),
    ),
)  # fmt: skip
"""Debian's guided encrypted LVM: /boot is a partition of its own."""


def test_with_kexec_nothing_is_said_of_the_boot_loader() -> None:
    assert "way into the server" not in facts(plain())


@pytest.mark.fault("F24")
def test_a_plain_partition_will_do() -> None:
    found = plain(loader=Loader())
    assert said(found) == []
    assert facts(found)["way into the server"] == "GRUB, which reads /dev/nvme0n1p2 (ext4)"


@pytest.mark.fault("F24")
@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (Loader(name=""), "neither by GRUB nor by systemd-boot"),
        (Loader(fstype="btrfs"), "cannot write to btrfs"),
        (Loader(fstype="zfs", device="rpool/ROOT"), "cannot write to zfs"),
        (Loader(device="/dev/mapper/vg-root"), "cannot write to a logical volume"),
        (Loader(free=100 << 20), "100 MiB are free"),
    ],
)
def test_what_cannot_work_is_refused_and_the_way_out_named(loader: Loader, words: str) -> None:
    tree = disk(
        "/dev/sda", device("/dev/sda1", "part", "LVM2_member", "A", device("/dev/mapper/vg-root", "lvm", "ext4", "1"))
    )
    refusal = one(report(laptop(tree, root="/dev/mapper/vg-root", loader=loader))["impossible"])
    assert words in refusal
    assert refusal.endswith("Set autokexec_method to kexec.")


def test_systemd_boot_writes_no_block_of_its_own() -> None:
    assert said(plain(loader=Loader(name="systemd-boot", fstype="vfat"))) == []


def test_that_the_key_of_an_encrypted_laptop_lies_open_meanwhile_is_told() -> None:
    found = laptop(GUIDED, root="/dev/mapper/vg-root", luks={}, loader=Loader(device="/dev/nvme0n1p2"))
    assert any("but not encrypted" in text for text in report(found)["know"])
    assert not report(found)["impossible"]
