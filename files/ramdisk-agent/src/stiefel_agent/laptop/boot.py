"""Which kernel the laptop would boot next, as far as files and its boot loader's own tools can say.

GRUB's menu and bootctl(1)'s list are read; where neither says, the newest kernel counts. (GRUB itself puts a
release candidate before its release; then a bundle has it too.) A bundle follows this, so that a target runs the
kernel that its owner expects.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stiefel_agent.errors import NothingToBoot

TARGETS = Path("/var/lib/stiefel/target")
_LOADER_INFO = Path("/sys/firmware/efi/efivars/LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
_NEEDED = (
    "drivers/net/ethernet/", "drivers/net/usb/", "drivers/net/virtio_net.",
    "drivers/net/phy/", "drivers/net/mdio/", "drivers/net/pcs/",
    "drivers/block/nbd.", "drivers/net/wireguard/", "drivers/usb/host/", "drivers/thunderbolt/",
)  # fmt: skip
"""Where the kernel keeps what cable, disk and tunnel need."""
_BUILT_BESIDE = re.compile(r"r8\d{3}|ax88\w+|cdc_(ncm|ether)|aqc\d+u?")
"""Wired drivers that makers hand out for dkms(8), under names that the kernel itself does not have."""


@dataclass(slots=True)
class Entry:
    """An entry of GRUB's menu, or a submenu of it."""

    title: str
    identity: str
    kernel: str = ""
    entries: list[Entry] = field(default_factory=list)


def order(version: str) -> tuple[object, ...]:
    """Return what sorts kernel versions: numbers as numbers (sort -V; deb-version(7)), a release candidate before its
    release (linux-version(1)), and what `make install` renamed to .old before its successor.
    """
    older = version.endswith(".old")
    text = re.sub(r"-(rc\d|trunk)", r"~\1", version.removesuffix(".old"))
    parts = re.findall(r"(\D*)(\d*)", text)
    key = [((*(_weight(one) for one in words), 0), int(digits or 0)) for words, digits in parts]
    return (tuple(key), not older)


def _weight(character: str) -> int:
    return -1 if character == "~" else ord(character) if character.isalpha() else ord(character) + 256


def grub_menu(text: str) -> list[Entry]:
    """Return the entries of a grub.cfg, submenus with theirs."""
    top = Entry("", "")
    open_blocks: list[Entry | None] = [top]  # None: a function or the like
    for line in map(str.strip, text.splitlines()):
        words = _words(line)
        if words[:1] in (["menuentry"], ["submenu"]) and words[-1] == "{":
            entry = Entry(words[1], _identity(words))
            next(block for block in reversed(open_blocks) if block).entries.append(entry)
            open_blocks.append(entry)
        elif line.endswith("{"):
            open_blocks.append(None)
        elif line == "}" and len(open_blocks) > 1:
            open_blocks.pop()
        elif words[:1] and words[0] in ("linux", "linuxefi", "linux16") and len(words) > 1 and open_blocks[-1]:
            open_blocks[-1].kernel = words[1]
    return top.entries


def _words(line: str) -> list[str]:
    """Return a line's words without their quotes; as they stand if one is never closed."""
    try:
        return shlex.split(line)
    except ValueError:
        return line.split()


def _identity(words: list[str]) -> str:
    """Return what --id gives an entry, also by way of Debian's `$menuentry_id_option`."""
    places = [place for place, word in enumerate(words) if word in ("--id", "$menuentry_id_option")]
    return words[places[0] + 1] if places else ""


def grub_default(text: str, environment: Mapping[str, str]) -> str:
    """Return which entry GRUB would take: its title, id or number, those of submenus before it with `>`.

    `environment` is what grubenv holds (grub-editenv(1)): `next_entry` once, `saved_entry` where the menu says so.
    """
    if environment.get("next_entry"):
        return environment["next_entry"]
    said = re.findall(r"""^\s*set default=["']?(.*?)["']?\s*$""", text, re.MULTILINE)
    chosen = next((value for value in said if value != "${next_entry}"), "0")
    return environment.get("saved_entry") or "0" if chosen == "${saved_entry}" else chosen


