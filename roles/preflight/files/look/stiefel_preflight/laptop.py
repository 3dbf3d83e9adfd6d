"""A laptop as preflight sees it: everything that `read` found, and nothing that is judged yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stiefel_agent.laptop.command_line import TargetLine
from stiefel_agent.machine.storage import Storage


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The hardware and the operating system."""

    os: str = "Debian GNU/Linux 13 (trixie)"
    release: str = "6.12.48+deb13-amd64"
    """What `uname -r` says."""
    architecture: str = "x86_64"
    systemd: bool = True
    apt: bool = True
    memory: int = 8 << 30
    """Bytes."""
    secure_boot: bool = False
    free: Mapping[str, int] = field(default_factory=dict)
    """Bytes free below a folder."""
    taken: int = 0
    """Bytes that Stiefelsystem takes below /var/lib already."""


@dataclass(frozen=True, kw_only=True)
class Luks:
    """A LUKS device."""

    metadata: Mapping[str, Any]
    """cryptsetup's JSON of a LUKS2 header: "keyslots" and "tokens"."""
    key_file: str = ""
    """The file on this laptop that opens it at boot; empty: none is known."""
    file_slots: tuple[str, ...] = ()
    """The key slots that the file opens."""


@dataclass(frozen=True, kw_only=True)
class Kernels:
    """Kernels and what boots them."""

    installed: tuple[str, ...] = ("6.12.48+deb13-amd64",)
    """Newest first."""
    next: str = ""
    """The one that the boot loader names; empty: it does not say."""
    unsigned: tuple[str, ...] = ()
    running_line: str = ""
    line: TargetLine = field(default_factory=lambda: TargetLine(""))
    tools: tuple[str, ...] = ("initramfs-tools",)
    """What makes the laptop's initramfs."""


@dataclass(frozen=True, kw_only=True)
class Loader:
    """What is to start the server in kexec's stead."""

    name: str = "GRUB"
    """Empty: none that takes an entry for one time."""
    device: str = "/dev/nvme0n1p2"
    """What findmnt(8) calls the source of the folder that it reads."""
    fstype: str = "ext4"
    free: int = 1 << 30
    """Bytes."""


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """A wired network adapter that is there now."""

    name: str
    driver: str
    module: str = ""
    """The module that the driver is in; empty: it is part of the kernel."""
    mac: str = "52:54:00:00:00:02"
    carrier: bool = True
    ipv6: bool = True


@dataclass(frozen=True, kw_only=True)
class Drivers:
    """Wired drivers of the installed kernels, and the firmware that they ask for."""

    wired: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names of the modules that a cable may need, by kernel."""
    modules: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names of all its modules, and of what could be one and is part of the kernel."""
    beside: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Those among them that were built beside the kernel, by DKMS."""
    firmware: Mapping[str, bool] = field(default_factory=dict)
    """Whether there is anything in a folder of /lib/firmware."""


@dataclass(frozen=True, kw_only=True)
class Firewall:
    """What decides whether a desktop's call is heard."""

    ufw: str = ""
    """/etc/ufw/ufw.conf"""
    ufw_defaults: str = ""
    """/etc/default/ufw"""
    ufw_rules: str = ""
    """/etc/ufw/user6.rules"""
    firewalld_zone: str = ""
    """The default zone of a running firewalld that lets the call not through; empty: none."""
    rules: tuple[Mapping[str, Any], ...] = ()
    """`nft --json list ruleset`, the list in it."""


@dataclass(frozen=True, kw_only=True)
class Laptop:
    """Everything that was found."""

    machine: Machine = field(default_factory=Machine)
    storage: Storage
    root: str
    """What findmnt(8) calls the source of /."""
    root_fstype: str = "ext4"
    exported: str = ""
    """The path of the disk that autokexec_disk leads to; empty: it is not set."""
    disk_facts: str = ""
    disk_error: str = ""
    """Why the disk that autokexec_disk names cannot be used."""
    fstab: str = ""
    crypttab: str = ""
    luks: Mapping[str, Luks] = field(default_factory=dict)
    lvm_devices_file: bool = False
    kernels: Kernels = field(default_factory=Kernels)
    no_ipv6: str = ""
    """Which setting switches IPv6 off altogether."""
    adapters: tuple[Adapter, ...] = ()
    drivers: Drivers = field(default_factory=Drivers)
    firewall: Firewall = field(default_factory=Firewall)
    profiles: Mapping[str, str] = field(default_factory=dict)
    """Files that set up the network, by path."""
    encryption: str = "wireguard"
    loader: Loader | None = None
    """None: kexec starts the server."""
