"""Find wrong settings before anything is changed: names that nobody reads, and values that cannot be.

Ansible itself says nothing about a misspelt variable, and checks a role's settings when their turn comes: by then other
roles have done their work.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

ALIKE = 0.9
"""How like a known name another must be to be taken for a slip of the finger (difflib's ratio)."""

ONE_LINE = (r"[^\n]*", "one line")
RULES = {
    "autokexec_connections": (r"[1-9]|1[0-6]", "a number from 1 to 16"),
    "autokexec_countdown": (r"\d{1,4}", "a number of seconds, at most 9999"),
    "autokexec_disk": (r"|/dev/.+", "a disk's path below /dev/disk/by-id/, or empty"),
    "autokexec_kernel_args": ONE_LINE,
    "autokexec_laptop_name": ONE_LINE,
    "autokexec_mtu": (r"auto|12[89]\d|1[3-9]\d\d|[2-8]\d{3}|9000", "auto, or a number of bytes from 1280 to 9000"),
    "autokexec_takeover_seconds": (r"\d{1,6}", "a number of seconds, or 0 for never"),
    "autokexec_target_args": ONE_LINE,
    "autokexec_trigger_macs": (r"[\dA-Fa-f]{2}(:[\dA-Fa-f]{2}){5}", "MAC addresses, such as 52:54:00:12:34:56"),
    "autokexec_trigger_usb_ids": (r"[\dA-Fa-f]{4}:[\dA-Fa-f]{4}", "vendor:product as lsusb shows it: 0bda:8153"),
    "key_sticks": (r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", "names of 1 to 32 letters, digits, dots, dashes or underscores"),
    "ramdisk_compression": (r"[1-9]|1\d", "a number from 1 to 19"),
    "usbdrive_kernel_args": ONE_LINE,
}
"""What a setting, or each element of a list, must be beside its type: a pattern, and the same in words."""


def load(path: Path) -> dict[str, Any]:
    """Return what a YAML file holds."""
    # Each laptop's worker reads them anew; libyaml does it in a tenth of the time.
    document: dict[str, Any] = yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return document


def known_settings(project: Path) -> dict[str, dict[str, Any]]:
    """Return every setting there is with its specification."""
    known: dict[str, dict[str, Any]] = {}
    for spec in project.glob("roles/*/meta/argument_specs.yml"):
        known |= load(spec)["argument_specs"].get("main", {}).get("options", {})
    return known


def prefixes(project: Path, known: Iterable[str]) -> tuple[str, ...]:
    """Return how our settings begin: with the name of a role that has some."""
    roles = (path.name for path in project.glob("roles/*"))
    return tuple(f"{role}_" for role in roles if any(name.startswith(f"{role}_") for name in known))


def misspelt(names: Iterable[str], known: Iterable[str], beginnings: tuple[str, ...]) -> list[str]:
    """Return one message per name that is no setting but looks like one: by its prefix, or by its spelling."""
    messages = []
    for name in sorted(set(names) - set(known)):
        ours = name.startswith(beginnings)
        close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6 if ours else ALIKE)
        if close:
            messages.append(f"{name} is no setting. Did you mean {close[0]}?")
        elif ours:
            messages.append(f"{name} is no setting; docs/variables.md lists them all.")
    return messages


def mistyped(name: str, value: object, spec: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a value: its type and choices, or what RULES has to say."""
    option = {key: spec[key] for key in ("type", "elements", "choices") if key in spec}
    if errors := ArgumentSpecValidator({name: option}).validate({name: value}).error_messages:
        return [f"{name}: {error}." for error in errors]
    values = value if isinstance(value, list) else [value]
    if values != value and spec["type"] == "list":  # Ansible would take "a,b" for a list, the roles would not
        return [f"{name} is {value!r}; it must be a list, such as {json.dumps([value])}."]
    if name not in RULES:
        return []
    pattern, words = RULES[name]
    wrong = [str(one) for one in values if not re.fullmatch(pattern, str(one))]
    return [f"{name} is {wrong[0]!r}; it must be {words}."] if wrong else []


def contradictory(settings: Mapping[str, Any]) -> list[str]:
    """Return which settings do not fit each other."""
    sticks = settings.get("key_sticks", ["stick"])
    if not 1 <= len(sticks) <= 16 or len(set(sticks)) < len(sticks):
        return ["key_sticks must be 1 to 16 names, each another."]
    stick = settings.get("usbdrive_stick", sticks[0])
    return [] if stick in sticks else [f"usbdrive_stick is {stick!r}; key_sticks has only: {', '.join(sticks)}."]


def refused(settings: Mapping[str, Any], project: str) -> list[str]:
    """Return one message for each of a host's variables that is a wrong setting of ours."""
    root = Path(project)
    known = known_settings(root)
    ours = {name: settings[name] for name in sorted(known) if name in settings}
    wrong = misspelt(settings, known, prefixes(root, known))
    for name, value in ours.items():
        wrong += mistyped(name, value, known[name])
    return wrong or contradictory(ours)


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """Return it by name."""
        return {"refused": refused}