def grub_environment(text: str) -> dict[str, str]:
    """Return the variables of a grubenv file."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def grub_kernel(text: str, environment: Mapping[str, str]) -> str:
    """Return the path of the kernel that GRUB would boot, as its menu has it; empty if it is no Linux."""
    entries, entry = grub_menu(text), None
    for step in grub_default(text, environment).split(">"):
        named = (one for one in entries if step in (one.identity, one.title))
        numbered = entries[int(step)] if step.isdigit() and int(step) < len(entries) else None
        entry = next(named, numbered)
        if not entry:
            break
        entries = entry.entries
    while entry and entry.entries:
        entry = entry.entries[0]
    return entry.kernel if entry else ""


def bootctl_kernel(listed: str, versions: Iterable[str]) -> str:
    """Return the version that systemd-boot would boot, empty if it is none of `versions`.

    `listed` is what `bootctl list` prints: a paragraph of "name: value" for each entry, the default one with
    "(default)" after its title. (systemd 252 does not say so in its JSON.) An entry names its version (BLS type 1), or
    it is in the name of its file (a unified kernel image, type 2), boot counters and all.
    """
    for entry in listed.split("\n\n"):
        fields = dict(re.findall(r"^ *([a-z-]+): (.*)$", entry, re.MULTILINE))
        if "(default)" in fields.get("title", ""):
            names = " ".join(fields.get(name, "") for name in ("version", "linux", "id", "source"))
            return max((version for version in versions if version in names), key=len, default="")
    return ""


def next_kernel(versions: Iterable[str], root: Path = Path("/")) -> str:
    """Return which of the versions (of `/boot/vmlinuz-*`) the boot loader would boot; empty if it does not say."""
    if is_systemd_boot():
        return bootctl_kernel(_bootctl(), versions)
    try:
        menu = (root / "boot/grub/grub.cfg").read_text(errors="replace")
    except OSError:
        return ""
    grubenv = root / "boot/grub/grubenv"
    environment = grub_environment(grubenv.read_text(errors="replace")) if grubenv.exists() else {}
    path = grub_kernel(menu, environment)
    return _version(path, root) if path and _version(path, root) in set(versions) else ""


def _version(path: str, root: Path) -> str:
    """Return the version of a kernel's path in GRUB's menu, whose root may be that of /boot; links are followed."""
    name = Path(path).name
    if not name.startswith("vmlinuz-"):
        found = [folder / name for folder in (root, root / "boot") if (folder / name).is_symlink()]
        name = found[0].readlink().name if found else name
    return name.removeprefix("vmlinuz-").removesuffix(".efi.signed")


def is_systemd_boot() -> bool:
    """Say whether systemd-boot has started this system."""
    return _loader().startswith("systemd-boot")


def _loader() -> str:
    """Return what the boot loader says of itself (the Boot Loader Interface): UTF-16 after 4 bytes of attributes."""
    try:
        return _LOADER_INFO.read_bytes()[4:].decode("utf-16-le", errors="replace")
    except OSError:
        return ""


def _bootctl() -> str:
    try:
        return subprocess.run(["bootctl", "list", "--no-pager"], capture_output=True, text=True, check=False).stdout
    except OSError:
        return ""


def installed(boot: Path = Path("/boot")) -> list[str]:
    """Return the versions of the kernels in a folder, newest first."""
    return sorted((path.name.removeprefix("vmlinuz-") for path in boot.glob("vmlinuz-*")), key=order, reverse=True)


def kernel_for_target(root: Path = Path("/"), targets: Path = TARGETS) -> str:
    """Return the kernel that a target gets: the one that the laptop would boot next, or else the newest; of those
    that have a target's initrd.

    Raises NothingToBoot.
    """
    versions = installed(root / "boot")
    usable = [version for version in versions if (targets / f"initrd.img-{version}").exists()]
    if not usable:
        raise NothingToBoot(f"kernels: {', '.join(versions) or 'none'}")
    chosen = next_kernel(versions, root)
    return chosen if chosen in usable else usable[0]


def cable_modules(modules_dep: str) -> set[str]:
    """Return the modules that cable, tunnel and disk need, by name with `_` for `-`.

    `modules_dep` is the text of /lib/modules/VERSION/modules.dep: each line a module's path, then what it needs. No
    folder says what was built beside the kernel (by DKMS), only its name does.
    """
    paths = [line.partition(":")[0] for line in modules_dep.splitlines()]
    kernels = {module_name(path) for path in paths if path.removeprefix("kernel/").startswith(_NEEDED)}
    others = {module_name(path) for path in paths if not path.startswith("kernel/")}
    return kernels | {name for name in others if _BUILT_BESIDE.fullmatch(name)}


def has_built_in(module: str, version: str, root: Path = Path("/")) -> bool:
    """Say whether an installed kernel has a module built in (modules.builtin); False if that is not told."""
    try:
        text = (root / "lib/modules" / version / "modules.builtin").read_text()
    except OSError:
        return False
    return module in {module_name(line) for line in text.splitlines()}


def module_name(path: str) -> str:
    """Return a module's name as the kernel has it, from the path of its file."""
    return Path(path).name.partition(".ko")[0].replace("-", "_")


def cable_modules_of(version: str, root: Path = Path("/")) -> set[str]:
    """Return `cable_modules` of an installed kernel; none where it has no modules."""
    try:
        return cable_modules((root / "lib/modules" / version / "modules.dep").read_text())
    except OSError:
        return set()
