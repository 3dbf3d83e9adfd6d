"""A pytest plugin: keep what the tests show of docs/faults.md's rows (`-p fault_report`, STIEFEL_FAULTS=FILE).

A test names its rows, `@pytest.mark.fault("F9", "F34")`, and may tell a figure: `record_property("figure", "0.4 s")`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

_found: dict[str, dict[str, str]] = {}
_rows: dict[str, list[str]] = {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Note which rows each test shows."""
    for item in items:
        if rows := [row for mark in item.iter_markers("fault") for row in mark.args]:
            _rows[item.nodeid] = rows


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep a test's outcome, the worst of its set-up, itself and its end, and the figures that were told until then."""
    if report.nodeid not in _rows:
        return
    before = _found.get(report.nodeid, {}).get("outcome", "passed")
    figures = dict.fromkeys(str(value) for name, value in report.user_properties if name == "figure")
    outcome = report.outcome if before == "passed" else before
    _found[report.nodeid] = {"outcome": outcome, "figure": "; ".join(figures)}


def pytest_sessionfinish() -> None:
    """Write the file: a list of {row, test, outcome, figure}."""
    shown = [{"row": row, "test": test} | found for test, found in _found.items() for row in _rows[test]]
    file = Path(os.environ["STIEFEL_FAULTS"])
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(shown, indent=2) + "\n")
