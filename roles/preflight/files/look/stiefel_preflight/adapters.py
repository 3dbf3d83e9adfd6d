"""Wired network adapters: are they there, do they speak IPv6, and has a target's initrd what they need?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from stiefel_preflight.laptop import Laptop
from stiefel_preflight.report import Found, fact, impossible, know, mend

FIRMWARE = {
    "rtl_nic": (("r8169", "r8152"), "firmware-realtek"),
    "tigon": (("tg3",), "firmware-misc-nonfree"),
    "bnx2": (("bnx2",), "firmware-bnx2"),
}
"""Folders of /lib/firmware with what adapters of desktops ask for: their drivers, and the package in Debian."""

NO_IPV6 = "ipv6.disable=1"
"""The kernel's parameter that leaves nothing to switch on again."""


def ipv6(laptop: Laptop) -> Iterator[Found]:
    """Look whether laptop and desktop can speak IPv6, the only language of the cable."""
    if laptop.no_ipv6 == NO_IPV6:
        yield impossible(
            "IPv6 is switched off in this laptop's kernel, and laptop and desktop speak nothing else on the cable: "
            f"it would hear no desktop. Take {NO_IPV6} from the kernel's command line."
        )
    elif laptop.no_ipv6:
        yield know(
            f"IPv6 is switched off by {laptop.no_ipv6}, and laptop and desktop speak nothing else on the cable. "
            "autokexec switches it on for the cable's own addresses alone; a target's cable is in a network namespace "
            "of its own, which such a setting does not reach."
        )


def adapters(laptop: Laptop) -> Iterator[Found]:
    """Look at the adapters that are there now, and whether IPv6 is spoken on them."""
    yield from ipv6(laptop)
    for one in laptop.adapters:
        carrier = "cable in" if one.carrier else "no cable"
        yield fact(f"wired {one.name}", f"{one.driver or 'no driver that says so'}, {one.mac}, {carrier}")
        if not one.ipv6 and not laptop.no_ipv6:
            yield know(
                f"IPv6 is switched off on {one.name} (a connection's ipv6.method=disabled, or "
                f"net.ipv6.conf.{one.name}.disable_ipv6=1), and laptop and desktop speak nothing else on the cable. "
                "autokexec switches it on there, for the cable's own addresses alone."
            )
    if not laptop.adapters and laptop.no_ipv6 != NO_IPV6:
        yield mend("There is no wired network adapter now. Plug in a USB or Thunderbolt one before you start.")


def drivers(laptop: Laptop) -> Iterator[Found]:
    """Look at what the target's initrd will have for wired adapters: drivers, and firmware."""
    kernels = laptop.kernels
    chosen = kernels.next or next(iter(kernels.installed), "")
    wired, beside = (known.get(chosen, frozenset()) for known in (laptop.drivers.wired, laptop.drivers.beside))
    modules = laptop.drivers.modules.get(chosen, frozenset())
    if beside:
        yield know(
            f"{', '.join(sorted(beside))} was built beside the kernel (by DKMS) for this laptop. The target's initrd "
            "gets it next to the kernel's own drivers, which serve all other adapters."
        )
    for one in laptop.adapters:
        if modules and one.module and one.module not in modules:
            yield mend(
                f"{one.name} works by the driver {one.driver}, which kernel {chosen} does not have: a target could not "
                f"use that adapter. Where DKMS built it, say: dkms autoinstall -k {chosen}"
            )
    yield from _firmware(laptop, wired)


def _firmware(laptop: Laptop, wired: frozenset[str]) -> Iterator[Found]:
    """Name in one sentence all drivers that will ask for firmware in vain, and what to install for them."""
    missing = [folder for folder in FIRMWARE if laptop.drivers.firmware.get(folder) is False]
    asking = {name: FIRMWARE[folder][1] for folder in missing for name in FIRMWARE[folder][0] if name in wired}
    if asking:
        yield know(
            f"There is no firmware for {_listed(asking)} below /lib/firmware, so some adapters of desktops will work "
            f"badly or not at all. Install {_listed(dict.fromkeys(asking.values()))} (Debian's non-free-firmware; in "
            "Ubuntu linux-firmware), then run site.yml --tags nbd_root."
        )


def _listed(names: Iterable[str]) -> str:
    """Return "a", "a and b" or "a, b and c"."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
