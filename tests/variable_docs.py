"""The documents that are made: the variables' from the roles' argument specs, the man page from entry/words.py.

Run it with --write to update them.
"""

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "entry"))
import documents as entry

ROOT = Path(__file__).resolve().parent.parent

SETTINGS = re.compile(r"\n# ---- The roles' settings.*", re.DOTALL)
MARKERS = re.compile(r"(<!-- variables -->\n).*?(<!-- /variables -->)", re.DOTALL)
HEADING = """\
# Variables

Every setting there is. Set them in `group_vars/all.yml`, in the inventory, or with `-e`; a name that is not here is
refused. This page is made by `.venv/bin/python tests/variable_docs.py --write` from the roles' argument specs; those
of the role `stiefel` are shared by the others.
"""


def cell(text: str) -> str:
    """Return text as it may stand in a Markdown table, with Ansible's C() and I() as code."""
    return re.sub(r"[CI]\((.*?)\)", r"`\1`", " ".join(text.split())).replace("|", "\\|")


def value(default: object) -> str:
    """Return a default as people write it in YAML."""
    if isinstance(default, str):
        return f"`{default}`" if default else "empty"
    return f"`{json.dumps(default)}`"


def description(option: dict[str, Any]) -> str:
    """Return what an option means, with its choices."""
    parts = option["description"] if isinstance(option["description"], list) else [option["description"]]
    if "choices" in option:
        parts = [*parts, "One of: " + ", ".join(f"C({choice})" for choice in option["choices"]) + "."]
    return " ".join(parts)


def rows(options: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the table's lines, in the spec's order."""
    yield "| variable | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, option in options.items():
        default = value(option["default"]) if "default" in option else "see meaning"
        yield f"| `{name}` | {option['type']} | {cell(default)} | {cell(description(option))} |"


def table(role: str) -> str:
    """Return a role's table, or one line when it has no settings."""
    spec = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())
    options = spec["argument_specs"].get("main", {}).get("options", {})
    return "\n".join(rows(options)) + "\n" if options else "This role has no settings of its own.\n"


def commented(role: str) -> str:
    """Return a role's settings as commented YAML: what a person takes the comment sign away from."""
    spec = yaml.safe_load((ROOT / f"roles/{role}/meta/argument_specs.yml").read_text())
    lines = []
    for name, option in spec["argument_specs"].get("main", {}).get("options", {}).items():
        meaning = cell(description(option)).replace("`", "").replace("\\|", "|")
        lines += ["", *textwrap.wrap(meaning, 110, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)]
        lines.append(f"# {name}: {json.dumps(option['default']) if 'default' in option else ''}".rstrip())
    return "\n".join(lines) + "\n" if lines else ""


def roles() -> list[str]:
    """Return the roles' names, the one that all others share first."""
    names = (path.parent.parent.name for path in ROOT.glob("roles/*/meta/argument_specs.yml"))
    return sorted(names, key=lambda name: (name != "stiefel", name))


def with_table(text: str, made: str) -> str:
    """Return a README with the table between its markers."""
    return MARKERS.sub(lambda found: found[1] + made + found[2], text)


def documents() -> dict[Path, str]:
    """Return each document that holds variables, as it should be."""
    made = {}
    for role in roles():
        readme = ROOT / f"roles/{role}/README.md"
        if readme.exists():
            made[readme] = with_table(readme.read_text(), table(role))
    made[ROOT / "docs/stiefel.1"] = entry.man()
    parts = [HEADING, *(f"## {role}\n\n{table(role)}" for role in roles())]
    made[ROOT / "docs/variables.md"] = "\n".join(parts)
    settings = ROOT / "group_vars/all.yml"
    heading = "\n# ---- The roles' settings, with their defaults (made by tests/variable_docs.py --write)\n"
    made[settings] = SETTINGS.sub("", settings.read_text()) + heading + "".join(map(commented, roles()))
    return made


def outdated() -> list[Path]:
    """Return the documents that do not say what the specs say."""
    return [path for path, text in documents().items() if not path.exists() or path.read_text() != text]


def main() -> int:
    """Name the outdated documents, or with --write bring them up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    for path in outdated():
        print(f"{'written' if write else 'outdated'}: {path.relative_to(ROOT)}")
        if write:
            path.write_text(documents()[path])
    return 1 if outdated() else 0


if __name__ == "__main__":
    sys.exit(main())
