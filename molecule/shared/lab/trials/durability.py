"""A laptop loses its power in a session: what its target had flushed is on its disk, which has a volatile write cache.

The laptop becomes the server by its boot loader here, and its desktop's clock is hours off: see molecule/durability.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from ..machines.bench import DESKTOP, LAPTOP, LOGIN_SECONDS, Bench, Pc
from ..machines.cache import REPOSITORY
from ..machines.machine import Firmware, Machine
from ..machines.shell import say
from .command import Command, bench_of, output
from .guest import program
from .result import Result
from .watch import BEACON, LOAD, MOVE, Stage, Watch, event

SHOWN = REPOSITORY / "build" / "faults" / "durability.json"
FOLDER, PROGRESS = "/var/lib/stiefel-flushes", "/run/stiefel-flushes"
CLOCK_AHEAD_SECONDS = 7200
"""As a desktop has it whose other system keeps local time."""
RIGHT_SECONDS = 300
FLUSHES = 50
"""How many must have come before the power goes, and after the clock was set back."""
FLUSH_SECONDS = 600
OVER = Stage("session_over", DESKTOP, event("session_over"), LOGIN_SECONDS)
NEW_KEYS_SECONDS = 900
HANDSHAKE = "sudo ip netns exec stiefel wg show stiefeltunnel latest-handshakes | cut -f2"
"""In the target's own time. WireGuard makes new keys every two minutes, and its messages carry the time."""


class Flushes:
    """A target that flushes block after block."""

    def __init__(self, target: Machine) -> None:
        self._target = target
        target.put(program("flushes").read_bytes(), "flushes.py")
        target.ssh(f"sudo systemd-run --quiet --unit=stiefel-flushes python3 $PWD/flushes.py write {FOLDER} {PROGRESS}")

    def more(self) -> int:
        """Wait until some more were flushed; return how many are. Raises LabError: they were not."""
        wanted = self.done() + FLUSHES
        self._target.ssh(f"until [ $(cat {PROGRESS} || echo 0) -ge {wanted} ]; do sleep 1; done", seconds=FLUSH_SECONDS)
        return self.done()

    def done(self) -> int:
        """Return how many blocks were flushed."""
        return int(self._target.ssh(f"cat {PROGRESS} 2>/dev/null || echo 0"))


def the_clock_is_set_back(target: Machine, flushes: Flushes, result: Result) -> None:
    """An hour back, past WireGuard's next keys: the tunnel's other end must begin them."""
    before = int(target.ssh(HANDSHAKE))
    target.ssh("sudo timedatectl set-ntp false; sudo date -s '-1 hour'")
    target.ssh(f"until [ $({HANDSHAKE}) -lt {before} ]; do sleep 1; done", seconds=NEW_KEYS_SECONDS)
    result.facts["flushed after the clock was set back"] = flushes.more()
    result.check("with the target's clock set back an hour, and new keys, input and output go on", True)


def look_at_the_beginning(target: Machine, result: Result) -> None:
    """How it came here: by the boot loader, and with the laptop's time."""
    off = int(target.ssh("date +%s")) - time.time()
    result.facts["seconds by which the target's clock is ahead"] = round(off)
    result.check("the target has the laptop's time", abs(off) < RIGHT_SECONDS)
    result.check("GRUB has started the server", target.ssh("sudo ls /boot/grub/stiefel").split() != [])
    result.check("and has forgotten it", "next_entry=stiefel" not in target.ssh("sudo grub-editenv list"))


def look_at_the_laptop(laptop: Machine, flushed: int, result: Result) -> None:
    """What is on its disk when it is back."""
    laptop.put(program("flushes").read_bytes(), "flushes.py")
    found = int(laptop.ssh(f"sudo python3 flushes.py count {FOLDER}"))
    result.facts["blocks flushed, and found"] = [flushed, found]
    result.check("every flushed byte is there", found >= flushed)
    result.check("its file system has no error", not laptop.ssh("sudo dmesg | grep -i 'ext4-fs error' || true"))
    result.check("the boot loader's entry is gone", laptop.ssh("sudo ls /boot/grub/stiefel || true").split() == [])


def run_durability(bench: Bench, stick: Path, report: Path) -> None:
    """One session and a power cut, about a quarter of an hour without KVM.

    Raises:
        LabError: something flushed is not there, or the desktop was not told that its session is over.
    """
    laptop, result = bench.machine(LAPTOP), Result()
    with result.kept(report), Watch(bench) as watch:
        watch.follow_laptop()
        desktop = watch.start_desktop(stick, Firmware.UEFI, pc=Pc(clock_ahead=CLOCK_AHEAD_SECONDS))
        watch.until("session", BEACON, *MOVE, *LOAD)
        desktop.wait_ssh(seconds=LOGIN_SECONDS)
        look_at_the_beginning(desktop, result)
        flushes = Flushes(desktop)
        the_clock_is_set_back(desktop, flushes, result)
        flushed = flushes.more()
        laptop.cut_power()
        say(f"the laptop's power is gone; {flushed} blocks were flushed")
        bench.start_laptop(volatile=True)
        watch.until("session", OVER)  # from the laptop's own system
        desktop.stop()  # it would begin the next session
        laptop.wait_ssh(seconds=LOGIN_SECONDS)
        look_at_the_laptop(laptop, flushed, result)
    result.verdict()
    keep_figures(result, flushed)


def keep_figures(result: Result, flushed: int) -> None:
    """Keep for docs/faults.md what was shown."""
    off = result.facts["seconds by which the target's clock is ahead"]
    figures = {
        "F13": f"{flushed} flushed blocks found after a power cut",
        "F24": "GRUB started the server once",
        "F36": "told from the laptop's own system",
        "F44": f"{off} s off, on a desktop that is 2 h ahead",
    }
    seen = {"test": "molecule/durability", "outcome": "passed"}
    SHOWN.parent.mkdir(parents=True, exist_ok=True)
    SHOWN.write_text(
        json.dumps([{"row": row, "figure": text} | seen for row, text in figures.items()], indent=2) + "\n"
    )


def durability(options: argparse.Namespace) -> None:
    """Cut the laptop's power in a session and see that what was flushed is there; needs `up --volatile`."""
    run_durability(bench_of(options), options.stick, output(options) / "durability.json")


TRIALS = (Command("durability", durability),)
