#!/usr/bin/env python3
"""Keep the keys: one per stick on the laptop's keyring, and the one-key file that a stick carries.

    keyring.py ring FILE NAME... [--rotate] [--check]   FILE gets exactly these names; what is there is kept
    keyring.py stick FILE NAME OUTPUT [--check]         OUTPUT gets NAME's key, sealed if there is a passphrase,
                                                        and the public half of the laptop's pair, never the private

A passphrase comes on standard input. Prints one JSON object without anything secret in it. Files are written
whole, with mode 0600.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from stiefel_agent.errors import OldKeyFile, PassphraseError, StiefelError
from stiefel_agent.protocol import keys
from stiefel_agent.protocol.keys import Entry, Key, LockedKey, StickKey


def write_private(path: Path, text: str) -> None:
    """Put a file in place whole, readable by its owner alone from the first byte on."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def read_entries(path: Path) -> tuple[Entry, ...]:
    """Return what a key file holds, nothing if it is not there; raises KeyFileError."""
    return keys.parse(path.read_text()) if path.exists() else ()


def read_ring(path: Path) -> tuple[tuple[Key, ...], bool]:
    """Return a laptop's keys, and whether the file is of version 1: then each has got its new key pair just now."""
    try:
        return keys.unlocked(read_entries(path)), False
    except OldKeyFile:
        return keys.upgraded(path.read_text()), True


def keep_ring(options: argparse.Namespace) -> dict[str, object]:
    """Bring the keyring to the wanted names, and return what that changed."""
    ring, was_old = read_ring(options.file)
    kept = {key.name: key for key in ring if not options.rotate}
    old = [key.name for key in ring]
    text = keys.serialise([kept.get(name) or Key.generate(name) for name in options.names])
    added = [name for name in options.names if name not in kept]
    removed = [name for name in old if name not in options.names]
    upgraded = [name for name in options.names if name in kept and was_old]
    changed = bool(added or removed or upgraded or list(options.names) != old)
    if changed and not options.check:
        write_private(options.file, text)
    return {"changed": changed, "added": added, "removed": removed, "upgraded": upgraded}


def holds(path: Path, key: StickKey, passphrase: str) -> bool:
    """Return whether the file is a stick's with this very key, under this very passphrase if it has one."""
    try:
        entries: Sequence[Entry] = read_entries(path)
    except OldKeyFile:
        return False
    if not passphrase or not entries or not isinstance(entries[0], LockedKey):
        return not passphrase and list(entries) == [key]
    try:
        return entries[0].unlock(passphrase) == key
    except PassphraseError:
        return False


def keep_stick(options: argparse.Namespace) -> dict[str, object]:
    """Bring a stick's key file up to date, and return whether it changed."""
    ring = {key.name: key for key in keys.unlocked(read_entries(options.file))}
    if options.name not in ring:
        names = ", ".join(ring) or "none"
        raise SystemExit(f"usbdrive_stick is {options.name!r}, which has no key; key_sticks has: {names}")
    passphrase = sys.stdin.read().rstrip("\n")
    key = ring[options.name].for_stick()
    changed = not holds(options.output, key, passphrase)
    if changed and not options.check:
        write_private(options.output, keys.serialise([keys.lock(key, passphrase) if passphrase else key]))
    return {"changed": changed}


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what the command line says; the docstring of this file describes it."""
    parser = argparse.ArgumentParser(description="see the head of this file")
    commands = parser.add_subparsers(required=True)
    ring = commands.add_parser("ring")
    ring.add_argument("file", type=Path)
    ring.add_argument("names", nargs="+")
    ring.add_argument("--rotate", action="store_true")
    ring.set_defaults(act=keep_ring)
    stick = commands.add_parser("stick")
    stick.add_argument("file", type=Path)
    stick.add_argument("name")
    stick.add_argument("output", type=Path)
    stick.set_defaults(act=keep_stick)
    for command in (ring, stick):
        command.add_argument("--check", action="store_true", help="say what would change, and change nothing")
    options = parser.parse_args(arguments)
    try:
        print(json.dumps(options.act(options)))
    except StiefelError as error:
        raise SystemExit(f"{options.file}: {error}") from error


if __name__ == "__main__":
    main()
