"""Draw state tables into docs/architecture.md. Run it after a table has changed: python3 tests/diagram.py."""

import re
from collections import defaultdict
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from stiefel_agent.server import sessions
from stiefel_agent.target import links

DOCUMENT = Path(__file__).parents[3] / "docs/architecture.md"
DIAGRAMS: dict[str, tuple[Mapping[tuple[Any, Any], Any], StrEnum]] = {
    "server": (sessions.TABLE, sessions.State.STARTING),
    "keeper": (links.TABLE, links.State.WELL),
}
"""Name in the document: the table, and the state that it begins in."""


def drawn(table: Mapping[tuple[Any, Any], Any], start: StrEnum) -> str:
    """Return a table as a Mermaid state diagram: one arrow for all events that lead from one state to another."""
    arrows: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (state, event), step in table.items():
        arrows[state.value, step.state.value].append(event.value)
    lines = [f"    {before} --> {after}: {', '.join(events)}" for (before, after), events in arrows.items()]
    return "\n".join(["```mermaid", "stateDiagram-v2", f"    [*] --> {start.value}", *lines, "```"])


def place(document: str, name: str) -> tuple[int, int]:
    """Return where a diagram stands in the document: between two comments."""
    found = re.search(rf"<!-- diagram: {name} -->\n(.*?)\n<!-- end of diagram -->", document, re.DOTALL)
    assert found, f"docs/architecture.md has no place for the diagram {name!r}"
    return found.span(1)


def main() -> None:
    """Write the diagrams."""
    text = DOCUMENT.read_text()
    for name, table in DIAGRAMS.items():
        start, end = place(text, name)
        text = text[:start] + drawn(*table) + text[end:]
    DOCUMENT.write_text(text)


if __name__ == "__main__":
    main()
