"""The lab's command line: switch machines on, look at them, log in, switch them off."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .attack import run_siege
from .bench import DESKTOP, LAPTOP, LIFETIME_SECONDS, LOGIN_SECONDS, NAMES, Bench
from .cache import REPOSITORY, fingerprint
from .everyday import run_everyday, run_revoked
from .ghost import run_ghost
from .image import INITRAMFS_TOOLS, laptop_image
from .machine import Firmware
from .report import MOMENTS, Report
from .session import Person, run_session, wait_for_moment
from .shell import LabError, say, step
from .throughput import run_throughput


def up(options: argparse.Namespace) -> None:
    """Start the laptop from a fresh disk and wait for an ssh login."""
    image = laptop_image(options.initramfs)
    bench = Bench.create(options.name, image, hub=options.hub, lifetime_seconds=options.lifetime)
    _await_login(bench, options, backing=options.disk)


def again(options: argparse.Namespace) -> None:
    """Switch the laptop on again, with the disk that it has."""
    _await_login(Bench.find(options.name), options)


def _await_login(bench: Bench, options: argparse.Namespace, backing: Path | None = None) -> None:
    with step("laptop: from power-on to an ssh login"):
        laptop = bench.start_laptop(backing=backing, firmware=Firmware(options.firmware))
        laptop.console().wait_for("login:", seconds=LOGIN_SECONDS, why="its login prompt")
        laptop.wait_ssh(seconds=LOGIN_SECONDS)
    say(f"log in: {' '.join(laptop.ssh_command)}")


def desktop(options: argparse.Namespace) -> None:
    """Start a machine without a disk from a stick's image."""
    bench = Bench.find(options.name)
    machine = bench.start_desktop(options.stick, Firmware(options.firmware), name=options.machine)
    say(f"{machine.name} is on; its console: tail -f {machine.log}")


def moment(options: argparse.Namespace) -> None:
    """Wait until a session that another process runs reaches a moment of its timeline."""
    print(wait_for_moment(_session_folder(options), options.moment))


def _session_folder(options: argparse.Namespace) -> Path:
    folder: Path = options.output or Bench.find(options.name).folder / "session"
    return folder.resolve()


def shutdown(options: argparse.Namespace) -> None:
    """Press the laptop's power button and wait until it is off."""
    laptop = Bench.find(options.name).machine(LAPTOP)
    laptop.press_power()
    laptop.wait_off(seconds=LOGIN_SECONDS, why="its power button was pressed")


def keep(options: argparse.Namespace) -> None:
    """Copy the disk of the laptop, which is off, into a file that `up --disk` starts from."""
    Bench.find(options.name).keep_disk(options.file)


def name_by_content(options: argparse.Namespace) -> None:
    """Print the fingerprint of files and folders: what was made from them can be named after it."""
    print(fingerprint(options.paths))


def session(options: argparse.Namespace) -> None:
    """Boot the desktop from the running laptop's disk, ask the target, and come back; leaves a report."""
    bench = Bench.find(options.name)
    folder = _session_folder(options)
    report = Report(options.firmware, bench.accelerator_name, options.encryption)
    person = Person(options.passphrase, options.allow)
    run_session(bench, folder, report, options.stick, person, hold=options.hold)
    say(f"report: {folder}/report.json")
    if options.hold:
        say(f"both machines keep running. Log in: {' '.join(bench.machine(DESKTOP).ssh_command)}")
        say(f"switch them off: lab --name {options.name} down")


def attack(options: argparse.Namespace) -> None:
    """Let a third machine attack laptop, client and server, with a session going on; needs `up --hub`."""
    run_siege(Bench.find(options.name), options.stick, options.keys, _session_folder(options) / "attack.json")


def ghost(options: argparse.Namespace) -> None:
    """Give a paused desktop up, start a second one, and let the first come back; needs `up --hub`."""
    run_ghost(Bench.find(options.name), options.stick, _session_folder(options) / "ghost.json")


def everyday(options: argparse.Namespace) -> None:
    """Let a laptop that is set up meet what it meets between sessions (see everyday.py for what it needs)."""
    run_everyday(Bench.find(options.name), options.stick, _session_folder(options) / "everyday.json")


def revoked(options: argparse.Namespace) -> None:
    """Let a desktop call with a stick that the laptop was told to forget; after `everyday`, with `up --hub`."""
    run_revoked(Bench.find(options.name), options.stick, _session_folder(options) / "revoked.json")


def throughput(options: argparse.Namespace) -> None:
    """Measure the disk over the cable against iperf3 in the same tunnel (see throughput.py for what it needs)."""
    run_throughput(Bench.find(options.name), options.stick, _session_folder(options) / "throughput.json")


def wait(options: argparse.Namespace) -> None:
    """Wait for a text on a console."""
    console = Bench.find(options.name).machine(options.machine).console()
    say(f"seen: {console.wait_for(options.pattern, seconds=options.seconds, why=options.pattern).text}")


def ssh(options: argparse.Namespace) -> None:
    """Log in, or run a command."""
    command = [*Bench.find(options.name).machine(options.machine).ssh_command, *options.command]
    os.execvp(command[0], command)


