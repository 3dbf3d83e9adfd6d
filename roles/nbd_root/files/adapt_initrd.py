#!/usr/bin/python3 -ISB
"""Make an unpacked initrd of this laptop fit to start its system on any desktop.

Usage: adapt_initrd.py FOLDER VERSION [MODULES-FILE]

FOLDER is the initrd before it is packed, VERSION the kernel's, MODULES-FILE names modules that the laptop's owner wants
(initramfs-tools(7), /etc/initramfs-tools/modules). Prints a line about everything of the laptop's that is left out.
All initrd tools call it; the laptop's own initramfs never sees it.
"""

from __future__ import annotations

import gzip
import json
import lzma
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

CRYPTTAB = Path("/etc/crypttab")
COMMAND_LINE = Path("/proc/cmdline")
MODULES = Path("/lib/modules")

WIRED = re.compile(r"drivers/net/(ethernet|usb|phy|mdio|pcs)/")
"""Where the kernel keeps what carries the cable; drivers that came by DKMS lie elsewhere, see own_drivers()."""
GRAPHICS = re.compile(r"drivers/gpu/drm/")
GRAPHICS_FIRMWARE = ("amdgpu", "i915", "nvidia", "radeon", "xe")
FIRMWARE_PICTURE = ("simpledrm",)
"""Draws with what the firmware has set up. Debian's kernel has efifb and vesafb built in instead."""

STORAGE = re.compile(r"drivers/(ata|block|firewire|message|mmc|nvme|scsi|ufs)/")
"""Where the kernel keeps the drivers of disks. The laptop's comes over the cable, and root is on it."""
PLUGGED_IN = ("loop", "nbd", "sd_mod")
"""What the laptop's disk needs, and what a person plugs in: the drivers for USB lie elsewhere."""

OTHER_KEYS = re.compile(
    r"(keyscript|tpm2-|fido2-|pkcs11-|token-|keyfile-|tries|timeout|noauto|nofail|x-|_netdev|initramfs)"
)
"""Options of crypttab(5) that open a volume by something that stays at the laptop, or that keep a person from being
asked. `tries` is set to 0: what is typed wrong can be typed again."""

LVM_DISK = '["a|^/dev/nbd0|", "a|^/dev/mapper/|", "r|.*|"]'
LVM_LOCAL = f"""
# Stiefelsystem: in a target's initrd the laptop's disk is the only one. The desktop's may hold a volume group of the
# same name, and a devices file knows the laptop's disk by a name that it does not have here.
devices {{
    filter = {LVM_DISK}
    global_filter = {LVM_DISK}
    use_devicesfile = 0
}}
"""
MDADM_DISK = "\n# Stiefelsystem: no array of the desktop's disks is assembled.\nDEVICE /dev/nbd0* /dev/mapper/*\n"


MKINITCPIO_HOOK = "hooks/stiefel"
"""Opens what the initrd's crypttab names; at home mkinitcpio's own hooks may know it from the kernel's command line."""


class Unfit(Exception):
    """The initrd could not start this laptop's system; the text says why and what to do."""


@dataclass(frozen=True)
class Encrypted:
    """A LUKS volume below / or /usr: its name in crypttab, and the UUID of the partition that holds it."""

    name: str
    uuid: str


@dataclass(frozen=True)
class Entry:
    """A line of crypttab(5)."""

    name: str
    source: str
    key: str = "none"
    options: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Iterator[Entry]:
        """Yield the entries of a file's text."""
        for line in text.splitlines():
            words = line.split()
            if len(words) >= 2 and not words[0].startswith("#"):
                options = tuple(words[3].split(",")) if len(words) > 3 else ()
                yield cls(words[0], words[1], words[2] if len(words) > 2 else "none", options)

    def __str__(self) -> str:
        return f"{self.name} {self.source} {self.key} {','.join(self.options)}"

    @property
    def is_asked_for(self) -> bool:
        """Whether nothing but a passphrase opens it."""
        return self.key in ("none", "-") and not any(option.startswith("keyscript") for option in self.options)

    def by_passphrase(self, source: str = "") -> Entry:
        """Return the same volume, opened by what a person types: at once, and as often as it takes."""
        kept = [option for option in self.options if option and not OTHER_KEYS.match(option)]
        return Entry(self.name, source or self.source, "none", (*(kept or ["luks"]), "tries=0"))


def encrypted_below(tree: object, asked: str = "") -> Iterator[Encrypted]:
    """Yield the LUKS volumes in what `lsblk --json --inverse` says; a node's children are what it lies on."""
    if isinstance(tree, Mapping):
        if tree.get("type") == "crypt":
            parents = tree.get("children") or [{}]
            yield Encrypted(str(tree["name"]), str(parents[0].get("uuid") or ""))
        tree = tree.get("blockdevices", tree.get("children")) or []
    if isinstance(tree, list):
        for node in tree:
            yield from encrypted_below(node)


