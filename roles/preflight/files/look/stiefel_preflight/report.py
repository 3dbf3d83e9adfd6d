"""What was found, in words: each finding says what, why, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a finding means for the person who reads it."""

    FACT = "facts"
    IMPOSSIBLE = "impossible"
    """It keeps Stiefelsystem from being installed."""
    MEND = "mend"
    """A target would not start, or not well."""
    KNOW = "know"


@dataclass(frozen=True, slots=True)
class Found:
    """One finding; facts have a title."""

    kind: Kind
    text: str
    title: str = ""


def fact(title: str, text: str) -> Found:
    """Return something that is as it is."""
    return Found(Kind.FACT, text, title)


def impossible(text: str) -> Found:
    """Return what must be mended first."""
    return Found(Kind.IMPOSSIBLE, text)


def mend(text: str) -> Found:
    """Return what should be mended."""
    return Found(Kind.MEND, text)


def know(text: str) -> Found:
    """Return what is good to know."""
    return Found(Kind.KNOW, text)


def as_json(findings: Iterable[Found]) -> dict[str, list[object]]:
    """Return the report as the role reads it: {"facts": [[title, text]], "impossible": [text], ...}."""
    report: dict[str, list[object]] = {kind.value: [] for kind in Kind}
    for found in findings:
        report[found.kind].append([found.title, found.text] if found.kind is Kind.FACT else found.text)
    return report
