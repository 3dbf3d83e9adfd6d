"""The laptop's programs crash while a target writes: nobody but the laptop may notice.

Needs a ramdisk with the feature "debug", whose shell on tty2 is where they are killed from, and a hub: see
molecule/crash.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from ..machines.bench import DESKTOP2, LAPTOP, LOGIN_SECONDS, Bench
from ..machines.machine import Machine
from ..machines.shell import say
from .command import Command, bench_of, output
from .facts import ask, laptop_checks, write_something
from .guest import program
from .load import Load
from .result import Result
from .watch import BEACON, LAPTOP_LOGIN, RELEASED, Stage, Watch, event

SEED = "written while the laptop's programs crash"
SCREEN_SECONDS = 120
ADOPTED = Stage("adopted", LAPTOP, event("adopted"), 120)
SERVING, BUSY = r"(?i)desktop is using this laptop", r"(?i)in use by|busy with"
NOBODY = "sudo setpriv --reuid=65534 --regid=65534 --clear-groups"


class Laboratory:
    """A session under load, and a shell on the laptop."""

    def __init__(self, watch: Watch, target: Machine, result: Result) -> None:
        self.watch, self.laptop, self.target, self.result = watch, watch.laptop, target, result
        self.load = Load(target, SEED)

    def say_at_the_shell(self, command: str) -> None:
        """Type a command into the debug shell, and go back to the status page."""
        self.laptop.type_keys("alt-f2")
        self.laptop.type_line(command)
        self.laptop.type_keys("alt-f1")

    def process(self, unit: str) -> int:
        """The main process of a unit on the laptop, as systemd says it on the serial line; 0 when it does not run."""
        console = self.laptop.console(from_end=True)
        try:
            self.say_at_the_shell(f"systemctl show -p MainPID {unit} > /dev/ttyS0")
            return int(console.wait_for(r"MainPID=\d+", seconds=60, why=f"the process of {unit}").text.split("=")[1])
        finally:
            console.close()

    def goes_on(self, after: str) -> None:
        """Check that what is written arrives, and that the page tells of the session."""
        count = self.load.whole_round()
        self.result.facts[f"input and output after {after}"] = asdict(count)
        self.result.check(f"after {after}: input and output go on", count.errors == 0)
        self.laptop.wait_screen(SERVING, seconds=SCREEN_SECONDS, why="the page of a laptop that serves")
        say(f"after {after}: the laptop's page tells of the session")

    def kill(self, unit: str) -> Callable[[], int]:
        """Kill a unit's processes; returns a function that says which process there is instead."""
        before = self.process(unit)
        self.result.check(f"{unit} runs", before > 0)
        self.say_at_the_shell(f"systemctl kill -s 9 {unit}")

        def another() -> int:
            now = self.process(unit)
            return 0 if now == before else now

        return another


def the_agent_is_killed(lab: Laboratory) -> None:
    """SIGKILL: it comes back and goes on with the session that it finds."""
    another = lab.kill("stiefel-server")
    lab.watch.until("killed", ADOPTED)
    lab.result.check("the agent was killed, and runs again", another() > 0)
    lab.goes_on("the agent was killed")


def keys_that_end_programs_are_pressed(lab: Laboratory) -> None:
    """Ctrl-C, Ctrl-\\, Ctrl-Z and Ctrl-S at the laptop's keyboard: nothing happens."""
    before = lab.process("stiefel-server")
    lab.laptop.type_keys("ctrl-c", "ctrl-backslash", "ctrl-z", "ctrl-s")
    lab.goes_on("Ctrl-C at the laptop")
    lab.result.check("Ctrl-C ends nothing", lab.process("stiefel-server") == before)


def the_export_is_killed(lab: Laboratory) -> None:
    """SIGKILL to nbdkit: it is started again, and the target's kernel goes on."""
    another = lab.kill("stiefel-export")
    lab.goes_on("nbdkit was killed")
    lab.result.check("nbdkit was killed, and runs again", another() > 0)


def a_second_desktop_calls(lab: Laboratory, stick: Path) -> None:
    """It hears who has the disk, from an agent that had forgotten it once."""
    second = lab.watch.start_desktop(stick, name=DESKTOP2)
    lab.watch.until("second desktop", BEACON)
    second.wait_screen(BUSY, seconds=SCREEN_SECONDS * 3, why="that the laptop is in use")
    lab.result.check("a second desktop is told that the laptop is in use", True)
    lab.goes_on("a second desktop has called")
    second.stop()


def nobody_tries(lab: Laboratory) -> None:
    """Any user of the target: no way to the disk but the kernel's."""
    answer = json.loads(lab.target.ssh(f"{NOBODY} python3 -", script=program("nobody").read_text(), seconds=300))
    lab.result.facts["what nobody gained"] = answer["gained"]
    lab.result.check("as nobody in the target: no byte of the disk", not answer["gained"])


def run_crash(bench: Bench, stick: Path, report: Path) -> None:
    """One session in which everything on the laptop crashes once; about fifteen minutes without KVM.

    Raises:
        LabError: input and output stopped, somebody got at the disk, or the laptop did not come home.
    """
    laptop, result = bench.machine(LAPTOP), Result()
    with result.kept(report), Watch(bench) as watch:
        laptop.wait_ssh(seconds=LOGIN_SECONDS)
        before = ask(laptop)
        target = watch.boot(stick)
        lab = Laboratory(watch, target, result)
        lab.goes_on("the session's beginning")
        nobody_tries(lab)
        keys_that_end_programs_are_pressed(lab)
        the_agent_is_killed(lab)
        a_second_desktop_calls(lab, stick)
        the_export_is_killed(lab)
        lab.load.stop()
        written = write_something(target)
        target.press_power()
        watch.until("session", RELEASED, LAPTOP_LOGIN)
        target.wait_off(seconds=300, why="the target was told to shut down")
        laptop.wait_ssh(seconds=LOGIN_SECONDS)
        for what, is_so in laptop_checks(before, ask(laptop), written).items():
            result.check(what, is_so)
    result.verdict()


def crash(options: argparse.Namespace) -> None:
    """Let the laptop's programs crash in a session under load; needs `up --hub` and the ramdisk's feature debug."""
    run_crash(bench_of(options), options.stick, output(options) / "crash.json")


TRIALS = (Command("crash", crash),)
