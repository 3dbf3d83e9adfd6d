"""Look at a laptop and say what Stiefelsystem would do with it, and what is in the way. Changes nothing.

Runs on the laptop out of a zip archive with the agent beside it. Settings come in as JSON in STIEFEL_SETTINGS; a
report goes out as JSON: {"facts": [[title, text]], "impossible": [text], "mend": [text], "know": [text]}.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

if sys.version_info < (3, 11):  # noqa: UP036 - what runs here is the laptop's own Python
    OLD = f"This laptop's Python is {platform.python_version()}; 3.11 or newer is needed (Debian 12 or later)."
    print(json.dumps({"facts": [], "impossible": [OLD], "mend": [], "know": []}))
    sys.exit()

# The agent's modules load pycryptodome, which a laptop may lack before it is installed. Here nothing is sealed.
for part in ("Cipher.AES", "Hash.SHA256", "Protocol.KDF"):
    sys.modules.setdefault(f"Crypto.{part}", ModuleType(part))

from stiefel_agent.config import AutokexecConfig  # noqa: E402
from stiefel_agent.errors import StiefelError  # noqa: E402
from stiefel_agent.laptop import autokexec  # noqa: E402
from stiefel_agent.machine import disk, link  # noqa: E402

MEBIBYTE = 1 << 20
LEAST_MEMORY = 900 * MEBIBYTE
"""The unpacked ramdisk, a bundle and room to work; a laptop sold with 1 GiB shows a little less."""
RAMDISK_SPACE = 100 * MEBIBYTE
INITRD_SPACE = 150 * MEBIBYTE
"""One target's initrd with all drivers and their firmware, and the old one beside it while it is replaced."""
BUILD_SPACE = 600 * MEBIBYTE
"""What initramfs-tools and dracut unpack into /var/tmp while they build one."""
INITRAMFS_TOOLS = {
    "initramfs-tools": Path("/etc/kernel/postinst.d/initramfs-tools"),
    "dracut": Path("/etc/kernel/postinst.d/dracut"),
}
SECURE_BOOT = Path("/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c")
IPV6 = Path("/proc/sys/net/ipv6/conf")
BY_NAME = re.compile(r"/dev/(sd|hd|vd|nvme|mmcblk|xvd|disk/by-(path|id)/)")
"""Names of devices that a desktop does not have: there the laptop's disk is /dev/nbd0."""


@dataclass(frozen=True)
class Report:
    """What was found; "impossible" keeps Stiefelsystem from being installed, "mend" from working well."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    impossible: list[str] = field(default_factory=list)
    mend: list[str] = field(default_factory=list)
    know: list[str] = field(default_factory=list)


def output(*command: str) -> str:
    """Return what a command prints, nothing if it fails or is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout if done.returncode == 0 else ""


