"""Kernels and the command line that a target gets."""

from __future__ import annotations

from collections.abc import Iterator

from stiefel_agent.laptop.command_line import LONGEST, named, split
from stiefel_agent.machine.storage import by_content, lasting_name

from stiefel_preflight.laptop import Laptop
from stiefel_preflight.report import Found, fact, impossible, know, mend

_PLAIN = "your distribution's plain kernel (linux-image-amd64, linux-generic)"
_GRUB = "in Debian: leave GRUB_DISABLE_LINUX_UUID unset, then run update-grub"


def kernels(laptop: Laptop) -> Iterator[Found]:
    """Look at the kernels, and at what makes their initramfs."""
    found = laptop.kernels
    yield fact("kernels", ", ".join(found.installed) or "none in /boot")
    if not found.installed:
        yield impossible("There is no kernel /boot/vmlinuz-*, so the target could not be started.")
        return
    chosen = found.next or found.installed[0]
    yield fact("target's kernel", f"{chosen} ({'the boot loader names it' if found.next else 'the newest'})")
    if chosen in found.unsigned:
        yield know(
            f"{chosen} carries no signature, so a desktop whose Secure Boot is on refuses it. Switch Secure Boot off "
            "there, or use a kernel that your distribution signed."
        )
    yield from _modules(laptop, chosen)
    yield fact("initramfs tool", ", ".join(found.tools) or "unknown")
    if not found.tools:
        yield impossible(
            "The initramfs is made by none of initramfs-tools, dracut and mkinitcpio. Install one of them."
        )


def _modules(laptop: Laptop, chosen: str) -> Iterator[Found]:
    """Look for what every target needs of its kernel; where no list of modules was found, nobody knows."""
    needed = {"nbd", "wireguard"} if laptop.encryption == "wireguard" else {"nbd"}
    lacks = {version: needed - modules for version, modules in laptop.drivers.modules.items() if modules}
    if missing := lacks.get(chosen):
        others = [version for version, less in lacks.items() if not less]
        found = mend if others else impossible
        yield found(
            f"Kernel {chosen} has no {' and no '.join(sorted(missing))}, without which a target has no disk. Flavours "
            "for the cloud and some self-built kernels lack it. Let the boot loader start "
            f"{others[0] if others else _PLAIN}."
        )


def command_line(laptop: Laptop) -> Iterator[Found]:
    """Look at the command line: what is left out of it, and whether it finds the root file system."""
    line = laptop.kernels.line
    yield fact("target's command line", line.text)
    for one in line.dropped:
        yield know(
            f"A target does not get {one.word} as this laptop's command line has it: {one.why}. If a desktop needs "
            "it, set it in autokexec_target_args."
        )
    if len(line.text) > LONGEST:
        yield impossible(
            f"The target's command line has {len(line.text)} characters; {LONGEST} are the most. Shorten the "
            "laptop's, or leave some out by autokexec_target_args_dropped."
        )
    roots = [value for name, value in map(named, split(line.text)) if name == "root"]
    yield from _root(laptop, roots[-1] if roots else "")


def _root(laptop: Laptop, root: str) -> Iterator[Found]:
    """Judge what the command line says about the root file system; the last word counts."""
    top = laptop.storage.found(laptop.root)
    lasting = (lasting_name(top[0]) if top else "") or "UUID=..."
    ours = f"set autokexec_target_args to root={lasting}"
    if not root:
        yield mend(
            "The kernel's command line names no root=, so systemd looks for it on the disk that the firmware started, "
            f"which a desktop does not have. Let the boot loader say root={lasting}, or {ours}."
        )
        return
    found = laptop.storage.found(root)
    if found and not by_content(root, found[0]):
        yield mend(
            f"The kernel's command line says root={root}, which has another name on a desktop. Let the boot loader say "
            f"root={lasting} ({_GRUB}), or {ours}."
        )
