"""What a laptop that is set up meets between sessions: kernels come and go, adapters are plugged in, desktops call.

Needs a laptop on a hub whose triggers are MAC and QEMU's usb-net, with a countdown long enough to say no: see
molecule/everyday.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..machines.bench import DESKTOP, LAPTOP, LOGIN_SECONDS, Bench
from ..machines.console import Console
from ..machines.machine import Machine
from ..machines.shell import step
from .command import Command, bench_of, output
from .guest import program
from .result import Result
from .watch import BEACON, CALLED, LAPTOP_LOGIN, MOVE, Stage, Watch, event

MAC = "52:54:00:12:34:56"
KERNEL_SECONDS = 1800
OTHER_KERNEL = "linux-image-cloud-amd64"
DESKTOP_TOOLS = ("dbus-user-session", "libnotify-bin", "python3-dbus", "python3-gi")
ON_THE_SCREEN = "sudo cat /dev/vcs1 | tr -d '[:space:]' | grep -q"
"""Does a text (without spaces: the terminal breaks lines) stand on the first virtual terminal? See vcs(4)."""
DISCOVERY_PORT = 61570
BEACONS = 20
QUESTION = "wants to run from this"
INHIBIT = (
    "sudo systemd-run --quiet --unit=stiefel-inhibit systemd-inhibit --what=shutdown --who=backup --why='not done yet' "
    "sleep infinity"
)

LOADED = "until grep -qx {} /sys/kernel/kexec_loaded; do sleep 1; done"
"""Wait until the server is loaded (1), or nothing is (0): a reboot would start it."""


def laptop_says(name: str) -> Stage:
    """An event of the laptop's service."""
    return Stage(name, LAPTOP, event(name), 120)


def kernels_come_and_go(result: Result, laptop: Machine) -> None:
    """Install another kernel and remove it: the target's initrd comes and goes with it, the laptop's own stays."""
    own = "sha256sum /boot/initrd.img-$(uname -r)"
    targets = "sudo ls /var/lib/stiefel/target"
    before, targets_before = laptop.ssh(own), set(laptop.ssh(targets).split())
    with step("installing another kernel on the laptop"):
        laptop.install(OTHER_KERNEL, seconds=KERNEL_SECONDS)
    version = laptop.ssh("ls /boot | sed -n s/^vmlinuz-//p | grep cloud").strip()
    result.facts["the other kernel"] = version
    result.check("a new kernel gets its target's initrd", f"initrd.img-{version}" in laptop.ssh(targets).split())
    with step("removing it"):
        purge = f"sudo DEBIAN_FRONTEND=noninteractive apt-get -qy purge {OTHER_KERNEL} linux-image-{version}"
        laptop.ssh(purge, seconds=KERNEL_SECONDS)
    left = set(laptop.ssh(targets).split())
    result.check("with the kernel its target's initrd goes", not any(version in name for name in left))
    result.check("those of the other kernels stay", targets_before <= left)
    result.check("the laptop's own initrd is what it was", laptop.ssh(own) == before)


def adapters_are_plugged_in(watch: Watch) -> None:
    """Let the adapters that are set as triggers appear: each time the laptop asks, and is told no."""
    laptop = watch.laptop
    laptop.ssh(f"sudo ip link add stiefeltest address {MAC} type dummy")
    watch.until("an adapter with the MAC address", laptop_says("plugged"))
    laptop.ssh("sudo ip link delete stiefeltest && sudo stiefel-agent cancel")
    watch.until("told no", laptop_says("declined"))
    laptop.plug_usb_adapter("52:54:00:00:02:01")
    watch.until("an adapter with the USB id", laptop_says("plugged"))
    laptop.ssh("sudo stiefel-agent cancel")
    watch.until("told no", laptop_says("declined"))


@contextmanager
def listening(laptop: Machine, name: str, command: str) -> Iterator[Console]:
    """Follow what a program of the laptop's owner shows; it says "listening" first."""
    log = laptop.folder / f"{name}.log"
    ssh, *options = laptop.ssh_command
    with log.open("wb") as output:
        terminal = subprocess.Popen([ssh, "-tt", *options, command], stdin=subprocess.PIPE, stdout=output)
    console = Console(name, log, terminal.pid)
    try:
        console.wait_for("listening", seconds=120, why="its start")
        yield console
    finally:
        console.close()
        terminal.terminate()
        terminal.wait()


