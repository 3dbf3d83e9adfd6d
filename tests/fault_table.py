"""Run every test that shows a row of docs/faults.md, and write the page and build/faults.json.

`./stiefel test faults` runs this after the virtual machines' half, which leaves build/faults/machines.json.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from fault_rows import FAULTS, Fault

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs/faults.md"
SHOWN = ROOT / "build/faults"
FOLDERS = ("files/ramdisk-agent", "molecule/shared", ".", "roles/nbd_root")
MARK = re.compile(r"mark\.fault\(([^)]*)\)")
TONE = re.compile(r"^(mend|know): ")
"""How the preflight's tests mark what a person must do, and what is good to know."""
HEAD = """\
# What goes wrong, and what you see then

Written by `./stiefel test faults`, from [the rows](../tests/fault_rows.py) and what the tests of each have shown:
*survived* means that the work goes on and nothing is lost, *refused* that it is said before anything is changed. A
figure is the last that was measured, without KVM on two busy cores: how long the disk stood still, each test by itself;
or what is said; where there is neither, so many tests hold the row.
`build/faults.json` names them: the [bench](testing.md#the-fault-bench), real root folders, recorded laptops, and one
session of two virtual machines (`molecule/faults`). How long after an outage of 5, 40 or 200 s the disk goes on is
measured by `./stiefel bench outage` ([benchmarks.md](benchmarks.md)).

| row | outcome | figure | what goes wrong | what you see |
|---|---|---|---|---|
"""
Shown = Mapping[str, str]
"""What one test says of one row: row, test, outcome, figure."""


def marked(root: Path = ROOT) -> dict[str, int]:
    """Return how often each row is named by a test, without running any."""
    found: dict[str, int] = {}
    for folder in FOLDERS:
        for file in sorted((root / folder / "tests").rglob("test_*.py")):
            for mark in MARK.finditer(file.read_text()):
                for row in re.findall(r"F\d+", mark[1]):
                    found[row] = found.get(row, 0) + 1
    return found


def run_tests() -> int:
    """Run the marked tests of each folder; return how many folders had a failure."""
    failed = 0
    for number, folder in enumerate(FOLDERS):
        environment = os.environ | {
            "PYTHONPATH": str(ROOT / "tests"),
            "STIEFEL_FAULTS": str(SHOWN / f"tests-{number}.json"),
        }
        command = ["pytest", "-q", "-rs", "--tb=short", "-p", "fault_report", "-m", "fault", "tests"]
        done = subprocess.run(command, cwd=ROOT / folder, env=environment, check=False)
        failed += done.returncode not in (0, 5)  # 5: no test of this folder is marked
    return failed


def verdict(fault: Fault, shown: Iterable[Shown]) -> tuple[str, str]:
    """Return outcome and figure of a row, as the tests that were run have it; empty when none was."""
    own = [one for one in shown if one["row"] == fault.row and one["outcome"] != "skipped"]
    if failed := [one["test"].rpartition("::")[2] for one in own if one["outcome"] == "failed"]:
        return "**fails**", ", ".join(failed)
    figures = dict.fromkeys(TONE.sub("", one["figure"]).partition(". ")[0] for one in own if one["figure"])
    count = f"{len(own)} tests" if len(own) > 1 else "1 test"
    return ("refused" if fault.refused else "survived", "; ".join(figures) or count) if own else ("", "")


def page(shown: Iterable[Shown], before: str = "") -> str:
    """Return docs/faults.md; what it said before stays of rows that no test was run for."""
    cells = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in before.splitlines()]
    said = {line[0]: (line[1], line[2]) for line in cells if len(line) == 5 and line[1] != "not shown"}
    shown, text = list(shown), HEAD
    for fault in FAULTS:
        outcome, figure = verdict(fault, shown)
        if not outcome:
            outcome, figure = said.get(fault.row) or ("not shown", fault.not_shown or "not run yet")
        text += f"| {fault.row} | {outcome} | {figure} | {fault.what} | {fault.sees} |\n"
    return text


def main() -> int:
    """Run, write, print the table; 1 when a row fails."""
    failed = run_tests()
    shown = [one for file in sorted(SHOWN.glob("*.json")) for one in json.loads(file.read_text())]
    (ROOT / "build/faults.json").write_text(json.dumps(shown, indent=2) + "\n")
    PAGE.write_text(page(shown, PAGE.read_text() if PAGE.exists() else ""))
    print("\n".join(line for line in PAGE.read_text().splitlines() if line.startswith("|")))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
