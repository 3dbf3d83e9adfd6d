"""What an inventory of many laptops costs the controller."""

from __future__ import annotations

import os
import resource
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .figures import Round
from .ground import LeftOut, ansible, said

LAPTOPS = 50
INTERPRETER = """#!/bin/sh
{python} "$@"
code=$?
times >> {notes}
exit $code
"""
"""Runs what Ansible would run on a laptop, and notes its processor time: that is not the controller's."""


def _seconds(minutes: str) -> float:
    """Return the seconds of a time as times(1) in sh writes it, such as 0m1.250s."""
    whole, _, rest = minutes.rstrip("s").partition("m")
    return int(whole) * 60 + float(rest)


def noted(text: str) -> float:
    """Return the seconds of processor time in the notes of INTERPRETER, two lines for each run: shell, children."""
    return sum(_seconds(word) for line in text.splitlines() for word in line.split())


def _own(laptops: int, folder: Path) -> float:
    """Return the seconds of processor time that the controller takes for so many laptops, without the laptops' own."""
    notes, interpreter, inventory = folder / "notes", folder / "python", folder / "laptops.yml"
    notes.write_text("")
    interpreter.write_text(INTERPRETER.format(python=sys.executable, notes=notes))
    interpreter.chmod(0o755)
    names = "".join(f"\n        laptop{number}:" for number in range(laptops))
    inventory.write_text(
        f"all:\n  hosts:\n    localhost:\n      ansible_connection: local\n  children:\n    laptops:\n      vars:\n"
        f"        ansible_connection: local\n        ansible_python_interpreter: {interpreter}\n      hosts:{names}\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    said(*ansible("--tags=network_unmanaged", "--check", "--inventory", str(inventory)))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    whole = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return whole - noted(notes.read_text())


def each_laptop(quick: bool) -> Iterator[Round]:
    """Yield the seconds that each laptop beyond the first costs."""
    if os.geteuid():
        raise LeftOut("the roles need root, and nobody is here to ask for a password")
    with tempfile.TemporaryDirectory() as folder:
        while True:
            one, many = _own(1, Path(folder)), _own(LAPTOPS, Path(folder))
            yield Round((many - one) / (LAPTOPS - 1))
