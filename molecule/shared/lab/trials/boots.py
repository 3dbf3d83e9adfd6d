"""How long a target takes to boot when what it will read is read ahead, against one that does without, in turn.

A figure, not a test: it depends on the machine. Needs a laptop that is set up.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from ..machines.bench import DESKTOP, LAPTOP, LOGIN_SECONDS, Bench
from ..machines.machine import Machine
from ..machines.shell import say, step
from .command import OUTPUT, STICK, Argument, Command, bench_of, output
from .ghost import ENDED
from .watch import BEACON, LOAD, Watch

ROUNDS = 5
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
class Boot:
    """Seconds since the target's kernel began, but for the first: since the desktop's power-on."""

    kernel: float
    attached: float
    multi_user: float

    @classmethod
    def of(cls, target: Machine, kernel: float) -> Boot:
        """Ask a target that is up."""
        attached = json.loads(target.ssh("cat /run/stiefel/link.json"))["attached"]
        return cls(round(kernel, 2), round(attached, 2), up(target))


def up(machine: Machine) -> float:
    """Wait until a machine is up; returns when its login prompt could be there, in seconds since its kernel began."""
    return round(int(machine.ssh(UP, seconds=LOGIN_SECONDS)) / 1e6, 2)


def boot_again(watch: Watch, stick: Path, prepare: str) -> Boot:
    """Prepare the target's disk, end the session, and boot the desktop anew, without a start of the laptop's system."""
    desktop = watch.bench.machine(DESKTOP)
    desktop.ssh("sudo sh", script=f"{prepare}; {CLEAN}", seconds=600)
    desktop.stop()
    watch.laptop.type_keys("e", "y")
    watch.until("laptop", ENDED)
    power_on = time.monotonic()
    desktop = watch.start_desktop(stick)
    moments = watch.until("session", BEACON, *LOAD)
    desktop.wait_ssh(seconds=LOGIN_SECONDS)
    return Boot.of(desktop, moments["target_kernel"] - power_on)


def run_boots(bench: Bench, stick: Path, report: Path, rounds: int) -> None:
    """Let a boot note what it reads, then boot with and without that in turn; leaves a report."""
    bench.machine(LAPTOP).wait_ssh(seconds=LOGIN_SECONDS)
    local = up(bench.machine(LAPTOP))
    found: dict[str, list[Boot]] = {"ahead": [], "without": []}
    report.parent.mkdir(parents=True, exist_ok=True)
    with Watch(bench) as watch:
        target = watch.boot(stick)
        with step("noting what the boot reads"):
            target.ssh("sudo sh", script=NOTED, seconds=600)
        for _ in range(rounds):
            for way, prepare in (("without", WITHOUT), ("ahead", AHEAD)):
                found[way].append(boot_again(watch, stick, prepare))
                say(f"{way}: {found[way][-1]} {target.ssh('sudo journalctl -k -b -o cat -g event=read_ahead')}")
                figures = {"laptop": local, **rounds_of(found)}
                report.write_text(json.dumps(figures, indent=2) + "\n")
    say(f"medians: {medians(found)}; the laptop itself, once: {local} s")


def rounds_of(found: dict[str, list[Boot]]) -> dict[str, list[dict[str, float]]]:
    """Return every sample."""
    return {way: [asdict(boot) for boot in boots] for way, boots in found.items()}


def medians(found: dict[str, list[Boot]]) -> dict[str, float]:
    """Return the medians of kernel entry to login, and of power-on to kernel entry with the laptop serving already."""
    to_login = {way: round(statistics.median(boot.multi_user for boot in boots), 2) for way, boots in found.items()}
    to_kernel = statistics.median(boot.kernel for boots in found.values() for boot in boots)
    return to_login | {"power_on_to_kernel": round(to_kernel, 2)}


def boots(options: argparse.Namespace) -> None:
    """Measure how long a target boots, with its reads ahead of it and without (see boots.py)."""
    run_boots(bench_of(options), options.stick, output(options) / "boots.json", options.rounds)


TRIALS = (
    Command(
        "boots", boots, (STICK, OUTPUT, Argument("--rounds", type=int, default=ROUNDS, help="how many of each kind"))
    ),
)
