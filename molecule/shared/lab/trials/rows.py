"""What laptops and desktops the matrix pairs, and what must come of each pair."""

from __future__ import annotations

from dataclasses import dataclass

from ..machines.layout import LAYOUTS, Layout
from ..machines.machine import Firmware


@dataclass(frozen=True)
class Row:
    """A laptop and a desktop that meet."""

    name: str
    layout: str
    """One of LAYOUTS: what the laptop's disk is laid out like."""
    firmware: Firmware = Firmware.UEFI
    """The desktop's."""
    adapter: str = "e1000e"
    """The desktop's, one of ADAPTERS."""
    twins: bool = False
    """The desktop has a disk of its own with the same names: volume group, filesystem's UUID, and swap."""
    late: bool = False
    """The desktop's adapter is plugged in when it is calling already."""
    same_mac: bool = False
    """The desktop's other adapter has the same address."""
    mistypes: bool = False
    """At the desktop the passphrase is typed wrong first."""
    refused: str = ""
    """If this laptop cannot be set up: the reason, as a regular expression that the refusal must match."""
    because: str = ""
    """The same for docs/compatibility.md."""

    @property
    def disk(self) -> Layout:
        """The laptop's layout."""
        return LAYOUTS[self.layout]


ROWS = {
    row.name: row
    for row in (
        Row("guided-luks", "guided-luks-ufw", adapter="usb"),
        Row("guided-luks-bios", "guided-luks", Firmware.BIOS, mistypes=True),
        Row("guided-luks-plymouth", "guided-luks-plymouth", adapter="virtio"),
        Row("luks-dracut", "luks-dracut", mistypes=True),
        Row("luks-tpm2", "luks-tpm2", adapter="virtio"),
        Row("lvm", "lvm", Firmware.BIOS, "virtio"),
        Row("lvm-twins", "lvm", twins=True),
        Row("btrfs", "btrfs", adapter="rtl8139"),
        Row("xfs", "xfs", Firmware.BIOS, same_mac=True),
        Row("home-and-swap-file", "home-and-swap-file", Firmware.BIOS, "usb"),
        Row("sectors-4096", "sectors-4096", adapter="virtio"),
        Row("sata", "sata", adapter="vmxnet3"),
        Row("mmc", "mmc", late=True),
        Row("dracut", "dracut", adapter="usb"),
        Row("systemd-boot", "systemd-boot", adapter="virtio"),
        Row("unified", "unified", Firmware.BIOS),
        Row("secure-boot", "plain", Firmware.SECURE),
        Row("plain-bios", "plain", Firmware.BIOS, "usb"),
        Row(
            "lvm-on-two-disks",
            "lvm-on-two-disks",
            refused=r"/ needs 2 disks",
            because="a volume group on two disks: only one disk travels",
        ),
        Row(
            "home-on-another-disk",
            "home-on-another-disk",
            refused=r"\(/home\) names \S+, which is on \S+\. Only \S+ goes to a desktop",
            because="/home is on another disk: a target would wait for it (but goes on without, if it is nofail)",
        ),
        Row(
            "random-key-swap",
            "random-key-swap",
            refused=r"encrypts \S+ anew at each boot",
            because="swap with a random key by the device's name: on the desktop that name is the desktop's",
        ),
    )
}
