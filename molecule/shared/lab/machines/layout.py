"""How a laptop's disk is laid out, and the images of all the ways that the lab knows.

A layout's image is made from the plain base image of its initramfs tool (image.py): the same system, moved onto other
partitions and filesystems, with what its initramfs and its boot loader need for them. All of it happens on this machine
without device-mapper: LVM writes its metadata to volumes that are never activated, cryptsetup encrypts in user space.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum

VOLUME_GROUP = "debian-vg"
PASSPHRASE = "stiefel"
"""Opens every encrypted laptop of the lab; typed on QEMU's American keyboard."""
MIB = 1 << 20
ESP_MIB, BOOT_MIB, ROOT_MIB, SWAP_MIB, HOME_MIB = 64, 384, 3072, 128, 256
ESP_WITH_KERNELS_MIB = 384
"""For boot loaders that read nothing else: kernel and initrd of one version, and room for the next."""
FETCHED = ["kexec-tools", "python3-pycryptodome", "wireguard-tools"]
"""What site.yml would fetch. An emulated laptop takes two minutes to install it; the plain laptop begins without it."""
ROOT_SUBVOLUME = "@rootfs"
"""What Debian's installer calls it."""


class Bus(StrEnum):
    """Where a disk hangs, and with it the kernel's name for it."""

    NVME = "nvme"  # nvme0n1
    SATA = "sata"  # sda
    MMC = "mmc"  # mmcblk0


class Loader(StrEnum):
    """What starts the laptop's kernel."""

    GRUB = "grub"
    SYSTEMD_BOOT = "bls"  # kernel-install's word for its layout: entries of the Boot Loader Specification, type 1
    UNIFIED = "uki"  # the same for unified kernel images, type 2, which systemd-boot starts as well


@dataclass(frozen=True)
class Hardware:
    """What the disk is, for QEMU and for the laptop's owner."""

    bus: Bus = Bus.NVME
    sector_bytes: int = 512
    disks: int = 1
    passphrase: str = ""
    """Typed at the keyboard each time that the laptop's system starts, wherever it runs."""
    tpm: bool = False
    """The laptop has a TPM, which opens its disk there: the passphrase is typed at desktops only."""

    @property
    def typed_at_home(self) -> str:
        """What is typed at the laptop itself."""
        return "" if self.tpm else self.passphrase

    def write(self) -> str:
        """As JSON; `read` takes it back."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def read(cls, text: str) -> Hardware:
        """The same from JSON."""
        content = json.loads(text)
        return cls(**content | {"bus": Bus(content["bus"])})


USUAL = Hardware()


@dataclass(frozen=True)
class Layout:
    """One way to lay a laptop's disk out."""

    name: str
    what: str
    """For people, as docs/compatibility.md says it."""
    initramfs: str = "initramfs-tools"
    loader: Loader = Loader.GRUB
    filesystem: str = "ext4"
    """Of the root: ext4, xfs, or btrfs with subvolumes for / and /home."""
    encrypted: bool = False
    lvm: bool = False
    boot_apart: bool = False
    home_apart: bool = False
    """/home is the last partition, or the last volume of the group."""
    swap_file: bool = False
    tpm: bool = False
    """The laptop's TPM opens what is encrypted, besides the passphrase; a desktop has none."""
    plymouth: bool = False
    ufw: bool = False
    """A firewall that lets in ssh, and a desktop's call as the preflight says it."""
    bus: Bus = Bus.NVME
    sector_bytes: int = 512
    disks: int = 1
    """With 2, the second one is the group's second physical volume, or has /home on it."""
    crypttab: str = ""
    """More lines of /etc/crypttab. {swap} is an unused partition's device name."""
    fstab: str = ""

    @property
    def hardware(self) -> Hardware:
        """What QEMU has to know of it."""
        return Hardware(self.bus, self.sector_bytes, self.disks, PASSPHRASE if self.encrypted else "", self.tpm)

    @property
    def packages(self) -> list[str]:
        """The Debian packages that the laptop's system has for it."""
        has_crypttab = self.encrypted or bool(self.crypttab)
        wanted = {
            "cryptsetup-initramfs": self.encrypted and self.initramfs == "initramfs-tools",
            "cryptsetup": has_crypttab,
            "systemd-cryptsetup": has_crypttab,  # systemd recommends it: without it nobody reads crypttab
            "lvm2": self.lvm,
            "btrfs-progs": self.filesystem == "btrfs",
            "xfsprogs": self.filesystem == "xfs",
            "tpm2-tools": self.tpm,  # with it come the libraries, and dracut takes them along
            "plymouth": self.plymouth,
            "ufw": self.ufw,
            "systemd-boot": self.loader is not Loader.GRUB,
            "systemd-ukify": self.loader is Loader.UNIFIED,
            "systemd-boot-efi": self.loader is Loader.UNIFIED,  # the stub that a unified image begins with
        }
        return [package for package, needed in wanted.items() if needed] + FETCHED

    @property
    def esp_mib(self) -> int:
        """How large the EFI system partition is."""
        return ESP_MIB if self.loader is Loader.GRUB else ESP_WITH_KERNELS_MIB

    @property
    def partition_names(self) -> list[str]:
        """What is on the first disk, in order."""
        parts = {
            "esp": True,
            "boot": self.boot_apart,
            "main": True,
            "home": self.home_apart and not self.lvm and self.disks == 1,
            "swap": bool(self.crypttab),
        }
        return [part for part, there in parts.items() if there]

    def device(self, part: str) -> str:
        """The kernel's name for a partition, on the laptop."""
        disk = {Bus.NVME: "nvme0n1p", Bus.SATA: "sda", Bus.MMC: "mmcblk0p"}[self.bus]
        return f"/dev/{disk}{self.partition_names.index(part) + 1}"

    @property
    def mapping(self) -> str:
        """What Debian's installer calls the opened LUKS device."""
        return self.device("main").removeprefix("/dev/") + "_crypt"

    @property
    def root_device(self) -> str:
        """The device that / is mounted from."""
        if self.lvm:
            return f"/dev/mapper/{VOLUME_GROUP.replace('-', '--')}-root"
        return f"/dev/mapper/{self.mapping}" if self.encrypted else self.device("main")

    @property
    def volumes(self) -> dict[str, int]:
        """The group's volumes and their MiB."""
        volumes = {"root": ROOT_MIB, "swap_1": SWAP_MIB}
        return volumes | ({"home": HOME_MIB} if self.home_apart else {})


