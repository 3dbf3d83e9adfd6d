"""Read a laptop: the only room that runs commands and opens files. It changes nothing."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from stiefel_agent.config import AutokexecConfig, Method
from stiefel_agent.errors import StiefelError
from stiefel_agent.laptop import autokexec, boot
from stiefel_agent.laptop.tables import Crypt, crypttab
from stiefel_agent.machine import disk, link, storage
from stiefel_agent.machine.storage import Storage
from stiefel_agent.protocol.meeting import PORT

from stiefel_preflight.adapters import FIRMWARE
from stiefel_preflight.laptop import Adapter, Drivers, Firewall, Kernels, Laptop, Loader, Luks, Machine
from stiefel_preflight.luks import TOKENS, needed, slots

TOOLS = {
    "initramfs-tools": Path("/etc/kernel/postinst.d/initramfs-tools"),
    "dracut": Path("/etc/kernel/postinst.d/dracut"),
    "mkinitcpio": Path("/usr/lib/kernel/install.d/50-mkinitcpio.install"),
}
SECURE_BOOT = Path("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
IPV6 = Path("/proc/sys/net/ipv6/conf")
PROFILES = (
    "/etc/NetworkManager/system-connections/*.nmconnection", "/etc/systemd/network/*.network", "/etc/netplan/*.yaml",
    "/etc/network/interfaces", "/etc/network/interfaces.d/*",
)  # fmt: skip
OURS = "stiefel"
"""Part of the name of every file that we install; what these say is no finding."""


def output(*command: str) -> str:
    """Return what a command prints, nothing if it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def text(path: str | Path) -> str:
    """Return a file's text, nothing if it is not there."""
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def read(settings: AutokexecConfig) -> Laptop:
    """Read everything that is judged."""
    found = read_storage()
    source, fstype = (
        output("findmnt", "--noheadings", "--nofsroot", f"--output={column}", "/").strip()
        for column in ("SOURCE", "FSTYPE")
    )
    table = text("/etc/crypttab")
    bare = Laptop(storage=found, root=_device(source), crypttab=table)
    exported, facts, error = read_disk(settings, bare)
    kernels = read_kernels(settings)
    return Laptop(
        machine=read_machine(),
        storage=found,
        root=bare.root,
        root_fstype=fstype,
        exported=exported if settings.disk else "",
        disk_facts=facts,
        disk_error=error,
        fstab=text("/etc/fstab"),
        crypttab=table,
        luks={path: header for path in needed(bare) if (header := read_luks(path, bare))},
        lvm_devices_file=Path("/etc/lvm/devices/system.devices").exists(),
        kernels=kernels,
        no_ipv6=no_ipv6(IPV6, kernels.running_line),
        adapters=read_adapters(IPV6),
        drivers=read_drivers(kernels.installed),
        firewall=read_firewall(),
        profiles={str(path): text(path) for path in _profiles() if OURS not in path.name},
        encryption=settings.encryption.value,
        loader=read_loader() if settings.method is Method.BOOTLOADER else None,
    )


def read_loader() -> Loader:
    """Read what boots this laptop, and where it reads."""
    folder, name = "/boot/grub", "GRUB" if Path("/boot/grub/grub.cfg").exists() else ""
    if boot.is_systemd_boot():
        folder, name = output("bootctl", "--print-boot-path").strip() or "/boot", "systemd-boot"
    if not Path(folder).exists():
        folder = "/boot"
    columns = ("SOURCE", "FSTYPE")
    source, fstype = (
        output("findmnt", "--noheadings", "--nofsroot", f"--output={column}", f"--target={folder}").strip()
        for column in columns
    )
    return Loader(name=name, device=_device(source), fstype=fstype, free=shutil.disk_usage(folder).free)


def _device(source: str) -> str:
    """Return a device's path as the kernel has it; what is no path stays."""
    return os.path.realpath(source) if source.startswith("/dev/") else source