def screenshot(options: argparse.Namespace) -> None:
    """Save what a screen shows as a PNG."""
    Bench.find(options.name).machine(options.machine).screenshot(options.file.resolve())


def press(options: argparse.Namespace) -> None:
    """Do to a machine what a hand could do."""
    machine = Bench.find(options.name).machine(options.machine)
    deeds: dict[str, Callable[[], None]] = {
        "power": machine.press_power,
        "cut": machine.stop,
        "pause": machine.pause,
        "resume": machine.resume,
        "unplug": lambda: machine.plug(connected=False),
        "plug": lambda: machine.plug(connected=True),
        "unplug-drive": machine.unplug_usb_drive,
    }
    deeds[options.deed]()


def sweep(options: argparse.Namespace) -> None:
    """Clear up after a run that has ended, if there was one; refuse while its machines are on."""
    Bench.sweep(options.name)


def usb_drive(options: argparse.Namespace) -> None:
    """Plug a USB drive into the laptop whose content is a file."""
    Bench.find(options.name).machine(LAPTOP).plug_usb_drive(options.file.resolve())


def down(options: argparse.Namespace) -> None:
    """Switch everything off; logs, screenshots and the laptop's disk stay."""
    Bench.find(options.name).down()


def image(options: argparse.Namespace) -> None:
    """Build the laptop's base image if it is not there, and print its folder."""
    print(laptop_image(options.initramfs).folder)


def parser() -> argparse.ArgumentParser:
    """The command line's grammar."""
    top = argparse.ArgumentParser(prog="lab", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    top.add_argument("--name", default="lab", help="the run: its files are in build/lab/NAME (default: lab)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    def command(act: Callable[[argparse.Namespace], None], *arguments: str) -> argparse.ArgumentParser:
        """Add a command named after its function, with those of the common arguments that it takes."""
        one = commands.add_parser(act.__name__.replace("_", "-"), help=act.__doc__, description=act.__doc__)
        one.set_defaults(act=act)
        for argument in arguments:
            one.add_argument(argument, **COMMON[argument])
        return one

    command(image, "--initramfs")
    first = command(up, "--initramfs", "--firmware")
    first.add_argument("--disk", type=Path, help="start from this disk instead of the base image")
    first.add_argument("--hub", action="store_true", help="join the machines by a hub: room for more than two")
    first.add_argument("--lifetime", type=int, default=LIFETIME_SECONDS, help="seconds until each machine is ended")
    command(again, "--firmware")
    runs = command(session, "--stick", "--firmware", "--output")
    runs.add_argument("--encryption", choices=["wireguard", "none"], default="wireguard", help="what to expect")
    runs.add_argument("--passphrase", default="", help="typed when the stick asks: lower-case letters, digits, spaces")
    runs.add_argument("--allow", action="store_true", help="allow the desktop to have the disk when the laptop asks")
    runs.add_argument("--hold", action="store_true", help="stay in the target, leave both machines running")
    besieges = command(attack, "--stick", "--output")
    besieges.add_argument("--keys", type=Path, required=True, help="the key file, whose keys must not be on the cable")
    command(ghost, "--stick", "--output")
    command(everyday, "--stick", "--output")
    command(revoked, "--stick", "--output")
    command(throughput, "--stick", "--output")
    starts = command(desktop, "--stick", "--firmware")
    starts.add_argument("--machine", choices=NAMES[1:], default=DESKTOP)
    waits = command(wait, "machine")
    waits.add_argument("pattern", help="a regular expression")
    waits.add_argument("--seconds", type=float, default=LOGIN_SECONDS)
    command(ssh, "machine").add_argument("command", nargs=argparse.REMAINDER)
    command(screenshot, "machine").add_argument("file", type=Path)
    presses = command(press)
    presses.add_argument("deed", choices=["power", "cut", "pause", "resume", "unplug", "plug", "unplug-drive"])
    presses.add_argument("machine", choices=NAMES)
    command(moment, "--output").add_argument("moment", choices=MOMENTS)
    command(usb_drive).add_argument("file", type=Path)
    command(shutdown)
    command(keep).add_argument("file", type=Path)
    command(name_by_content).add_argument("paths", type=Path, nargs="+")
    command(sweep)
    command(down)
    return top


COMMON: dict[str, dict[str, Any]] = {
    "machine": {"choices": NAMES},
    "--initramfs": {
        "choices": INITRAMFS_TOOLS,
        "default": INITRAMFS_TOOLS[0],
        "help": "what makes the laptop's initramfs",
    },
    "--output": {"type": Path, "help": "folder for report and screenshots (default: build/lab/NAME/session)"},
    "--firmware": {"choices": [one.value for one in Firmware], "default": Firmware.UEFI.value},
    "--stick": {
        "type": Path,
        "default": REPOSITORY / "build" / "stiefel-usb.img",
        "help": "image of the USB drive",
    },
}


def main() -> int:
    """Run one command; an error is one message and exit code 1."""
    options = parser().parse_args()
    try:
        options.act(options)
    except LabError as error:
        say(f"error: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
