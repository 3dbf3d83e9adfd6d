"""Rounds of a measurement -> medians, spread, ratio, and whether a goal is reached. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Of(Enum):
    """What a goal is about."""

    VALUE = "value"
    RATIO = "ratio"
    """Our figure divided by the peer's."""


@dataclass(frozen=True)
class Goal:
    """A limit that the figure should keep."""

    limit: float
    of: Of = Of.VALUE
    at_least: bool = False
    """More is better; otherwise less is."""

    def reached(self, summary: Summary) -> bool | None:
        """Say whether medians reach the goal; None where there is no peer to compare with."""
        figure = summary.ours if self.of is Of.VALUE else summary.ratio
        if figure is None:
            return None
        return figure >= self.limit if self.at_least else figure <= self.limit

    def text(self, unit: str) -> str:
        """Return the goal as a person reads it."""
        sign = "≥" if self.at_least else "≤"
        return f"{sign} {self.limit:g} {unit if self.of is Of.VALUE else 'of it'}"


@dataclass(frozen=True)
class Round:
    """Both sides, measured one after the other; in the row's unit."""

    ours: float
    peer: float | None = None
    load: float | None = None
    """The machine's load then; None is now."""


@dataclass(frozen=True)
class Summary:
    """What came of all rounds of a row: medians, and between which two figures ours were."""

    ours: float
    low: float
    high: float
    peer: float | None
    ratio: float | None
    """The median of the rounds' own ratios: what both sides of a round suffer from cancels out."""
    rounds: int


def summary(rounds: Sequence[Round]) -> Summary:
    """Return the summary of at least one round."""
    ours = [one.ours for one in rounds]
    pairs = [(one.ours, one.peer) for one in rounds if one.peer is not None]
    return Summary(
        ours=statistics.median(ours),
        low=min(ours),
        high=max(ours),
        peer=statistics.median(peer for _, peer in pairs) if pairs else None,
        ratio=statistics.median(mine / peer for mine, peer in pairs) if pairs else None,
        rounds=len(rounds),
    )


def shown(value: float) -> str:
    """Return a figure with three digits that count."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
