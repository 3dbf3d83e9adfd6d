"""What only whole virtual machines show: a session's parts, and a person's second install."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from .figures import Round
from .ground import ROOT, LeftOut

BOOTS, PERSON = ROOT / "build/lab/molecule-boots-report/boots.json", ROOT / "build/person.json"


def _scenario(name: str, report: Path, **variables: str) -> Any:
    """Run a scenario as `./stiefel test` does, which shows its progress; return what it leaves behind."""
    report.unlink(missing_ok=True)
    command = [sys.executable, "tests/run.py", f"molecule {name}"]
    if subprocess.run(command, cwd=ROOT, env=os.environ | variables, check=False).returncode:
        raise LeftOut(f"the machines did not come to their end: build/test/molecule-{name}.log has why")
    return json.loads(report.read_text())


@functools.cache
def _rounds(encryption: str) -> list[dict[str, float]] | LeftOut:
    """Return what each round of lab/trials/boots.py found, or why not; run once for all rows (about half an hour)."""
    try:
        return list(_scenario("boots", BOOTS, STIEFEL_ENCRYPTION=encryption))
    except LeftOut as reason:
        return reason


def part(ours: str, peer: str = "", encryption: str = "wireguard") -> Callable[[bool], Iterator[Round]]:
    """Return what yields one part of each round, and what it is compared with."""

    def measure(quick: bool) -> Iterator[Round]:
        rounds = _rounds(encryption)
        if isinstance(rounds, LeftOut):
            raise rounds
        for one in rounds:
            yield Round(one[ours], one[peer] if peer else None, one["load"])

    return measure


def seconds(delta: str) -> float:
    """Return the seconds of a time as Ansible's command module tells it, such as 0:01:02.500000."""
    hours, minutes, rest = delta.split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


def second_install(quick: bool) -> Iterator[Round]:
    """Yield the seconds of an install that changes nothing, on a laptop that is as fast as this machine.

    It is measured on an emulated one, and divided by how much slower Ansible's least work is there.
    """
    took = {name: seconds(delta) for name, delta in _scenario("person", PERSON).items()}
    yield Round(took["install"] * took["here"] / took["there"])