def encrypted_root() -> list[Encrypted]:
    """Return the LUKS volumes that / and /usr of this laptop lie on."""
    found: dict[str, Encrypted] = {}
    for place in ("/", "/usr"):
        source = run("findmnt", "--noheadings", "--nofsroot", "--output", "SOURCE", "--target", place).strip()
        if source.startswith("/dev/"):
            tree = json.loads(run("lsblk", "--json", "--inverse", "--output", "NAME,TYPE,UUID", source) or "{}")
            found |= {volume.name: volume for volume in encrypted_below(tree)}
    return list(found.values())


def run(*command: str) -> str:
    """Return what a command prints; nothing when it fails, as findmnt does in a folder that is no system's root."""
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def crypttab(laptop: Iterable[Entry], initrd: Iterable[Entry], root: Collection[Encrypted]) -> list[Entry]:
    """Return the target's entries: those of its root, by passphrase, and what else the initrd's tool took along.

    What opens by a key that is not typed stays out, unless root needs it: the running system opens it, as at home.
    """
    uuids = {volume.name: volume.uuid for volume in root}
    wanted = {
        entry.name: entry.by_passphrase(f"UUID={uuids[entry.name]}" if uuids[entry.name] else "")
        for entry in laptop
        if entry.name in uuids
    }
    for entry in initrd:
        if entry.name in wanted:
            continue
        if entry.is_asked_for:
            wanted[entry.name] = entry.by_passphrase()
        else:
            print(f"{entry.name} is not opened in the initrd, for its key is not typed: the running system opens it")
    return list(wanted.values())


def adapt_prompts(folder: Path, root: Collection[Encrypted]) -> None:
    """Let the passphrase be asked for at once: no TPM, no token, no key file of the laptop. Failure mode F43.

    Raises:
        Unfit: / is encrypted, and nothing in the initrd would open it.
    """
    cryptroot = folder / "cryptroot/crypttab"
    place = cryptroot if (folder / "cryptroot").is_dir() else folder / "etc/crypttab"
    laptop = list(Entry.parse(CRYPTTAB.read_text())) if CRYPTTAB.exists() else []
    if (folder / MKINITCPIO_HOOK).exists():
        laptop = [Entry(volume.name, f"UUID={volume.uuid}") for volume in root] + laptop
    initrd = list(Entry.parse(place.read_text())) if place.exists() else []
    entries = crypttab(laptop, initrd, root)
    require_opener(folder, entries, root)
    if entries or place.exists():
        place.parent.mkdir(exist_ok=True)
        place.write_text("".join(f"{entry}\n" for entry in entries))
        place.chmod(0o600)
    shutil.rmtree(folder / "cryptroot/keyfiles", ignore_errors=True)
    for script in folder.glob("scripts/*/clevis*"):  # it would ask a TPM, or a server by way of the cable
        script.unlink()


def require_opener(folder: Path, entries: Collection[Entry], root: Collection[Encrypted]) -> None:
    """Raise Unfit if / is encrypted and the initrd lacks the program or the entry that opens it."""
    if not root:
        return
    programs = (
        "sbin/cryptsetup",
        "usr/sbin/cryptsetup",
        "usr/lib/systemd/systemd-cryptsetup",
        "usr/bin/systemd-cryptsetup",
    )
    if not any((folder / program).exists() for program in programs):
        raise Unfit(
            "/ is encrypted, and the initrd has no cryptsetup. "
            "Install cryptsetup-initramfs (dracut: systemd-cryptsetup)."
        )
    named_at_boot = re.search(r"\b(cryptopts|rd\.luks\.(uuid|name))=", COMMAND_LINE.read_text())
    missing = {volume.name for volume in root} - {entry.name for entry in entries}
    if missing and not named_at_boot:
        raise Unfit(f"/ lies on {', '.join(sorted(missing))}, which /etc/crypttab does not name. Add it there.")


def adapt_volumes(folder: Path) -> None:
    """Let LVM and md see the laptop's disk only: the desktop's may hold the same names. Failure modes F20 and F40."""
    if (folder / "etc/lvm").is_dir():
        with (folder / "etc/lvm/lvmlocal.conf").open("a") as local:
            local.write(LVM_LOCAL)
    mdadm = folder / "etc/mdadm/mdadm.conf"
    if mdadm.exists():
        kept = [line for line in mdadm.read_text().splitlines() if not re.match(r"\s*DEVICE\b", line, re.IGNORECASE)]
        mdadm.write_text("\n".join(kept) + MDADM_DISK)


def module_name(path: str) -> str:
    """Return a module's name as modprobe.d(5) and modules.dep know it: `kernel/.../r8169.ko.xz` is r8169."""
    return path.rpartition("/")[2].partition(".ko")[0].replace("-", "_")


def read_dependencies(version: str) -> dict[str, list[str]]:
    """Return every module's path below /lib/modules/VERSION, and the paths of those that it needs (depmod(8))."""
    lines = (MODULES / version / "modules.dep").read_text().splitlines()
    return {path: needs.split() for path, _, needs in (line.partition(":") for line in lines)}


