"""The target's kernel command line: the laptop's own, without what can only be right on the laptop. Pure.

Words are told apart as the kernel does it (lib/cmdline.c, next_arg): white space ends a word except within double
quotes, `-` and `_` are the same in a name, and what follows `--` belongs to init (admin-guide/kernel-parameters.rst).
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from stiefel_agent.config import AutokexecConfig, WhenLost
from stiefel_agent.protocol import clock

LONGEST = 2047 - len(" ") - clock.LONGEST
"""Characters that a command line may have on x86 (COMMAND_LINE_SIZE, less its end), and room for the time."""

QUICK = "cryptomgr.notests lsm=lockdown,yama"
"""What the ramdisk's kernel need not do before it is of use, a fourth of all that it does until a desktop calls.

It does not try each cipher with known answers, and begins no security module for which the ramdisk has no policy. Both
are of kernel-parameters.rst. Lockdown keeps what Secure Boot stands for, Yama keeps programs from looking into each
other; what checks signatures (IMA, of LSM_ORDER_LAST) is begun whatever is said here.
"""

_THIS_BOOT = (
    "BOOT_IMAGE", "initrd", "rdinit", "acpi_rsdp", "elfcorehdr", "kexec_jump_back_entry", "vt.handoff",
    "stiefel.role", "stiefel.when_lost", "stiefel.clock",
    "resume", "resume_offset", "noresume", "hibernate", "systemd.swap",
)  # fmt: skip
"""Parameters that are about this boot or about hibernation; a target must not resume what is not its own."""

_PROCESSORS = "it counts this laptop's processors"
_MEMORY = "it describes this laptop's memory"
_FIRMWARE = "it works around this laptop's firmware or clocks"
_GRAPHICS = "it is meant for this laptop's graphics, and could leave the desktop's screen black"
_CARDS = "it takes a card away by numbers that mean another one on a desktop"
_NETWORK = "it sets up this laptop's network in the initrd, where the cable is all that counts"
_HARDWARE = {
    **dict.fromkeys(("isolcpus", "nohz_full", "rcu_nocbs", "irqaffinity", "kthread_cpus"), _PROCESSORS),
    **dict.fromkeys(("maxcpus", "nr_cpus", "possible_cpus", "nosmp"), _PROCESSORS),
    **dict.fromkeys(("mem", "memmap", "efi_fake_mem", "memory_corruption_check"), _MEMORY),
    **dict.fromkeys(("acpi", "acpi_osi", "acpi_rev_override", "acpi_backlight", "acpi_enforce_resources"), _FIRMWARE),
    **dict.fromkeys(("noapic", "nolapic", "pci", "reboot", "clocksource", "tsc", "hpet"), _FIRMWARE),
    **dict.fromkeys(("nomodeset", "initcall_blacklist"), _GRAPHICS),
    **dict.fromkeys(("vfio_pci.ids", "pci_stub.ids", "xen_pciback.hide"), _CARDS),
    **dict.fromkeys(("ipv6.disable", "ipv6.disable_ipv6"), "laptop and desktop speak nothing but IPv6 on the cable"),
    **dict.fromkeys(("ip", "BOOTIF", "ifname", "rd.neednet", "netdev"), _NETWORK),
}
"""Names of parameters that a target does not get, and why. A person who wants one says so in autokexec_target_args."""

_BLACKLISTS = ("modprobe.blacklist", "module_blacklist", "rd.driver.blacklist", "blacklist")
_LUKS_OPTIONS = ("rd.luks.options", "luks.options")
_FRAMEBUFFERS = ("efifb", "vesafb", "simplefb", "simpledrm", "vesa")


@dataclass(frozen=True, slots=True)
class Dropped:
    """A word that the target does not get (or gets in part), and why not."""

    word: str
    why: str


@dataclass(frozen=True, slots=True)
class TargetLine:
    """The target's command line, and what was left out of it that a person may miss."""

    text: str
    dropped: tuple[Dropped, ...] = ()


def split(line: str) -> list[str]:
    """Return a command line's words with their quotes; a quote that is never closed ends with the line."""
    words = re.findall(r'(?:"[^"]*(?:"|$)|[^\s"])+', line)
    return [word + '"' if word.count('"') % 2 else word for word in words]


def named(word: str) -> tuple[str, str]:
    """Return a word's name and value as the kernel reads them: without quotes, with `_` for `-` in the name."""
    bare = word[1:-1] if word.startswith('"') and word.endswith('"') and len(word) > 1 else word.removeprefix('"')
    name, _, value = bare.partition("=")
    return name.replace("-", "_"), value.removeprefix('"').removesuffix('"')


def target_line(
    running: str, settings: AutokexecConfig, cable: Collection[str] = (), *, without_firmware: bool = False
) -> TargetLine:
    """Return what the target is started with.

    `running` is the laptop's own command line (/proc/cmdline); `cable` names the kernel modules that cable, tunnel and
    disk need, with `_` for `-`. What a person adds by their settings is never judged. `without_firmware`: the kernel
    could always reach the desktop's EFI variables, and shall not (`efi=noruntime`, admin-guide/kernel-parameters.rst).
    """
    words, for_init = _before_init(split(running))
    added, added_for_init = _before_init(split(settings.target_args))
    unwanted = {named(name)[0] for name in (*_THIS_BOOT, *settings.target_args_dropped)}
    kept, dropped = [], []
    for word in words:
        if named(word)[0] in unwanted:
            continue
        left, why = _judged(word, cable)
        kept += [left] if left else []
        dropped += [Dropped(word, why)] if why else []
    own = ["stiefel.role=target", *(["stiefel.when_lost=wait"] if settings.target_when_lost is WhenLost.WAIT else [])]
    firmware = ["efi=noruntime"] if without_firmware else []
    line = [*kept, "noresume", "systemd.swap=0", *firmware, *added, *own]
    init = [*for_init, *added_for_init]
    return TargetLine(" ".join([*line, "--", *init] if init else line), tuple(dropped))


def _before_init(words: list[str]) -> tuple[list[str], list[str]]:
    """Return the kernel's words and those that it hands to init."""
    end = words.index("--") if "--" in words else len(words)
    return words[:end], words[end + 1 :]


def _judged(word: str, cable: Collection[str]) -> tuple[str, str]:
    """Return what is left of a word in a target, and why it is not the whole; an empty reason if it is."""
    name, value = named(word)
    if name in _HARDWARE:
        return "", _HARDWARE[name]
    if name in _BLACKLISTS:
        left = [module for module in value.split(",") if module.replace("-", "_") not in cable]
        why = "the desktop needs that driver for the cable" if len(left) < len(value.split(",")) else ""
        return (word if not why else f"{name}={','.join(left)}" if left else ""), why
    if name in _LUKS_OPTIONS:
        return _without_tpm(word, name, value)
    if name.endswith(".modeset") and value == "0":
        return "", _GRAPHICS
    if name == "video" and value.endswith(":off") and value.startswith(_FRAMEBUFFERS):
        return "", _GRAPHICS
    return word, ""


def _without_tpm(word: str, name: str, value: str) -> tuple[str, str]:
    """Return options of a LUKS device without those of the TPM, which would delay the passphrase's prompt."""
    scope, options = re.fullmatch(r"([0-9a-fA-F-]+=)?(.*)", value).groups("")  # type: ignore[union-attr]
    left = [option for option in options.split(",") if not option.startswith("tpm2-")]
    if left == options.split(","):
        return word, ""
    return (f"{name}={scope}{','.join(left)}" if left else ""), "the desktop has another TPM, and asks at once instead"