def a_desktop_is_refused(watch: Watch, stick: Path) -> None:
    """A desktop calls: whoever is logged in is told, on terminal and desktop, and can say no."""
    laptop = watch.laptop
    with step("installing what a desktop environment brings"):
        laptop.install(*DESKTOP_TOOLS)
    laptop.ssh("systemctl --user daemon-reload && systemctl --user start dbus.socket")
    laptop.put(program("notifications").read_bytes(), "notifications.py")
    laptop.type_line("anna")
    laptop.ssh(f"until {ON_THE_SCREEN} Password:; do sleep 1; done")
    laptop.type_line("stiefel")
    laptop.ssh("until loginctl list-sessions | grep -q tty1; do sleep 1; done")
    with (
        listening(laptop, "notifications", "python3 notifications.py") as notifications,
        listening(laptop, "terminal", "echo listening; cat") as terminal,
    ):
        laptop.ssh("sudo systemctl restart stiefel-autokexec")
        watch.start_desktop(stick)
        watch.until("a desktop", BEACON, CALLED)
        notifications.wait_for(QUESTION, seconds=120, why="the question on a desktop")
        terminal.wait_for(QUESTION, seconds=120, why="the question in a terminal")
        laptop.ssh(f"until {ON_THE_SCREEN} {QUESTION.replace(' ', '')}; do sleep 1; done")
        laptop.ssh(LOADED.format(1))
        laptop.ssh("sudo stiefel-agent cancel")
        watch.until("told no", laptop_says("declined"))
        laptop.ssh(LOADED.format(0))


def a_desktop_goes_away(watch: Watch, desktop: Machine) -> None:
    """Something must not be interrupted: the desktop waits, then its owner goes away; the laptop stays."""
    watch.laptop.ssh(INHIBIT)
    watch.laptop.ssh("sudo systemctl restart stiefel-autokexec")
    watch.until("a desktop", CALLED, laptop_says("inhibited"))
    desktop.stop()
    watch.until("the desktop is off", laptop_says("gone"))
    watch.laptop.ssh(LOADED.format(0))


def the_laptop_goes_and_comes_home(watch: Watch, stick: Path) -> None:
    """What must not be interrupted is done: the laptop moves, finds nobody, and is sent home by a key."""
    desktop = watch.start_desktop(stick)
    watch.until("a desktop", BEACON, CALLED, laptop_says("inhibited"))
    watch.laptop.ssh("sudo systemctl stop stiefel-inhibit")
    triggered, server_ready = MOVE
    watch.until("free to go", triggered)
    desktop.stop()
    watch.until("nobody there", server_ready)
    watch.laptop.type_keys("r")
    watch.until("sent home", laptop_says("going_home"), LAPTOP_LOGIN)
    watch.laptop.wait_ssh(seconds=LOGIN_SECONDS)


def run_revoked(bench: Bench, stick: Path, report: Path) -> None:
    """Let a desktop call with a stick that the laptop was told to forget, after `run_everyday` with the same stick.

    Raises:
        LabError: somebody answered, or the desktop did not call.
    """
    result = Result()
    with result.kept(report), Watch(bench) as watch:
        watch.follow_laptop()
        answers = bench.sent(LAPTOP, DISCOVERY_PORT, to=DESKTOP)
        result.check("before, the stick was answered", answers > 0)
        watch.start_desktop(stick)
        watch.until("a desktop with a revoked stick", BEACON)
        result.facts["its beacons"] = bench.wait_sent(DESKTOP, DISCOVERY_PORT, BEACONS, seconds=120)
        result.check("now nobody answers it", bench.sent(LAPTOP, DISCOVERY_PORT, to=DESKTOP) == answers)
    result.verdict()


def run_everyday(bench: Bench, stick: Path, report: Path) -> None:
    """All of it, about twenty minutes without KVM; leaves a report.

    Raises:
        LabError: something that must happen did not, or a check does not hold.
    """
    result = Result()
    with result.kept(report), Watch(bench) as watch:
        watch.follow_laptop()
        adapters_are_plugged_in(watch)
        a_desktop_is_refused(watch, stick)
        a_desktop_goes_away(watch, bench.machine(DESKTOP))
        the_laptop_goes_and_comes_home(watch, stick)
        kernels_come_and_go(result, watch.laptop)
    result.verdict()


def everyday(options: argparse.Namespace) -> None:
    """Let a laptop that is set up meet what it meets between sessions (see everyday.py for what it needs)."""
    run_everyday(bench_of(options), options.stick, output(options) / "everyday.json")


def revoked(options: argparse.Namespace) -> None:
    """Let a desktop call with a stick that the laptop was told to forget; after `everyday`, with `up --hub`."""
    run_revoked(bench_of(options), options.stick, output(options) / "revoked.json")


TRIALS = (Command("everyday", everyday), Command("revoked", revoked))
