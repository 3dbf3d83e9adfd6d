"""The ghost: a desktop that was given up comes back to life, with work that it never wrote. None of it may arrive.

A paused machine stands for a desktop that has lost its cable, or slept: its system knows nothing of the gap.
"""

from __future__ import annotations

import json
import mmap
import os
import time
from pathlib import Path

from .attack import Result, mac, raw
from .bench import DESKTOP, DESKTOP2, LAPTOP, LOGIN_SECONDS, Bench
from .capture import frames
from .console import Console
from .facts import ask, laptop_checks, write_something
from .machine import Firmware, Machine
from .session import BOOT, RETURN, Stage, event, follow, follow_aloud
from .shell import LabError, say, step

DIRTY_MIB = 32
TRIES = 50
"""WireGuard packets of the ghost after its return: more than what it sends to stay in touch, so it tries to write."""
TRIES_SECONDS = 300.0
REFUSED = Stage("refused", DESKTOP, r"\[stiefel\] Another desktop is running.*", 400)
ENDED = Stage("ended", LAPTOP, event("ended_here"), 120)


def leave_dirty(ghost: Machine, marker: bytes) -> None:
    """Let the ghost-to-be hold work that it has not written: it tries to a minute later, by its own clock.

    That is after its return, for it is paused at once.
    """
    ghost.put(marker * (DIRTY_MIB * (1 << 20) // len(marker)), "/dev/shm/work")
    ghost.ssh(
        "sudo sysctl -q vm.dirty_writeback_centisecs=0 vm.dirty_expire_centisecs=360000 "
        "vm.dirty_background_ratio=90 vm.dirty_ratio=95 && sync && "
        "cp /dev/shm/work ghost-work && sudo systemd-run --quiet --on-active=60 --timer-property=AccuracySec=1s sync",
        seconds=600,
    )


def packets_of(bench: Bench, name: str) -> int:
    """How many frames a machine has sent to the tunnel's port so far."""
    sender, port = raw(mac(name)), (61572).to_bytes(2, "big")
    return sum(1 for frame in frames(bench.capture) if frame[6:12] == sender and frame[56:58] == port)


def wait_for_tries(bench: Bench, before: int) -> int:
    """Wait until the returned ghost has sent some packets into the tunnel that it believes in; returns how many."""
    start = time.monotonic()
    while (sent := packets_of(bench, DESKTOP) - before) < TRIES:
        if time.monotonic() - start > TRIES_SECONDS:
            raise LabError(f"the ghost sent only {sent} packets in {TRIES_SECONDS:.0f} s: the test proves nothing")
        say(f"the ghost has sent {sent} packets (of {TRIES}) after {time.monotonic() - start:.0f} s")
        time.sleep(5)  # the hub tells nobody
    return sent


def holds(disk: Path, what: bytes) -> bool:
    """Whether a disk's file has these bytes anywhere; qcow2 keeps clusters as they were written."""
    with disk.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(what) >= 0


def run_ghost(bench: Bench, stick: Path, report: Path) -> None:
    """One session given up, a second one, and the first desktop's return; about eight minutes without KVM.

    Raises:
        LabError: something of the ghost reached the disk, the second session took harm, or it did not come so far.
    """
    result = Result()
    laptop, ghost = bench.machine(LAPTOP), bench.machine(DESKTOP)
    consoles: dict[str, Console] = {}
    try:
        laptop.wait_ssh(seconds=LOGIN_SECONDS)
        before = ask(laptop)
        consoles[LAPTOP] = laptop.console(from_end=True)
        bench.start_desktop(stick, Firmware.UEFI)
        consoles[DESKTOP] = ghost.console()
        follow_aloud("first desktop", BOOT, consoles)
        ghost.wait_ssh(seconds=LOGIN_SECONDS)
        marker, own = (os.urandom(32).hex().encode() for _ in range(2))
        with step("leaving work unwritten, and pausing the first desktop"):
            leave_dirty(ghost, marker)
            ghost.pause()

        second = bench.start_desktop(stick, Firmware.UEFI, name=DESKTOP2)
        first_console, consoles[DESKTOP] = consoles[DESKTOP], second.console()
        try:
            for stage, seen in follow([BOOT[0], REFUSED], consoles):
                say(f"second desktop: {stage.moment}: {seen.text.strip()}")
            laptop.type_keys("e", "y")
            follow_aloud("second desktop", [ENDED, *BOOT[3:]], consoles)
            second.wait_ssh(seconds=LOGIN_SECONDS)
            second.put(own * 1000, "second-work")
            second.ssh("sync")
            # The first session has ended with a flush: what it wrote before the pause would be there by now.
            result.checks["before the ghost's return none of its work is there"] = not holds(bench.disk(LAPTOP), marker)
            tried = packets_of(bench, DESKTOP)
            ghost.resume()
            result.facts["packets that the returned ghost sent"] = wait_for_tries(bench, tried)
            result.checks["the second desktop works on"] = second.ssh("cat second-work").encode() == own * 1000
            written = write_something(second)
            second.press_power()
            follow_aloud("second desktop", RETURN, consoles)
        finally:
            first_console.close()
        laptop.wait_ssh(seconds=LOGIN_SECONDS)
        result.checks |= laptop_checks(before, ask(laptop), written)
        laptop.ssh("sync")
        result.checks["what the second desktop wrote is on the disk"] = holds(bench.disk(LAPTOP), own)
        result.checks["not one byte of the ghost's work is"] = not holds(bench.disk(LAPTOP), marker)
    except LabError:
        bench.tell_last_lines()
        raise
    finally:
        for console in consoles.values():
            console.close()
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps({"checks": result.checks, "facts": result.facts}, indent=2) + "\n")
    result.verdict()
