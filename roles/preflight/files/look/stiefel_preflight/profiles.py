"""Network profiles that are bound to this laptop's adapters: with them, a target has no network beside the cable."""

from __future__ import annotations

import re
from collections.abc import Iterator

from stiefel_preflight.laptop import Laptop
from stiefel_preflight.report import Found, know

_ANY = re.compile(r"[*?\[]|^(lo|br|docker|virbr|veth|wg|tun|tap|bond|vlan|wl)")
"""Names that match any adapter, or that are none of a cable's."""


def profiles(laptop: Laptop) -> Iterator[Found]:
    """Name the files that would serve a desktop's own adapters if they were not bound."""
    bound = [
        f"{path} (to {', '.join(names)})" for path, text in laptop.profiles.items() if (names := bindings(path, text))
    ]
    if bound:
        yield know(
            "These network settings are bound to this laptop's adapters, which a desktop does not have, so they do "
            f"nothing in a target: {'; '.join(bound)}. The cable to the laptop works all the same. If a target shall "
            "have another network by wire, add a setting for any adapter (NetworkManager: a profile without "
            "interface-name and mac-address; systemd-networkd: Name=en*)."
        )


def bindings(path: str, text: str) -> list[str]:
    """Return the adapters' names or addresses that one file of network settings is bound to."""
    if path.endswith(".nmconnection"):
        kind = re.findall(r"^type=(.*)$", text, re.MULTILINE)
        found = re.findall(r"^(?:interface-name|mac-address)=(.*)$", text, re.MULTILINE)
        return found if kind in (["ethernet"], ["802-3-ethernet"]) else []
    if path.endswith(".network"):
        found = re.findall(r"^(?:Name|MACAddress|PermanentMACAddress)=(.*)$", text, re.MULTILINE)
    elif path.endswith((".yaml", ".yml")):
        found = _netplan(text)
    else:
        found = re.findall(r"^\s*iface\s+(\S+)", text, re.MULTILINE)
    return [name for name in dict.fromkeys(found) if not _ANY.search(name)]


def _netplan(text: str) -> list[str]:
    """Return the adapters that netplan's `ethernets:` names; an entry with a `match:` by name says so itself.

    A full reader of YAML is not in Python's own library, and the form of these files is plain: keys, indented.
    """
    names: list[str] = []
    inside = depth = -1
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        indent, key = len(line) - len(line.lstrip()), line.strip()
        if key == "ethernets:":
            inside, depth = indent, -1
        elif inside >= 0 and indent <= inside:
            inside = -1
        elif inside >= 0 and depth in (-1, indent) and key.endswith(":"):
            depth = indent
            names.append(key.rstrip(":").strip("\"'"))
        elif inside >= 0 and key.startswith("name:") and names:
            names[-1] = key.removeprefix("name:").strip(" \"'")
    return names