def adapt_wired(folder: Path, wired: Collection[str], present: Collection[str]) -> None:
    """Let no setting of the laptop keep a wired adapter from its driver: what is wrong here may be right there."""
    for path in sorted(folder.glob("etc/modprobe.d/*.conf")) + sorted(folder.glob("usr/lib/modprobe.d/*.conf")):
        lines = path.read_text(errors="replace").splitlines()
        kept = [line for line in lines if not hinders(line, wired, present)]
        if kept != lines:
            path.unlink()  # it may be a link
            path.write_text("\n".join(kept) + "\n")
            for line in sorted(set(lines) - set(kept)):
                print(f"/{path.relative_to(folder)}: not for a desktop's adapters: {line.strip()}")


def hinders(line: str, wired: Collection[str], present: Collection[str]) -> bool:
    """Whether a line of modprobe.d(5) keeps a wired driver out, or sends its adapters to one that the initrd lacks."""
    words = line.split()
    if len(words) < 2:
        return False
    module = words[1].replace("-", "_")
    if words[0] in ("blacklist", "install"):
        return module in wired
    is_for_hardware = words[0] == "alias" and words[1].startswith(("pci:", "usb:"))
    return is_for_hardware and len(words) > 2 and words[2].replace("-", "_") not in present


def adapt_graphics(folder: Path, version: str, needs: Mapping[str, list[str]], wanted: Collection[str]) -> None:
    """Leave the screen to the firmware's picture until the running system's own driver takes it. Failure mode F33.

    A splash hides the attach hook's messages and the prompt; a graphics driver without its firmware leaves it black.
    """
    leave_out(GRAPHICS, folder, version, needs, {*FIRMWARE_PICTURE, *wanted})
    for vendor in GRAPHICS_FIRMWARE:
        if vendor not in wanted:
            shutil.rmtree(folder / "usr/lib/firmware" / vendor, ignore_errors=True)
    splash = [
        *folder.glob("scripts/*/plymouth"),
        *folder.glob("usr/*bin/plymouth*"),
        *folder.glob("usr/lib/*/plymouth"),
    ]
    for entry in [*splash, folder / "usr/share/plymouth", folder / "usr/share/fonts"]:
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink(missing_ok=True)


def leave_out(
    what: re.Pattern[str], folder: Path, version: str, needs: Mapping[str, list[str]], kept: Collection[str]
) -> None:
    """Take the modules out whose path `what` finds, but those that are named in `kept`, or that another one needs."""
    modules = folder / "usr/lib/modules" / version
    modules = modules if modules.is_dir() else folder / "lib/modules" / version
    found = {path for path in needs if (modules / path).exists()}
    staying = {path for path in found if not what.search(path) or module_name(path) in kept}
    staying |= {path for user in staying for path in needs[user]}
    for path in found - staying:
        (modules / path).unlink()


def wanted_modules(listing: Path | None) -> set[str]:
    """Return the modules that the laptop's owner has listed, a name and its options a line."""
    lines = listing.read_text().splitlines() if listing and listing.exists() else []
    return {line.split()[0].replace("-", "_") for line in lines if line.strip() and not line.lstrip().startswith("#")}


def adapt(folder: Path, version: str, listing: Path | None) -> None:
    """Do all of it; raises Unfit."""
    needs = read_dependencies(version)
    own = set(own_drivers(version, needs))
    wired = {module_name(path) for path in needs if WIRED.search(path) or path in own}
    present = {module_name(path) for path in needs if not is_foreign(path) or path in own}
    adapt_prompts(folder, encrypted_root())
    adapt_volumes(folder)
    adapt_wired(folder, wired, present)
    wanted = wanted_modules(listing)
    adapt_graphics(folder, version, needs, wanted)
    leave_out(STORAGE, folder, version, needs, {*PLUGGED_IN, *wanted})


def is_foreign(path: str) -> bool:
    """Whether a module did not come with the kernel: DKMS and hand-made ones (depmod.d(5), "search")."""
    return not path.startswith("kernel/")


def own_drivers(version: str, needs: Iterable[str]) -> Iterator[str]:
    """Yield the paths of network drivers that did not come with the kernel, such as r8168 by DKMS.

    An Ethernet driver allocates its device by one of the functions that are called alloc_etherdev_*.
    """
    for path in needs:
        file = MODULES / version / path
        if is_foreign(path) and file.exists() and b"alloc_etherdev" in unpacked(file):
            yield path


def unpacked(file: Path) -> bytes:
    """Return the content of a module, which may be compressed (modprobe(8): xz, zst, gz)."""
    match file.suffix:
        case ".xz":
            return lzma.decompress(file.read_bytes())
        case ".gz":
            return gzip.decompress(file.read_bytes())
        case ".zst":
            return subprocess.run(["zstd", "-dcq", str(file)], capture_output=True, check=True).stdout
        case _:
            return file.read_bytes()


def main(arguments: list[str]) -> int:
    """Adapt the initrd, or with --own-drivers VERSION print the names of drivers that its tool would leave out."""
    try:
        if arguments[0] == "--own-drivers":
            print("\n".join(module_name(path) for path in own_drivers(arguments[1], read_dependencies(arguments[1]))))
        else:
            folder, version, *listing = arguments
            adapt(Path(folder), version, Path(listing[0]) if listing else None)
    except Unfit as error:
        print(f"stiefel: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
