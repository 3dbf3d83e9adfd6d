"""Day after day: sessions in a row without a hand on the laptop, which must be the same laptop after the last one.

Needs a laptop that is set up; a session takes six to ten minutes without KVM: molecule/sessions.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..machines.bench import LAPTOP, USUAL_PC, Bench
from ..machines.machine import Firmware, Machine
from ..machines.shell import LabError, say
from .command import OUTPUT, STICK, Argument, Command, bench_of, output
from .report import Report
from .result import Result
from .session import Person, Session, explained
from .watch import Watch

SESSIONS = 24
WORK = "work-of-all-sessions"
"""In the owner's home: a file of each session, and SHA-256 sums of all of them."""
WORK_MIB = 4
WRITTEN = (f"/home/anna/{WORK}", "/home/anna/written-on-the-desktop")
NOT_COUNTED = (*WRITTEN, "/var/log", "/var/lib/apt", "/var/cache", "/tmp")
"""What may grow: what a person wrote, what systemd rotates or empties, what apt fetches by itself."""
GROWTH_KIB, GROWTH_FILES = 1024, 20
"""What may come in all sessions after the first: ext4's directories and databases take another block now and then."""


@dataclass(frozen=True)
class Size:
    """How much of the laptop's disk is taken."""

    kib: int
    files: int

    @classmethod
    def of(cls, laptop: Machine) -> Size:
        """Measure it, without what may grow."""
        excluded = " ".join(f"--exclude={path}" for path in NOT_COUNTED)
        sizes = [laptop.ssh(f"sudo du -sx {unit} {excluded} / | cut -f1", seconds=600) for unit in ("-k", "--inodes")]
        return cls(*map(int, sizes))

    def has_grown_since(self, first: Size) -> bool:
        """Whether more came than a system's own housekeeping."""
        return self.kib - first.kib > GROWTH_KIB or self.files - first.files > GROWTH_FILES


def work(target: Machine, number: int) -> None:
    """Write a file that nobody has seen before, and note its sum; no sync."""
    file = f"{WORK}/{number}"
    target.ssh(
        f"mkdir -p {WORK} && head -c {WORK_MIB}M /dev/urandom > {file} && sha256sum {file} >> {WORK}/sums", seconds=300
    )


def is_all_there(laptop: Machine, sessions: int) -> bool:
    """Whether the laptop has the work of all sessions until now, to the byte."""
    checked = laptop.ssh(f"sha256sum --check --quiet {WORK}/sums && wc -l < {WORK}/sums || true", seconds=600)
    return checked.strip() == str(sessions)


def one_session(bench: Bench, folder: Path, stick: Path, number: int) -> dict[str, float]:
    """A session as `lab session` runs it, with some more work; returns its moments.

    Raises:
        LabError: a moment did not come in time, or a check did not hold.
    """
    report = Report(Firmware.UEFI.value, bench.accelerator_name, "wireguard")
    person = Person(laptop=bench.image.hardware)
    folder.mkdir(parents=True, exist_ok=True)
    with Watch(bench) as watch, explained(session := Session(watch, folder, report, person)):
        session.boot(stick, Firmware.UEFI, USUAL_PC)
        session.inspect()
        work(session.desktop, number)
        session.leave()
        report.require_success()
    return report.seconds


def run_soak(bench: Bench, folder: Path, stick: Path, sessions: int) -> None:
    """As many sessions as asked for, one after the other; leaves soak.json, session by session.

    Raises:
        LabError: a session failed, something that was written is not there, or something grows.
    """
    result = Result()
    seen: list[dict[str, object]] = []
    result.facts["sessions"] = seen
    sizes: list[Size] = []
    with result.kept(folder / "soak.json"):
        for number in range(1, sessions + 1):
            say(f"session {number} of {sessions}")
            seconds = one_session(bench, folder / f"{number:02d}", stick, number)
            laptop = bench.machine(LAPTOP)
            if not is_all_there(laptop, number):
                raise LabError(f"after session {number} the laptop has not all that was written in the sessions")
            sizes.append(Size.of(laptop))
            seen.append(asdict(sizes[-1]) | {name: seconds[name] for name in ("login", "released", "laptop_login")})
            say(json.dumps(seen[-1]))
        result.check(f"{sessions} sessions without a hand on the laptop, all work there", len(seen) == sessions)
        result.check("nothing grows on the laptop's disk", not sizes[-1].has_grown_since(sizes[0]))
    result.verdict()


def soak_sessions(options: argparse.Namespace) -> None:
    """Run sessions one after the other, and see that the laptop stays the same; leaves soak.json."""
    run_soak(bench_of(options), output(options), options.stick, options.sessions)


NUMBER = Argument("--sessions", type=int, default=SESSIONS, help=f"how many (default: {SESSIONS})")
TRIALS = (Command("soak-sessions", soak_sessions, (STICK, OUTPUT, NUMBER)),)
