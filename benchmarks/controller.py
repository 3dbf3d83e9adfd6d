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
    notes, interpreter, inventory = folder / "notes", folder / "python3", folder / "laptops.yml"
    notes.write_text("")
    interpreter.write_text(INTERPRETER.format(python=sys.executable, notes=notes))
    interpreter.chmod(0o755)
    names = "".join(f"\n    laptop{number}:" for number in range(laptops))
    inventory.write_text(
        "laptops:\n  vars:\n    ansible_connection: local\n"
        f"    ansible_python_interpreter: {interpreter}\n  hosts:{names}\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # A laptop that is refused has been looked at all the same, and this machine need not be one that is taken.
    preflight = ansible("--inventory", str(inventory), playbook="playbooks/preflight.yml")
    # What looks is run by the first python3 there is: on a laptop, by the laptop's.
    recap = said(*preflight, codes=(0, 2), PATH=f"{folder}:{os.environ['PATH']}")
    if f"laptop{laptops - 1} " not in recap.rpartition("PLAY RECAP")[2]:
        raise LeftOut("the preflight did not look at every laptop")
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
