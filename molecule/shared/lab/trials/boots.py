"""How long each part of a session takes, round by round: the bench's rows P3 to P5, and what reading ahead gives.

A round begins with a laptop that is up. A desktop calls it, which is the move (P5), and boots from it: the target's
start. It boots once more while the laptop serves already, which is the way from power-on (P3), this time without reads
ahead. Then the target shuts down, and the laptop starts by itself: what the target (P4) and the move are compared with.

Figures, not a test: they depend on the machine. Needs a laptop that is set up.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from ..machines.bench import DESKTOP, LAPTOP, LOGIN_SECONDS, Bench
from ..machines.machine import Machine
from ..machines.shell import say, step
from .command import OUTPUT, STICK, Argument, Command, bench_of, output
from .ghost import ENDED
from .watch import BEACON, LAPTOP_LOGIN, LOAD, RELEASED, Stage, Watch

ROUNDS = 5
RESET = Stage("reset", LAPTOP, r"reboot: (Restarting|machine restart)", 120)
"""The last word of a kernel before its machine begins anew (kernel/reboot.c)."""
LIST = "/var/lib/stiefel/reads/$(uname -r)"
KEPT = "/root/reads"
NOTED = f"until cp {LIST} {KEPT} 2>/dev/null; do sleep 1; done"
AHEAD = f"cp {KEPT} {LIST}"
WITHOUT = f"""echo '{{"version":1,"disk":[],"files":[]}}' > {LIST}"""
"""A list that leads to no read, and is no reason to make another one."""
CLEAN = "sync; echo u > /proc/sysrq-trigger; until grep -q ' / ext4 ro' /proc/mounts; do sleep 1; done"
"""The filesystem is as after a shutdown, and the laptop need not restart for the next boot."""
UP = "systemctl is-system-running --wait >/dev/null; systemctl show -P ActiveEnterTimestampMonotonic multi-user.target"


@dataclass(frozen=True)
class Round:
    """What one round found, in seconds; a start is from the kernel's begin until a login prompt could be there."""

    load: float
    """No seconds: this machine's load as the round began."""
    move: float
    """From the laptop's trigger until it is ready to serve."""
    target: float
    """The target's start."""
    power_on: float
    """From the desktop's power-on until the laptop's kernel begins on it, the laptop being ready before."""
    without: float
    """The target's start when nothing is read ahead."""
    restart: float
    """From the laptop's reset until its login prompt, firmware included."""
    laptop: float
    """The laptop's own start."""


def start_of(machine: Machine) -> float:
    """Wait until all of a machine's units are started; returns its start in seconds."""
    machine.wait_ssh(seconds=LOGIN_SECONDS)
    return int(machine.ssh(UP, seconds=LOGIN_SECONDS)) / 1e6


def boot_again(watch: Watch, stick: Path, prepare: str) -> float:
    """Prepare the target's disk, end the session, and boot the desktop anew; returns the seconds from its power-on."""
    desktop = watch.bench.machine(DESKTOP)
    desktop.ssh("sudo sh", script=f"{prepare}; {CLEAN}", seconds=600)
    desktop.stop()
    watch.laptop.type_keys("e", "y")
    watch.until("laptop", ENDED)
    power_on = time.monotonic()
    watch.start_desktop(stick)
    return watch.until("session", BEACON, *LOAD)["target_kernel"] - power_on


def give_back(watch: Watch) -> float:
    """Shut the target down; returns the seconds from the laptop's reset until its own login prompt."""
    desktop = watch.bench.machine(DESKTOP)
    desktop.press_power()
    watch.until("session", RELEASED)
    desktop.wait_off(seconds=300, why="the target was told to shut down")
    moments = watch.until("session", RESET, LAPTOP_LOGIN)
    return moments["laptop_login"] - moments["reset"]


def one_round(watch: Watch, stick: Path) -> Round:
    """A desktop boots twice; the laptop is up before and after."""
    load = os.getloadavg()[0]
    desktop = watch.bench.machine(DESKTOP)
    moments = watch.session(stick)
    move = moments["server_ready"] - moments["triggered"]
    target = start_of(desktop)
    power_on = boot_again(watch, stick, WITHOUT)
    without = start_of(desktop)
    desktop.ssh("sudo sh", script=AHEAD)
    restart = give_back(watch)
    found = (load, move, target, power_on, without, restart, start_of(watch.laptop))
    return Round(*(round(value, 2) for value in found))


def run_boots(bench: Bench, stick: Path, report: Path, rounds: int) -> None:
    """Let a boot note what it reads, then run the rounds; leaves a report, round by round."""
    found: list[Round] = []
    report.parent.mkdir(parents=True, exist_ok=True)
    with Watch(bench) as watch:
        target = watch.boot(stick)
        with step("noting what the boot reads"):
            target.ssh("sudo sh", script=NOTED, seconds=600)
        give_back(watch)
        for number in range(1, rounds + 1):
            found.append(one_round(watch, stick))
            say(f"round {number} of {rounds}: {found[-1]}")
            report.write_text(json.dumps([asdict(one) for one in found], indent=1) + "\n")
    say(f"medians: {medians(found)}")


def medians(found: list[Round]) -> dict[str, float]:
    """Return the median of each figure."""
    names = [field.name for field in fields(Round)]
    return {name: round(statistics.median(getattr(one, name) for one in found), 2) for name in names}


def boots(options: argparse.Namespace) -> None:
    """Measure how long each part of a session takes, with reads ahead and without (see boots.py)."""
    run_boots(bench_of(options), options.stick, output(options) / "boots.json", options.rounds)


TRIALS = (Command("boots", boots, (STICK, OUTPUT, Argument("--rounds", type=int, default=ROUNDS, help="how many"))),)
