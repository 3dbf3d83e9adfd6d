"""What is measured on the fault bench: real agents, in namespaces of this machine (docs/testing.md)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator

from .figures import Round
from .ground import ROOT, SOURCE, LeftOut, said

BENCH = ROOT / "files/ramdisk-agent/tests/faults"
MEGABYTES = 2000


def _measured(*words: str) -> Round:
    """Run one round of figures.py; raises LeftOut where there can be no bench."""
    if os.geteuid():
        raise LeftOut("namespaces need root")
    found = json.loads(said(sys.executable, BENCH / "figures.py", *words, PYTHONPATH=str(SOURCE)).splitlines()[-1])
    return Round(found["ours"], found["peer"])


def discovery(interfaces: int) -> Callable[[bool], Iterator[Round]]:
    """Return what yields the seconds until a laptop has answered, with so many interfaces and with one."""

    def measure(quick: bool) -> Iterator[Round]:
        while True:
            yield _measured("discovery", str(2 if quick else interfaces))

    return measure


def outage(kind: str, seconds: int) -> Callable[[bool], Iterator[Round]]:
    """Return what yields the seconds until I/O goes on after an outage, on the side where that takes longer."""

    def measure(quick: bool) -> Iterator[Round]:
        while True:
            yield _measured("outage", kind, str(1 if quick else seconds))

    return measure


def memory(quick: bool) -> Iterator[Round]:
    """Yield the server's resident MB at the end and near the beginning."""
    while True:
        yield _measured("memory", str(128 if quick else MEGABYTES))
