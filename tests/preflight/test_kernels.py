"""What preflight says about kernels and the target's command line."""

from pathlib import Path

import pytest
from recorded import device, disk, facts, laptop, one, plain, report, said
from stiefel_agent.laptop.command_line import LONGEST
from stiefel_preflight.laptop import Drivers
from stiefel_preflight.read import signed

VERSIONS = ("6.16-amd64", "6.12.10-1-liquorix-amd64")


def test_the_kernel_that_a_target_gets_is_shown() -> None:
    named = plain(kernels={"installed": VERSIONS, "next": VERSIONS[1]})
    assert facts(named)["target's kernel"] == "6.12.10-1-liquorix-amd64 (the boot loader names it)"
    assert facts(plain(kernels={"installed": VERSIONS}))["target's kernel"] == "6.16-amd64 (the newest)"


@pytest.mark.fault("F25")
def test_a_kernel_without_a_signature_is_told() -> None:
    kernels = {"installed": VERSIONS, "next": VERSIONS[1], "unsigned": VERSIONS[1:]}
    told = one(said(plain(kernels=kernels)))
    assert told.startswith("know: 6.12.10-1-liquorix-amd64 carries no signature")
    assert said(plain(kernels={"installed": VERSIONS, "unsigned": VERSIONS[1:]})) == []


CLOUD, FULL = "6.12.48+deb13-cloud-amd64", "6.12.48+deb13-amd64"


def test_a_kernel_without_nbd_is_told_before_a_desktop_hangs() -> None:
    """Debian's -cloud flavour, Ubuntu's -kvm, self-built ones."""
    modules = {CLOUD: frozenset({"virtio_net"}), FULL: frozenset({"nbd", "wireguard"})}
    both = plain(kernels={"installed": (CLOUD, FULL)}, drivers=Drivers(modules=modules))
    told = one(said(both))
    assert told.startswith(f"mend: Kernel {CLOUD} has no nbd and no wireguard")
    assert told.endswith(f"Let the boot loader start {FULL}.")
    alone = plain(kernels={"installed": (CLOUD,)}, drivers=Drivers(modules={CLOUD: frozenset({"wireguard"})}))
    assert "has no nbd, " in one(report(alone)["impossible"])
    named = plain(kernels={"installed": (CLOUD, FULL), "next": FULL}, drivers=Drivers(modules=modules))
    assert said(named) == []


def test_wireguard_is_needed_only_for_encryption() -> None:
    drivers = Drivers(modules={FULL: frozenset({"nbd"})})
    assert "no wireguard" in one(report(plain(drivers=drivers))["impossible"])
    assert report(plain(drivers=drivers, encryption="none"))["impossible"] == []


def test_a_signature_is_found_where_the_format_has_it(tmp_path: Path) -> None:
    """The fifth data directory of a PE32+ header is the table of certificates: its address and its size."""
    image = bytearray(4096)
    image[:2], image[0x3C:0x40] = b"MZ", (0x40).to_bytes(4, "little")
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(image)
    assert not signed(kernel)
    image[0x40 + 24 + 112 + 4 * 8 : 0x40 + 24 + 112 + 5 * 8] = b"\0\0\xa0\0" + b"\x68\x05\0\0"
    kernel.write_bytes(image)
    assert signed(kernel)


def test_without_a_kernel_or_a_tool_it_stops() -> None:
    assert "no kernel" in one(report(plain(kernels={"installed": ()}))["impossible"])
    assert "initramfs-tools" in one(report(plain(kernels={"tools": ()}))["impossible"])


def test_each_word_that_a_target_does_not_get_is_told_with_its_reason() -> None:
    told = said(plain(cmdline="BOOT_IMAGE=/vmlinuz root=UUID=1 ro quiet isolcpus=2,3 modprobe.blacklist=r8169,nouveau"))
    assert len(told) == 2
    assert "isolcpus=2,3 as this laptop's command line has it: it counts this laptop's processors" in told[0]
    assert "modprobe.blacklist=r8169,nouveau" in told[1]
    assert all("autokexec_target_args" in text for text in told)


@pytest.mark.parametrize("root", ["/dev/nvme0n1p2", "/dev/disk/by-path/pci-1-nvme-1-part2"])
def test_a_root_by_the_hardwares_name_is_told_with_what_to_say(root: str) -> None:
    tree = disk("/dev/nvme0n1", device("/dev/nvme0n1p2", "part", "ext4", "1"))
    links = {"/dev/disk/by-path/pci-1-nvme-1-part2": "/dev/nvme0n1p2"}
    told = one(said(laptop(tree, root="/dev/nvme0n1p2", links=links, cmdline=f"root={root} ro")))
    assert told.startswith(f"mend: The kernel's command line says root={root}, which has another name on a desktop.")
    assert "root=UUID=1" in told


@pytest.mark.parametrize(
    "root",
    ["UUID=1", "PARTUUID=77", "LABEL=ZROOT", "/dev/mapper/vg-root", "/dev/disk/by-uuid/1", "/dev/disk/by-label/x"],
)
def test_a_root_by_content_gets_no_word(root: str) -> None:
    """LABEL and PARTUUID as posted; a name that leads nowhere here is the boot loader's business, and works."""
    lv = device("/dev/mapper/vg-root", "lvm", "ext4", "1")
    tree = disk("/dev/nvme0n1", device("/dev/nvme0n1p2", "part", "LVM2_member", "p", lv))
    links = {"/dev/disk/by-uuid/1": "/dev/mapper/vg-root"}
    assert said(laptop(tree, root="/dev/mapper/vg-root", links=links, cmdline=f"root={root} ro")) == []


def test_a_command_line_that_names_no_root_is_told() -> None:
    told = one(said(plain(cmdline="ro quiet")))
    assert told.endswith("set autokexec_target_args to root=UUID=1.")


def test_a_command_line_that_linux_would_cut_off_is_refused() -> None:
    assert f"{LONGEST} are the most" in one(report(plain(cmdline="root=UUID=1 " + "x" * 2048))["impossible"])
