"""Measure rows, keep every sample in build/bench/results.json, and write docs/benchmarks.md with its picture.

docs/benchmarks.json has the last samples of every row, wherever they were measured: page and picture come from it.

Usage: python -m benchmarks [ROW ...] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from . import page
from .figures import shown, summary
from .ground import OUTPUT, ROOT, LeftOut, machine
from .rows import ROWS, Row, chosen

PAGE, PICTURE = ROOT / "docs/benchmarks.md", ROOT / "docs/images/benchmarks.svg"
RESULTS, KEPT = OUTPUT / "results.json", ROOT / "docs/benchmarks.json"


def measured(row: Row, quick: bool) -> dict[str, Any]:
    """Measure a row; Ctrl-C keeps the rounds that are whole."""
    rounds: list[dict[str, float | None]] = []
    with closing(row.measure(quick)) as turns:  # type: ignore[type-var]
        try:
            for one in islice(turns, 1 if quick else row.rounds):
                load = os.getloadavg()[0] if one.load is None else one.load
                rounds.append({"ours": one.ours, "peer": one.peer, "load": load})
                said = f"{one.ours:.3f} {row.unit}" + (f", {row.peer}: {one.peer:.3f}" if one.peer else "")
                print(f"   {row.name} {len(rounds)}: {said}", flush=True)
        except LeftOut as reason:
            print(f"   {row.name} is left out: {reason}", flush=True)
            return {"left_out": str(reason)}
        except KeyboardInterrupt:
            if not rounds:
                raise
    return {"rounds": rounds, "machine": machine()}


def read(file: Path) -> dict[str, Any]:
    """Return the results that a file has."""
    return dict(json.loads(file.read_text())) if file.exists() else {}


def keep(name: str, found: dict[str, Any]) -> None:
    """Write what was found of a row beside what is known of the others; figures are only replaced by figures."""
    OUTPUT.mkdir(parents=True, exist_ok=True)
    for file in (RESULTS, KEPT):
        others = read(file)
        before = others.pop(name, {})
        last = before if "left_out" in found and "rounds" in before else found
        file.write_text(json.dumps(others | {name: last}, indent=1) + "\n")
    known = read(KEPT)
    PAGE.write_text(page.written(PAGE.read_text(), ROWS, known))
    PICTURE.write_text(page.drawn(ROWS, known))


def main() -> int:
    """Measure what is asked for; with --quick only show that measuring works, and keep nothing."""
    parser = argparse.ArgumentParser(prog="./stiefel bench", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("rows", nargs="*")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # no machine is left running
    try:
        rows = chosen(options.rows)
    except ValueError as error:
        print(f"stiefel: {error}", file=sys.stderr)
        return 2
    broken = []
    for row in rows:
        if options.quick and not row.quick:
            print(f"== {row.name}: takes minutes, left out by --quick")
            continue
        print(f"== {row.name}: {row.what}", flush=True)
        found = measured(row, options.quick)
        if options.quick:
            broken += [row.name] if "left_out" in found and os.geteuid() == 0 else []
            continue
        keep(row.name, found)
        if rounds := page.rounds_of(found):
            print(f"   median {shown(summary(rounds).ours)} {row.unit}, goal {row.goal.text(row.unit)}", flush=True)
    if not options.rows:
        long = ", ".join(row.name for row in ROWS if row.named)
        print(f"Left out for their time: {long}. They run when they are named.")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
