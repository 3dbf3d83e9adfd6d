"""One whole session: the desktop boots from the laptop's disk, works, and the laptop gets its disk back."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..machines.bench import DESKTOP, LAPTOP, LOGIN_SECONDS, USUAL_PC, Bench, Pc
from ..machines.console import Console
from ..machines.layout import Hardware
from ..machines.machine import Firmware, Machine
from ..machines.shell import LabError, process_of, say
from ..machines.unlock import unlock
from .command import ADAPTER, FIRMWARE, OUTPUT, STICK, Argument, Command, bench_of, output
from .facts import ask, laptop_checks, target_checks, write_something
from .report import MOMENTS, Report
from .watch import BEACON, CALLED, LAPTOP_LOGIN, LOAD, LOCKED, MOVE, RELEASED, Stage, Watch

# Who follows a session from outside reads its progress, as long as the process lives.
ON_THE_CONSOLE = (MOVE[0], LOAD[2])
"""What the laptop's own system says on its console: that it moves, that its disk is attached."""
DARK_BY_NATURE = {("power_on", DESKTOP), ("released", DESKTOP), ("desktop_off", LAPTOP)}
"""The desktop's firmware has not begun, its system is switching it off; the laptop restarts through its firmware."""
DARK_SECONDS, DARK_STEP = 15.0, 0.5
PROGRESS, PIDFILE = "progress.log", "session.pid"


@dataclass(frozen=True)
class Person:
    """What somebody has to do at the two keyboards."""

    passphrase: str = ""
    """Typed at the desktop when the stick asks for it."""
    allows: bool = False
    """Whether the laptop waits to be told that the desktop may have its disk."""
    laptop: Hardware = field(default_factory=Hardware)
    """With a disk that asks for a passphrase its console is the screen, and the serial line tells less."""
    mistypes: bool = False
    """At the desktop that passphrase is typed wrong first."""


class Session:
    """The run of a session on a bench whose laptop is up; `folder` takes report, progress and screenshots."""

    def __init__(self, watch: Watch, folder: Path, report: Report, person: Person) -> None:
        self.person = person
        self.folder = folder
        self.report = report
        self.laptop = watch.laptop
        self.desktop = watch.bench.machine(DESKTOP)
        self._watch = watch
        self._power_on = 0.0
        shutil.rmtree(folder / "screenshots", ignore_errors=True)
        (folder / "screenshots").mkdir(parents=True)
        (folder / PROGRESS).write_text("")
        (folder / PIDFILE).write_text(str(os.getpid()))

    def boot(self, stick: Path, firmware: Firmware, pc: Pc) -> None:
        """Switch the desktop on and follow both machines to the login prompt on the desktop."""
        self._watch.follow_laptop()
        self.report.laptop_before = ask(self.laptop)
        self._power_on = time.monotonic()
        self._watch.start_desktop(stick, firmware, pc=pc)
        self._reached("power_on", self._power_on)
        if self.person.passphrase:
            self._follow(LOCKED)
            self.desktop.type_line(self.person.passphrase)
        self._follow(BEACON)
        if pc.late:
            self._watch.bench.plug_late_adapter(pc)
        if self.person.allows:
            self._follow(CALLED)
            self.laptop.ssh("sudo stiefel-agent allow")
        self._follow(*self._told(*MOVE, *LOAD[:-1]))
        self._unlock(self.desktop, "asked")
        self._follow(LOAD[-1])

    def inspect(self) -> None:
        """Ask inside the target whether it is what it should be."""
        assert self.report.laptop_before
        self.desktop.wait_ssh(seconds=LOGIN_SECONDS)
        self.report.target = ask(self.desktop)
        encrypted = self.report.encryption != "none"
        self.report.checks |= target_checks(self.report.laptop_before, self.report.target, encrypted=encrypted)

    def leave(self) -> None:
        """Write a file in the target, shut it down, and look whether the laptop has it after its own boot."""
        assert self.report.laptop_before
        written = write_something(self.desktop)
        self._reached("power_off", time.monotonic())
        self.desktop.press_power()
        self._follow(RELEASED)
        self._reached("desktop_off", self.desktop.wait_off(seconds=300, why="the target was told to shut down"))
        self._unlock(self.laptop, "laptop_asked")
        self._follow(LAPTOP_LOGIN)
        self.laptop.wait_ssh(seconds=LOGIN_SECONDS)
        self.report.laptop_after = ask(self.laptop)
        self.report.checks |= laptop_checks(self.report.laptop_before, self.report.laptop_after, written)

    def _told(self, *stages: Stage) -> list[Stage]:
        """The stages that the serial line tells of: what an agent says on the screen's console is not among them."""
        return [stage for stage in stages if not (self.person.laptop.passphrase and stage in ON_THE_CONSOLE)]

    def _unlock(self, machine: Machine, moment: str) -> None:
        """Answer the question for the disk's passphrase, if there will be one."""
        owned = self.person.laptop
        if told := owned.typed_at_home if machine is self.laptop else owned.passphrase:
            wrong = "not this one" if self.person.mistypes and machine is self.desktop else ""
            unlock(machine, told, lambda: self._reached(moment, time.monotonic()), mistyped=wrong)

    def _follow(self, *stages: Stage) -> None:
        for stage, seen in self._watch.follow(stages):
            if uptime := re.search(r"uptime=([\d.]+)", seen.text):
                # The stick's kernel is quiet; the client says how long ago it started.
                self.report.seconds["client_kernel"] = round(seen.when - self._power_on - float(uptime[1]), 1)
            self._reached(stage.moment, seen.when)

    def _reached(self, moment: str, when: float) -> None:
        """Note the moment and keep what both screens show."""
        self.report.seconds[moment] = round(when - self._power_on, 1)
        with (self.folder / PROGRESS).open("a") as progress:
            progress.write(f"{self.report.seconds[moment]:7.1f} s  {moment}\n")
        self.take_screenshots(moment)

    def take_screenshots(self, moment: str) -> None:
        """Save both screens; a machine that is off has none."""
        for machine in (self.laptop, self.desktop):
            if machine.pid is not None:
                file = self.folder / "screenshots" / f"{len(self.report.seconds):02d}-{moment}-{machine.name}.png"
                picture = machine.screenshot(file)
                name = str(file.relative_to(self.folder))
                self.report.screenshots.append(name)
                if (moment, machine.name) not in DARK_BY_NATURE:
                    self.report.checks[f"not black: {name}"] = not picture.is_black or self._lights_up(machine, file)

    @staticmethod
    def _lights_up(machine: Machine, file: Path) -> bool:
        """Whether a screen that was black, as between two graphics drivers, soon is not: then that is its picture."""
        deadline = time.monotonic() + DARK_SECONDS
        while machine.pid is not None and time.monotonic() < deadline:
            if not (picture := machine.picture()).is_black:
                picture.save(file)
                return True
            time.sleep(DARK_STEP)  # a screen tells nobody that it changes
        return False


