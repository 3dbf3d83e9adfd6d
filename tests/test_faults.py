"""Every row of docs/faults.md is shown by a test, or says why not; the page is the rows'."""

import re

from fault_rows import FAULTS
from fault_table import PAGE, ROOT, marked, page

BY_MACHINES = {
    row
    for name in ("faults", "outage")
    for row in re.findall(r'"(F\d+)"', (ROOT / f"molecule/shared/lab/trials/{name}.py").read_text())
}


def test_every_row_is_shown_or_says_why_not() -> None:
    shown = marked().keys() | BY_MACHINES
    assert [fault.row for fault in FAULTS if fault.row not in shown and not fault.not_shown] == []


def test_tests_and_machines_name_rows_that_there_are() -> None:
    assert (marked().keys() | BY_MACHINES) - {fault.row for fault in FAULTS} == set()


def test_the_page_is_the_rows() -> None:
    text = PAGE.read_text()
    assert page([], text) == text, "run ./stiefel test faults"


def test_a_row_says_what_its_tests_have_shown() -> None:
    found = [
        {"row": "F9", "test": "a::one", "outcome": "passed", "figure": "0.4 s"},
        {"row": "F9", "test": "a::two", "outcome": "passed", "figure": ""},
        {"row": "F14", "test": "a::three", "outcome": "passed", "figure": ""},
        {"row": "F23", "test": "a::four", "outcome": "failed", "figure": ""},
        {"row": "F23", "test": "a::five", "outcome": "passed", "figure": "1 s"},
        {"row": "F37", "test": "a::six", "outcome": "skipped", "figure": ""},
    ]
    text = page(found, "| F37 | survived | 2 s | x | y |\n| F36 | not shown | an old reason | x | y |\n")
    assert "\n| F9 | survived | 0.4 s |" in text
    assert "\n| F14 | refused | 1 test |" in text
    assert "\n| F23 | **fails** | four |" in text
    assert "\n| F37 | survived | 2 s |" in text
    assert "an old reason" not in text