def flat(devices: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield devices of lsblk's JSON and all that belongs to them."""
    for device in devices:
        yield device
        yield from flat(device.get("children", []))


def lsblk(*arguments: str) -> list[dict[str, Any]]:
    """Return lsblk's devices, flat, each with path, type, fstype and uuid."""
    printed = output("lsblk", "--json", "--output", "PATH,TYPE,FSTYPE,UUID,MOUNTPOINTS", *arguments)
    return list(flat(json.loads(printed)["blockdevices"])) if printed else []


def system(report: Report) -> None:
    """Look at the machine and its operating system."""
    name = platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    report.facts.append(("system", f"{name}, Linux {platform.release()}, {platform.machine()}"))
    if platform.machine() != "x86_64":
        report.impossible.append(
            f"This laptop's architecture is {platform.machine()}; ramdisk and stick are made for x86_64 only."
        )
    if not Path("/run/systemd/system").is_dir():
        report.impossible.append("This laptop does not run systemd, through which it moves into the server.")
    if not shutil.which("apt-get"):
        report.impossible.append("This laptop has no apt-get: only Debian and its descendants are supported so far.")


def memory(report: Report) -> None:
    """Look at the memory that the server will have."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    report.facts.append(("memory", f"{size // MEBIBYTE} MiB"))
    if size < LEAST_MEMORY:
        report.impossible.append(
            f"This laptop has {size // MEBIBYTE} MiB of memory; the server needs {LEAST_MEMORY // MEBIBYTE} MiB."
        )


def chosen_disk(report: Report, settings: AutokexecConfig) -> str:
    """Look at the disk that is given away, and return its path; empty if there is none."""
    try:
        found = disk.describe(settings.disk) if settings.disk else disk.disk_below("/")
    except StiefelError as error:
        report.impossible.append(f"{error} If the disk is another one, set autokexec_disk to its by-id name.")
        return ""
    sectors = f"sectors of {found.logical_sector}/{found.physical_sector} bytes"
    report.facts.append(("disk", f"{found.path} ({found.model or 'no model'}, {found.size / 1e9:.1f} GB, {sectors})"))
    try:
        disk.refuse_hibernated(found.path)
    except StiefelError as error:
        report.mend.append(str(error))
    return found.path


def layers(report: Report) -> None:
    """Look at what lies between the disk and the root file system."""
    source = output("findmnt", "--noheadings", "--nofsroot", "--output=SOURCE", "/").strip()
    stack = lsblk("--inverse", source)
    if stack and stack[0]["type"] == "disk":  # util-linux 2.41 begins at the disk, 2.38 ends there
        stack.reverse()
    names = [layer["fstype"] or layer["type"] for layer in stack]
    report.facts.append(("root", f"{source}: {' on '.join(names)}"))
    if "LVM2_member" in names and Path("/etc/lvm/devices/system.devices").exists():
        report.know.append(
            "LVM keeps a devices file (/etc/lvm/devices/system.devices), which does not know the disk's name on the "
            "desktop. If the target stops at LVM, set use_devicesfile=0 in /etc/lvm/lvm.conf."
        )
    for layer in stack:
        if layer["fstype"] == "crypto_LUKS":
            luks(report, layer["path"])


def luks(report: Report, path: str) -> None:
    """Look for a passphrase slot: the desktop's TPM cannot open what was bound to the laptop's."""
    printed = output("cryptsetup", "luksDump", "--dump-json-metadata", path)
    if printed and not has_passphrase(json.loads(printed)):
        report.mend.append(
            f"{path} (LUKS) can only be opened by this laptop's TPM or a token, and not on a desktop. Add a "
            f"passphrase: cryptsetup luksAddKey {path}"
        )


def has_passphrase(metadata: dict[str, Any]) -> bool:
    """Return whether a LUKS2 header (cryptsetup's JSON) has a key slot that no token claims."""
    claimed = {slot for token in metadata.get("tokens", {}).values() for slot in token.get("keyslots", [])}
    return bool(set(metadata.get("keyslots", {})) - claimed)


def swap(report: Report, path: str) -> None:
    """Look for swap space on the disk that is given away."""
    found = [device["path"] for device in lsblk(path) if "[SWAP]" in (device["mountpoints"] or [])]
    if found:
        report.know.append(f"Swap on the disk ({', '.join(found)}) is not used by the target: it would be slow.")


def tables(report: Report) -> None:
    """Look for entries of fstab and crypttab that mean nothing on a desktop."""
    uuids = {device["path"]: device["uuid"] for device in lsblk()}
    for name, column in (("/etc/fstab", 0), ("/etc/crypttab", 1)):
        path = Path(name)
        for number, entry in by_name(path.read_text() if path.exists() else "", column):
            uuid = uuids.get(os.path.realpath(entry))
            instead = f"UUID={uuid}" if uuid else "UUID=... (blkid shows it), or drop the entry"
            report.mend.append(
                f"{name}, line {number} names {entry}, which has another name on a desktop. Write {instead}"
            )


def by_name(table: str, column: int) -> Iterator[tuple[int, str]]:
    """Yield line number and device of the entries that name a device as only this laptop does."""
    for number, line in enumerate(table.splitlines(), 1):
        words = line.split("#")[0].split()
        if len(words) > column and BY_NAME.match(words[column]):
            yield number, words[column]


def kernel(report: Report, settings: AutokexecConfig) -> None:
    """Look at the kernel and command line that the target will get."""
    installed = sorted(path.name.removeprefix("vmlinuz-") for path in Path("/boot").glob("vmlinuz-*"))
    line = autokexec.target_line(installed[-1] if installed else "", settings).text
    report.facts.append(("kernels", ", ".join(installed) or "none in /boot"))
    report.facts.append(("target's command line", line))
    if not installed:
        report.impossible.append("There is no kernel /boot/vmlinuz-*, so the target could not be started.")
    for word in line.split():
        if word.startswith("root=") and BY_NAME.match(word.removeprefix("root=")):
            report.mend.append(
                f"The kernel's command line says {word}, which has another name on a desktop. Let the boot loader say "
                "root=UUID=... (in Debian: leave GRUB_DISABLE_LINUX_UUID unset, then run update-grub)."
            )
    tools = [name for name, hook in INITRAMFS_TOOLS.items() if hook.exists()]
    report.facts.append(("initramfs tool", ", ".join(tools) or "unknown"))
    if not tools:
        report.impossible.append("The initramfs is made neither by initramfs-tools nor by dracut. Install one of them.")


def space(report: Report) -> None:
    """Look for room for the ramdisk and the target's initrds."""
    state = Path("/var/lib/stiefel")
    kernels = len(list(Path("/boot").glob("vmlinuz-*")))
    have = sum(file.stat().st_size for file in state.rglob("*") if file.is_file()) if state.exists() else 0
    for path, needs in (("/var/lib", RAMDISK_SPACE + kernels * INITRD_SPACE - have), ("/var/tmp", BUILD_SPACE)):
        free = shutil.disk_usage(path).free
        report.facts.append((f"free in {path}", f"{free // MEBIBYTE} MiB, needed: {max(needs, 0) // MEBIBYTE} MiB"))
        if free < needs:
            report.impossible.append(
                f"{path} has {free // MEBIBYTE} MiB free, {needs // MEBIBYTE} MiB are needed (each installed kernel "
                f"takes {INITRD_SPACE // MEBIBYTE}). Make room, or remove old kernels: apt autoremove"
            )


def network(report: Report) -> None:
    """Look at the wired network adapters, and whether IPv6 is spoken on them."""
    if without := without_ipv6(IPV6):
        report.impossible.append(without)
    if not IPV6.exists():
        return
    found = link.wired()
    for one in found:
        carrier = "cable in" if one.carrier else "no cable"
        report.facts.append((f"wired {one.name}", f"{link.driver(one.name)}, {one.mac}, {carrier}"))
    if not found:
        report.mend.append("There is no wired network adapter now. Plug in a USB or Thunderbolt one before you start.")


def without_ipv6(conf: Path) -> str:
    """Return why no IPv6 is spoken, if so; `conf` is /proc/sys/net/ipv6/conf (ip-sysctl)."""
    if not conf.exists():
        return (
            "IPv6 is switched off in this laptop's kernel, and laptop and desktop speak nothing else on the cable. "
            "Take ipv6.disable=1 from the kernel's command line."
        )
    off = [name for name in ("all", "default") if (conf / name / "disable_ipv6").read_text().strip() != "0"]
    if off:
        return (
            "IPv6 is switched off, and laptop and desktop speak nothing else on the cable: a target would lose its "
            f"disk. Take net.ipv6.conf.{off[0]}.disable_ipv6=1 from /etc/sysctl.conf or /etc/sysctl.d."
        )
    return ""


def security(report: Report, settings: AutokexecConfig) -> None:
    """Look at Secure Boot and at what will protect the block traffic."""
    state = SECURE_BOOT.read_bytes()[-1:] if SECURE_BOOT.exists() else b"\0"
    report.facts.append(("Secure Boot", "on" if state == b"\1" else "off"))
    report.facts.append(("encryption", settings.encryption.value))
    if settings.encryption.value == "none":
        report.know.append(
            "stiefel_encryption is none: whoever can listen on the cable reads and changes everything on the disk."
        )


def look(settings: AutokexecConfig) -> Report:
    """Look at everything, and return the report."""
    report = Report()
    system(report)
    memory(report)
    path = chosen_disk(report, settings)
    layers(report)
    if path:
        swap(report, path)
    tables(report)
    kernel(report, settings)
    space(report)
    network(report)
    security(report, settings)
    return report


if __name__ == "__main__":
    print(json.dumps(asdict(look(AutokexecConfig.parse(json.loads(os.environ.get("STIEFEL_SETTINGS") or "{}"))))))
