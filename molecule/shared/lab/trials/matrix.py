"""One row of the matrix: a laptop of one kind meets a desktop of another. All rows make docs/compatibility.md.

What was seen is kept in build/matrix.json, row by row, so that a run goes on where the last one ended: molecule/matrix.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..machines.bench import Bench, Pc
from ..machines.cache import REPOSITORY
from ..machines.console import ESCAPES
from ..machines.shell import LabError, step
from .command import STICK, Argument, Command, bench_of
from .own_disk import left_alone, own_disk
from .report import Report
from .rows import ROWS, Row
from .session import Person, Plan, run_session

SEEN = REPOSITORY / "build" / "matrix.json"
PAGE = REPOSITORY / "docs" / "compatibility.md"
BOOTS = "boots"
HEAD = """\
# What boots where

Written by `./stiefel test matrix`: a laptop of each kind is set up in a virtual machine, a desktop boots from its disk,
works, and gives it back. *Refused* means: the preflight says so, with the reason, before anything is changed. What the
machines are is in [testing.md](testing.md); LUKS in the lab has a small argon2id, for emulated processors are slow.

| the laptop's disk | its initramfs | the desktop starts by | the desktop's adapter | seen |
|---|---|---|---|---|
"""

FOOT = """
The passphrase of an encrypted laptop is asked for at the desktop, in letters that are read from some metres away.
Here the desktop has started by UEFI, and below it by BIOS; the lines above the question come from the lab's laptops not
being `quiet`:

![The desktop's screen, by UEFI: Please unlock disk nvme0n1p3_crypt](images/passphrase-uefi.png)

![The desktop's screen, by BIOS: Please unlock disk nvme0n1p3_crypt](images/passphrase-bios.png)
"""


def _seen() -> dict[str, str]:
    """The verdicts so far, by the row's name."""
    content: dict[str, str] = json.loads(SEEN.read_text()) if SEEN.exists() else {}
    return content


def note(row: Row, verdict: str) -> None:
    """Keep a verdict, and write the page anew."""
    seen = _seen() | {row.name: verdict}
    SEEN.parent.mkdir(exist_ok=True)
    SEEN.write_text(json.dumps(seen, indent=2) + "\n")
    PAGE.write_text(page(seen, PAGE.read_text() if PAGE.exists() else ""))


def page(seen: dict[str, str], before: str) -> str:
    """The whole of docs/compatibility.md; what was said before stays of rows that nobody has seen since."""
    lines = (line.strip("| ").rpartition(" | ") for line in before.splitlines() if line.startswith("|"))
    said = {pair: verdict for pair, _, verdict in lines}
    text = HEAD
    for row in ROWS.values():
        pair = " | ".join(cells(row))
        text += f"| {pair} | {seen.get(row.name) or said.get(pair, 'not tried yet')} |\n"
    return text + FOOT


def cells(row: Row) -> tuple[str, ...]:
    """A line of the table, without what was seen."""
    disk = row.disk.what + "; the desktop's own disk has the same names" * row.twins
    disk += "; the passphrase is typed wrong first" * row.mistypes
    if row.refused:
        return disk, row.disk.initramfs, "any", "any"
    adapter = (
        row.adapter
        + " in a hot-plug slot, plugged in late" * row.late
        + ", its other one has the same MAC" * row.same_mac
    )
    words = {"bios": "BIOS", "uefi": "UEFI", "secure": "UEFI, Secure Boot"}
    return disk, row.disk.initramfs, words[row.firmware.value], adapter


@contextmanager
def twins(row: Row, bench: Bench, root_uuid: str) -> Iterator[tuple[Path, ...]]:
    """The desktop's own disk, if the row wants one; it must be the same afterwards.

    Raises:
        LabError: something was written to it.
    """
    disks = (own_disk(bench.folder, root_uuid),) if row.twins else ()
    with left_alone(*disks):
        yield disks


def matrix_rows(options: argparse.Namespace) -> None:
    """Print which rows no run has seen as they must be, or those that are named, as JSON: laptop by laptop."""
    if unknown := set(options.only) - ROWS.keys():
        raise LabError(f"there is no row {', '.join(sorted(unknown))}: the rows are {', '.join(ROWS)}")
    seen = _seen()
    wanted = options.only or [row.name for row in ROWS.values() if not _is_right(row, seen.get(row.name, ""))]
    print(json.dumps(laptops([ROWS[name] for name in wanted])))


def laptops(rows: Iterable[Row]) -> list[dict[str, object]]:
    """The rows, those of one laptop together: it is set up once, and meets one desktop after the other."""
    named: dict[tuple[str, bool], list[str]] = {}
    for row in rows:
        named.setdefault((row.layout, bool(row.refused)), []).append(row.name)
    return [{"layout": layout, "refused": refused, "rows": names} for (layout, refused), names in named.items()]


def _is_right(row: Row, verdict: str) -> bool:
    return verdict == (f"refused: {row.because}" if row.refused else BOOTS)


def matrix_row(options: argparse.Namespace) -> None:
    """Let the laptop, which is set up and on, meet one row's desktop after the other; note what becomes of it."""
    bench = bench_of(options)
    for name in options.rows:
        _meet(ROWS[name], bench, options.stick)


def _meet(row: Row, bench: Bench, stick: Path) -> None:
    """One session.

    Raises:
        LabError: it is noted, and the laptop is in no state to meet another desktop.
    """
    folder = SEEN.parent / "matrix" / row.name
    folder.mkdir(parents=True, exist_ok=True)
    report = Report(row.firmware.value, bench.accelerator_name, "wireguard")
    person = Person(laptop=bench.image.hardware, mistypes=row.mistypes)
    start = time.monotonic()
    try:
        with step(f"row {row.name}"), twins(row, bench, _root_uuid(bench)) as disks:
            pc = Pc(row.adapter, disks, late=row.late, same_mac=row.same_mac)
            run_session(bench, folder, report, person, Plan(stick, row.firmware, pc))
    except LabError as error:
        note(row, f"fails: {str(error).splitlines()[0]}")
        raise
    note(row, BOOTS)
    print(f"{row.name}: {BOOTS}, {time.monotonic() - start:.0f} s")


def _root_uuid(bench: Bench) -> str:
    return bench.machine("laptop").ssh("findmnt --noheadings --output UUID /").strip()


def matrix_refused(options: argparse.Namespace) -> None:
    """Note a laptop that was refused; the file has what was said, which must be the row's reason."""
    row = ROWS[options.row]
    said = " ".join(ESCAPES.sub("", options.said.read_text()).split())  # Ansible colours and folds its lines
    if "Nothing was changed" not in said or not re.search(row.refused, said):
        raise LabError(f"row {row.name}: the refusal does not say {row.refused!r}:\n{said[-2000:]}")
    note(row, f"refused: {row.because}")


def matrix_failed(options: argparse.Namespace) -> None:
    """Note rows whose laptop did not come to its first desktop, or was not refused as it must be."""
    for name in options.rows:
        note(ROWS[name], f"fails: {ESCAPES.sub('', options.why).splitlines()[0]}")


ROW = Argument("row", choices=ROWS)
EACH_ROW = Argument("rows", nargs="+", choices=ROWS)
TRIALS = (
    Command("matrix-rows", matrix_rows, (Argument("only", nargs="*", help="names of rows"),)),
    Command("matrix-row", matrix_row, (STICK, EACH_ROW)),
    Command("matrix-refused", matrix_refused, (ROW, Argument("--said", type=Path, required=True))),
    Command("matrix-failed", matrix_failed, (EACH_ROW, Argument("--why", required=True))),
)
