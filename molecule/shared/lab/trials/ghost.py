"""The ghost: a desktop that was given up comes back to life, with work that it never wrote. None of it may arrive.

A paused machine stands for a desktop that has lost its cable, or slept: its system knows nothing of the gap. It tries
to write, is told that its session is over, restarts, and asks for the disk as any desktop does.
"""

from __future__ import annotations

import argparse
import mmap
import os
from pathlib import Path

from ..machines.bench import DESKTOP, DESKTOP2, LAPTOP, LOGIN_SECONDS, Bench
from ..machines.machine import Machine
from ..machines.shell import step
from .command import Command, bench_of, output
from .facts import ask, laptop_checks, write_something
from .result import Result
from .watch import BEACON, LAPTOP_LOGIN, LOAD, RELEASED, Stage, Watch, event

DIRTY_MIB = 32
TUNNEL_PORT = 61572
TRIES = 20
"""WireGuard packets of the ghost after its return: more than what it sends to stay in touch, so it tries to write."""
OVER = Stage("told that its session is over", DESKTOP, event("session_over"), 300)
REFUSED = Stage("refused", DESKTOP, r"Another desktop is running from.*", 400)
ENDED = Stage("ended", LAPTOP, event("ended_here"), 120)


def leave_dirty(ghost: Machine, marker: bytes) -> None:
    """Let the ghost-to-be hold work that it has not written: it tries to half a minute later, by its own clock.

    That is after its return, for it is paused at once; and before it restarts, a minute after it was told.
    """
    ghost.put(marker * (DIRTY_MIB * (1 << 20) // len(marker)), "/dev/shm/work")
    ghost.ssh(
        "sudo sysctl -q vm.dirty_writeback_centisecs=0 vm.dirty_expire_centisecs=360000 "
        "vm.dirty_background_ratio=90 vm.dirty_ratio=95 && sync && "
        "cp /dev/shm/work ghost-work && sudo systemd-run --quiet --on-active=30 --timer-property=AccuracySec=1s sync",
        seconds=600,
    )


def holds(disk: Path, what: bytes) -> bool:
    """Whether a disk's file has these bytes anywhere; qcow2 keeps clusters as they were written."""
    with disk.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(what) >= 0


def run_ghost(bench: Bench, stick: Path, report: Path) -> None:
    """One session given up, a second one, and the first desktop's return; about eight minutes without KVM.

    Raises:
        LabError: something of the ghost reached the disk, the second session took harm, or it did not come so far.
    """
    laptop, ghost, result = bench.machine(LAPTOP), bench.machine(DESKTOP), Result()
    with result.kept(report), Watch(bench) as watch:
        laptop.wait_ssh(seconds=LOGIN_SECONDS)
        before = ask(laptop)
        watch.boot(stick)
        marker, own = (os.urandom(32).hex().encode() for _ in range(2))
        with step("leaving work unwritten, and pausing the first desktop"):
            leave_dirty(ghost, marker)
            ghost.pause()

        second = watch.start_desktop(stick, name=DESKTOP2)
        watch.until("second desktop", BEACON, REFUSED)
        laptop.type_keys("e", "y")
        watch.until("second desktop", ENDED, *LOAD)
        second.wait_ssh(seconds=LOGIN_SECONDS)
        second.put(own * 1000, "second-work")
        second.ssh("sync")
        # The first session has ended with a flush: what it wrote before the pause would be there by now.
        result.check("before the ghost's return none of its work is there", not holds(bench.disk(LAPTOP), marker))
        sent = bench.sent(DESKTOP, TUNNEL_PORT)
        watch.follow_desktop(ghost)
        ghost.resume()
        watch.until("the ghost", OVER, BEACON, REFUSED)
        tries = bench.sent(DESKTOP, TUNNEL_PORT) - sent
        result.facts["packets that the returned ghost sent"] = tries
        result.check("the ghost tries to write", tries >= TRIES)
        result.check("the second desktop works on", second.ssh("cat second-work").encode() == own * 1000)
        written = write_something(second)
        second.press_power()
        watch.until("second desktop", RELEASED, LAPTOP_LOGIN)
        laptop.wait_ssh(seconds=LOGIN_SECONDS)
        for what, is_so in laptop_checks(before, ask(laptop), written).items():
            result.check(what, is_so)
        laptop.ssh("sync")
        result.check("what the second desktop wrote is on the disk", holds(bench.disk(LAPTOP), own))
        result.check("not one byte of the ghost's work is", not holds(bench.disk(LAPTOP), marker))
    result.verdict()


def ghost(options: argparse.Namespace) -> None:
    """Give a paused desktop up, start a second one, and let the first come back; needs `up --hub`."""
    run_ghost(bench_of(options), options.stick, output(options) / "ghost.json")


TRIALS = (Command("ghost", ghost),)