def read_machine() -> Machine:
    """Read the machine and its operating system."""
    state = Path("/var/lib/stiefel")
    return Machine(
        os=platform.freedesktop_os_release().get("PRETTY_NAME", "unknown"),
        release=platform.release(),
        architecture=platform.machine(),
        systemd=Path("/run/systemd/system").is_dir(),
        apt=bool(shutil.which("apt-get")),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        secure_boot=SECURE_BOOT.exists() and SECURE_BOOT.read_bytes()[-1:] == b"\1",
        free={path: shutil.disk_usage(path).free for path in ("/var/lib", "/var/tmp")},
        taken=sum(file.stat().st_size for file in state.rglob("*") if file.is_file()),
    )


def read_storage() -> Storage:
    """Read all block devices, their names, and which volume group each physical volume belongs to."""
    printed = output("lsblk", "--json", "--output", storage.COLUMNS)
    devices = json.loads(printed)["blockdevices"] if printed else []
    names = [path for folder in ("/dev/disk", "/dev/mapper", "/dev/md") for path in Path(folder).rglob("*")]
    groups = output("pvs", "--noheadings", "--separator=:", "--options=pv_name,vg_name")
    pairs = (line.strip().rpartition(":") for line in groups.splitlines())
    groups_by_path = {os.path.realpath(path): group for path, _, group in pairs if group}
    bare = storage.parse(devices)
    names += [Path("/dev") / group for group in set(groups_by_path.values())]
    links = {str(path): os.path.realpath(path) for path in _links(names)}
    by_path = {one.path: groups_by_path[one.kname] for one in bare.devices.values() if one.kname in groups_by_path}
    return storage.parse(devices, links, {**groups_by_path, **by_path})


def _links(paths: Iterable[Path]) -> list[Path]:
    """Return the links among paths, and in folders among them."""
    inside = [link for path in paths for link in (path, *(path.iterdir() if path.is_dir() else ()))]
    return [path for path in inside if path.is_symlink()]


def read_disk(settings: AutokexecConfig, laptop: Laptop) -> tuple[str, str, str]:
    """Return the path of the disk that is given away, what it is like, and what is wrong with the setting."""
    disks = laptop.storage.disks(laptop.storage.found(laptop.root))
    wanted = settings.disk or (disks[0] if len(disks) == 1 else "")
    if not wanted:
        return "", "", ""
    try:
        found = disk.describe(wanted)
    except StiefelError as error:
        return "", "", str(error)
    sectors = f"sectors of {found.logical_sector}/{found.physical_sector} bytes"
    facts = f"{found.path} ({found.model or 'no model'}, {found.size / 1e9:.1f} GB, {sectors})"
    return os.path.realpath(wanted), facts, ""


def read_luks(path: str, laptop: Laptop) -> Luks | None:
    """Read a LUKS2 header, and which slots the laptop's own key file opens; None for LUKS1, which has no tokens."""
    printed = output("cryptsetup", "luksDump", "--dump-json-metadata", path)
    if not printed:
        return None
    header = Luks(metadata=json.loads(printed))
    entries = [
        one for one in crypttab(laptop.crypttab) if path in (two.path for two in laptop.storage.found(one.source))
    ]
    file = next((file for entry in entries if (file := _key_file(entry))), "")
    free = [slot for slot in header.metadata.get("keyslots", {}) if slot not in slots(header, TOKENS)]
    return Luks(
        metadata=header.metadata, key_file=file, file_slots=tuple(s for s in free if file and _opens(path, s, file))
    )


def _key_file(entry: Crypt) -> str:
    """Return the file that opens a device at boot, if there is one here (crypttab(5))."""
    files = (entry.key, f"/etc/cryptsetup-keys.d/{entry.name}.key")
    return next((file for file in files if file.startswith("/") and Path(file).is_file()), "")


def _opens(path: str, slot: str, file: str) -> bool:
    """Return whether a file opens a key slot. Nothing is opened: it is only tested."""
    command = ["cryptsetup", "open", "--test-passphrase", f"--key-slot={slot}", f"--key-file={file}", path]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def read_kernels(settings: AutokexecConfig) -> Kernels:
    """Read which kernels there are, which one is next, and what a target is started with."""
    installed = tuple(boot.installed())
    chosen = boot.next_kernel(installed)
    return Kernels(
        installed=installed,
        next=chosen,
        unsigned=tuple(version for version in installed if not signed(Path(f"/boot/vmlinuz-{version}"))),
        running_line=text("/proc/cmdline"),
        line=autokexec.target_line(chosen or next(iter(installed), ""), settings),
        tools=tuple(name for name, hook in TOOLS.items() if hook.exists()),
    )


