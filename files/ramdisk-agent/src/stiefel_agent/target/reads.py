"""What a boot reads, as a target keeps it for its next boot: names and places, no content. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 1
MOST_FILES = 30_000
MOST_BYTES = 1 << 30
"""A desktop's boot until its session stands reads some hundred megabytes in some thousand files."""
LONGEST = 16 << 20
"""How long the list itself may be, in bytes."""

Ranges = tuple[tuple[int, int], ...]
"""Where each begins, and its length, in bytes."""


@dataclass(frozen=True, slots=True)
class Reads:
    """What is read, in the order in which it is first used."""

    disk: Ranges = ()
    """Of the filesystem's own disk: its metadata."""
    files: tuple[tuple[str, Ranges], ...] = ()

    @property
    def bytes(self) -> int:
        """How much it is."""
        return sum(length for part in (self.disk, *(ranges for _, ranges in self.files)) for _, length in part)

    def within(self, limit: int) -> Reads:
        """Return as much of the beginning as is no more than so many bytes, and so many files."""
        return Reads(tuple(_first(self.disk, limit)), tuple(self._files(limit)))

    def _files(self, limit: int) -> Iterator[tuple[str, Ranges]]:
        left = limit - Reads(self.disk).bytes
        for name, ranges in self.files[:MOST_FILES]:
            left -= Reads(ranges).bytes
            if left < 0:
                return
            yield name, ranges

    def to_json(self) -> str:
        """Return what `parse` reads."""
        return json.dumps({"version": VERSION, "disk": self.disk, "files": self.files}, separators=(",", ":"))


def _first(ranges: Ranges, limit: int) -> Iterator[tuple[int, int]]:
    for start, length in ranges:
        limit -= length
        if limit < 0:
            return
        yield start, length


def parse(text: str) -> Reads:
    """Read a list; raises ValueError when it is damaged or of another version."""
    try:
        document = json.loads(text)
        if document["version"] != VERSION:
            raise ValueError("the list is of another version")
        return Reads(
            _ranges(document["disk"]), tuple((_name(name), _ranges(ranges)) for name, ranges in document["files"])
        )
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"the list is damaged: {error}") from error


def _name(name: object) -> str:
    if not isinstance(name, str) or not name.startswith("/") or "\0" in name:
        raise ValueError("the list is damaged: a name is none")
    return name


def _ranges(ranges: object) -> Ranges:
    if not isinstance(ranges, list):
        raise ValueError("the list is damaged: it has no ranges")
    found = tuple((start, length) for start, length in ranges)
    if not all(type(start) is int and type(length) is int and start >= 0 < length for start, length in found):
        raise ValueError("the list is damaged: a range is none")
    return found
