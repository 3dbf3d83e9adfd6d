"""What a trial came to: what was checked, what was found, and the report of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..machines.shell import LabError, say


@dataclass
class Result:
    """What the siege came to; it failed if anything was gained or a check does not hold."""

    attacks: list[dict[str, Any]] = field(default_factory=list)
    checks: dict[str, bool] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)

    def check(self, what: str, holds: bool) -> None:
        """Note something that must hold."""
        say(f"{'ok' if holds else 'NOT SO'}: {what}")
        self.checks[what] = holds

    @contextmanager
    def kept(self, report: Path) -> Iterator[None]:
        """Whatever happens, leave a report of what was found until then."""
        try:
            yield
        finally:
            report.parent.mkdir(parents=True, exist_ok=True)
            report.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def verdict(self) -> None:
        """Raise LabError with every attack that gained something and every check that does not hold."""
        wrong = [f"{one['attack']} on the {one['victim']}: {one['gained']}" for one in self.attacks if one["gained"]]
        wrong += [check for check, holds in self.checks.items() if not holds]
        if wrong:
            raise LabError("something is not as it must be:\n" + "\n".join(f"  * {what}" for what in wrong))