def signed(kernel: Path) -> bool:
    """Return whether a kernel carries a signature: its PE header names a table of certificates (PE format)."""
    with suppress(OSError):
        head = kernel.open("rb").read(4096)
        at = int.from_bytes(head[0x3C:0x40], "little")
        size = int.from_bytes(head[at + 24 + 112 + 4 * 8 + 4 : at + 24 + 112 + 4 * 8 + 8], "little")
        return head[:2] == b"MZ" and size > 0
    return False


def no_ipv6(conf: Path, line: str) -> str:
    """Return the setting that switches IPv6 off altogether; `conf` is /proc/sys/net/ipv6/conf (ip-sysctl)."""
    if not conf.exists():
        return "ipv6.disable=1"
    off = [name for name in ("all", "default") if text(conf / name / "disable_ipv6").strip() not in ("0", "")]
    if off and "ipv6.disable_ipv6=1" in line.split():
        return "ipv6.disable_ipv6=1"
    return f"net.ipv6.conf.{off[0]}.disable_ipv6=1" if off else ""


def read_adapters(conf: Path) -> tuple[Adapter, ...]:
    """Read which wired adapters are there now."""
    if not conf.exists():
        return ()
    return tuple(
        Adapter(
            name=one.name,
            driver=link.driver(one.name),
            module=_module(one.name),
            mac=one.mac,
            carrier=one.carrier,
            ipv6=text(conf / one.name / "disable_ipv6").strip() != "1",
        )
        for one in link.wired()
    )


def _module(interface: str) -> str:
    """Return the module that an interface's driver is in."""
    found = Path("/sys/class/net") / interface / "device/driver/module"
    return found.resolve().name if found.exists() else ""


def read_drivers(versions: Iterable[str]) -> Drivers:
    """Read which wired drivers each kernel has, and whether there is firmware for them."""
    wired = {version: frozenset(boot.cable_modules_of(version)) for version in versions}
    beside = {
        version: frozenset(
            name
            for folder in ("updates", "extra")
            for path in Path(f"/lib/modules/{version}/{folder}").rglob("*.ko*")
            if (name := boot.module_name(str(path))) in names
        )
        for version, names in wired.items()
    }
    modules = {version: frozenset(_modules(Path("/lib/modules") / version)) for version in versions}
    folders = {name: Path("/lib/firmware") / name for name in FIRMWARE}
    firmware = {name: any(path.glob("*")) for name, path in folders.items()}
    return Drivers(wired=wired, modules=modules, beside=beside, firmware=firmware)


def _modules(folder: Path) -> set[str]:
    """Return the names of a kernel's modules, also of those that are built in (modules.builtin, kmod)."""
    lines = [*text(folder / "modules.dep").splitlines(), *text(folder / "modules.builtin").splitlines()]
    return {boot.module_name(line.partition(":")[0]) for line in lines}


def read_firewall() -> Firewall:
    """Read the firewall's settings: ufw's files, firewalld's answer, the kernel's rules."""
    zone = output("firewall-cmd", "--get-default-zone").strip() if output("firewall-cmd", "--state") else ""
    allowed = zone == "trusted" or output("firewall-cmd", f"--query-port={PORT}/udp").strip() == "yes"
    printed = output("nft", "--json", "list", "ruleset")
    rules: list[dict[str, Any]] = json.loads(printed)["nftables"] if printed else []
    return Firewall(
        ufw=text("/etc/ufw/ufw.conf"),
        ufw_defaults=text("/etc/default/ufw"),
        ufw_rules=text("/etc/ufw/user6.rules"),
        firewalld_zone="" if allowed else zone,
        rules=tuple(rules),
    )


def _profiles() -> list[Path]:
    """Return the files that set up the network."""
    found = [path for pattern in PROFILES for path in sorted(Path("/").glob(pattern.lstrip("/")))]
    return [path for path in found if re.fullmatch(r"[^~]*", path.name)]
