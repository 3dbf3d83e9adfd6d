"""fstab(5) and crypttab(5): what stands in them, and what it means for a boot. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_RANDOM = ("/dev/urandom", "/dev/random", "/dev/hw_random")
_OPTIONAL = {"noauto", "nofail", "x-systemd.automount"}
"""Options by which an entry never holds a boot up (systemd.mount(5), systemd-cryptsetup-generator(8))."""


@dataclass(frozen=True, slots=True)
class Mount:
    """An entry of /etc/fstab."""

    line: int
    source: str
    point: str
    kind: str
    options: tuple[str, ...]

    @property
    def needed(self) -> bool:
        """Does a boot wait for it? Never for swap: a target does not swap to the disk of a laptop."""
        return self.kind != "swap" and not _OPTIONAL & set(self.options)


@dataclass(frozen=True, slots=True)
class Crypt:
    """An entry of /etc/crypttab."""

    line: int
    name: str
    source: str
    key: str
    """The key file; empty: a passphrase is asked for."""
    options: tuple[str, ...]

    @property
    def needed(self) -> bool:
        """Does a boot wait for it?"""
        return not self.makes_swap and not _OPTIONAL & set(self.options)

    @property
    def random_key(self) -> bool:
        """Is it encrypted anew at each boot, whatever was there before?"""
        return self.key in _RANDOM

    @property
    def makes_swap(self) -> bool:
        """Does it become swap space, made anew at each boot?"""
        return "swap" in self.options


def fstab(text: str) -> list[Mount]:
    """Return the entries of an fstab; lines that are none are left out, as mount(8) does."""
    entries = ((number, line.split()) for number, line in enumerate(text.splitlines(), 1))
    return [
        Mount(number, unquoted(words[0]), plain(words[1]), words[2], _options(words[3:4]))
        for number, words in entries
        if len(words) > 2 and not words[0].startswith("#")
    ]


def crypttab(text: str) -> list[Crypt]:
    """Return the entries of a crypttab; lines that are none are left out."""
    entries = ((number, line.split()) for number, line in enumerate(text.splitlines(), 1))
    return [
        Crypt(number, words[0], unquoted(words[1]), _key(words[2:3]), _options(words[3:4]))
        for number, words in entries
        if len(words) > 1 and not words[0].startswith("#")
    ]


def plain(word: str) -> str:
    r"""Return a word with its octal escapes resolved: `My\040Drive` (fstab(5))."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), word)


def unquoted(word: str) -> str:
    """Return a device's name; the value of a tag may stand in quotes: `UUID="..."` (fstab(5))."""
    return plain(re.sub(r'^(\w+=)"(.*)"$', r"\1\2", word))


def _options(words: list[str]) -> tuple[str, ...]:
    return tuple(words[0].split(",")) if words else ()


def _key(words: list[str]) -> str:
    return "" if words in ([], ["none"], ["-"]) else words[0]
