"""Find settings that nobody reads: Ansible itself says nothing about a misspelt variable."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path

import yaml

ALIKE = 0.9
"""How like a known name another must be to be taken for a slip of the finger (difflib's ratio)."""


def known_settings(project: Path) -> set[str]:
    """Return every setting there is: the roles' argument specs and group_vars/all.yml."""
    known = set(yaml.safe_load((project / "group_vars/all.yml").read_text()))
    for spec in project.glob("roles/*/meta/argument_specs.yml"):
        for entry_point in yaml.safe_load(spec.read_text())["argument_specs"].values():
            known |= set(entry_point.get("options", {}))
    return known


def misspelt(names: Iterable[str], known: set[str], prefixes: tuple[str, ...]) -> list[str]:
    """Return one message per name that is no setting but looks like one: by its prefix, or by its spelling."""
    messages = []
    for name in sorted(set(names) - known):
        ours = name.startswith(prefixes)
        close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6 if ours else ALIKE)
        if close:
            messages.append(f"{name} is no setting. Did you mean {close[0]}?")
        elif ours:
            messages.append(f"{name} is no setting; docs/variables.md lists them all.")
    return messages


def stiefel_misspelt(names: Iterable[str], project: str) -> list[str]:
    """Return messages about those of a host's variables that look like our settings, and are none."""
    root = Path(project)
    roles = (path.name for path in root.glob("roles/*"))
    return misspelt(names, known_settings(root), tuple(f"{role}_" for role in (*roles, "stiefel")))


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """Return it by name."""
        return {"stiefel_misspelt": stiefel_misspelt}