PLAIN = Layout("plain", "ext4, no layer below it")
_GUIDED = Layout(
    "guided-luks",
    "Debian's guided encrypted LVM: /boot, LUKS2 (argon2id), LVM with swap",
    encrypted=True,
    lvm=True,
    boot_apart=True,
)
LAYOUTS = {
    layout.name: layout
    for layout in (
        PLAIN,
        Layout("dracut", "ext4, no layer below it", initramfs="dracut"),
        _GUIDED,
        replace(_GUIDED, name="guided-luks-ufw", what=f"{_GUIDED.what}; ufw is on", ufw=True),
        replace(_GUIDED, name="guided-luks-plymouth", what=f"{_GUIDED.what}; Plymouth", plymouth=True),
        Layout("luks-dracut", "/boot, LUKS2 (argon2id), ext4", initramfs="dracut", encrypted=True, boot_apart=True),
        Layout(
            "luks-tpm2",
            "/boot, LUKS2 (argon2id) that the laptop's TPM opens, ext4; the desktop has no TPM",
            initramfs="dracut",
            encrypted=True,
            tpm=True,
            boot_apart=True,
        ),
        Layout(
            "lvm", "Debian's guided LVM: /boot, LVM with swap and /home", lvm=True, boot_apart=True, home_apart=True
        ),
        Layout("btrfs", "btrfs with subvolumes for / and /home", filesystem="btrfs"),
        Layout("xfs", "xfs", filesystem="xfs"),
        Layout("home-and-swap-file", "/home on a second partition, a swap file", home_apart=True, swap_file=True),
        Layout("sectors-4096", "ext4 on a disk with sectors of 4096 bytes", sector_bytes=4096),
        Layout("sata", "ext4 on a SATA disk (sda)", bus=Bus.SATA),
        Layout("mmc", "ext4 on eMMC or an SD card (mmcblk0)", bus=Bus.MMC),
        Layout("systemd-boot", "ext4; systemd-boot with entries of its own", loader=Loader.SYSTEMD_BOOT),
        Layout("unified", "ext4; systemd-boot with unified kernel images", loader=Loader.UNIFIED),
        Layout("home-on-another-disk", "/home on another disk", home_apart=True, disks=2),
        Layout("lvm-on-two-disks", "a volume group on two disks", lvm=True, boot_apart=True, disks=2),
        Layout(
            "random-key-swap",
            "swap with a random key, by the device's name",
            crypttab="swap {swap} /dev/urandom swap,cipher=aes-xts-plain64,size=512",
            fstab="/dev/mapper/swap none swap sw 0 0",
        ),
    )
}