def wait_for_moment(folder: Path, moment: str) -> str:
    """Wait until the session that another process runs in `folder` reaches a moment; returns its line.

    Raises:
        LabError: the session ended without it.
    """
    pid = process_of(folder / PIDFILE, "lab")
    if pid is None:
        raise LabError(f"no session is running in {folder}")
    progress = Console("session", folder / PROGRESS, pid)
    try:
        return progress.wait_for(rf".* {moment}\n", seconds=1200, why=moment).text.strip()
    finally:
        progress.close()


@contextmanager
def explained(session: Session) -> Iterator[None]:
    """Whatever happens, leave a report; when it fails, with what both screens show."""
    try:
        yield
    except LabError:
        session.take_screenshots("failure")
        raise
    finally:
        session.report.write(session.folder / "report.json")
        (session.folder / "timeline.txt").write_text(session.report.timeline() + "\n")
        say(f"timeline\n{session.report.timeline()}")


@dataclass(frozen=True)
class Plan:
    """What a session is run with."""

    stick: Path
    firmware: Firmware = Firmware.UEFI
    pc: Pc = USUAL_PC
    hold: bool = False
    """Stay in the target."""


def run_session(bench: Bench, folder: Path, report: Report, person: Person, plan: Plan) -> None:
    """A session from the desktop's power-on to the laptop's own boot; with `hold` in the plan it stays in the target.

    Raises:
        LabError: a moment did not come in time, or a check did not hold; the report says which.
    """
    with Watch(bench) as watch, explained(session := Session(watch, folder, report, person)):
        session.boot(plan.stick, plan.firmware, plan.pc)
        session.inspect()
        if not plan.hold:
            session.leave()
        report.require_success()


def session(options: argparse.Namespace) -> None:
    """Boot the desktop from the running laptop's disk, ask the target, and come back; leaves a report."""
    bench, folder = bench_of(options), output(options)
    report = Report(options.firmware, bench.accelerator_name, options.encryption)
    person = Person(options.passphrase, options.allow, bench.image.hardware)
    plan = Plan(options.stick, Firmware(options.firmware), Pc(options.adapter), options.hold)
    run_session(bench, folder, report, person, plan)
    say(f"report: {folder}/report.json")
    if options.hold:
        say(f"both machines keep running. Log in: {' '.join(bench.machine(DESKTOP).ssh_command)}")
        say(f"switch them off: lab --name {bench.folder.name} down")


def moment(options: argparse.Namespace) -> None:
    """Wait until a session that another process runs reaches a moment of its timeline."""
    print(wait_for_moment(output(options), options.moment))


TRIALS = (
    Command(
        "session",
        session,
        (
            STICK,
            FIRMWARE,
            ADAPTER,
            OUTPUT,
            Argument("--encryption", choices=["wireguard", "none"], default="wireguard", help="what to expect"),
            Argument("--passphrase", default="", help="typed when the stick asks: lower-case letters, digits, spaces"),
            Argument("--allow", action="store_true", help="allow the desktop to have the disk when the laptop asks"),
            Argument("--hold", action="store_true", help="stay in the target, leave both machines running"),
        ),
    ),
    Command("moment", moment, (OUTPUT, Argument("moment", choices=MOMENTS))),
)
