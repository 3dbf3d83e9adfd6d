"""The lab's command line: switch machines on, look at them, log in, switch them off."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from .machines.bench import DESKTOP, LAPTOP, LIFETIME_SECONDS, LOGIN_SECONDS, NAMES, Bench
from .machines.cache import fingerprint
from .machines.image import INITRAMFS_TOOLS, laptop_image
from .machines.machine import Firmware
from .machines.shell import LabError, say, step
from .trials.trial import FIRMWARE, STICK, Argument, Trial, all_trials


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


MACHINE = Argument("machine", choices=NAMES)
INITRAMFS = Argument(
    "--initramfs", choices=INITRAMFS_TOOLS, default=INITRAMFS_TOOLS[0], help="what makes the laptop's initramfs"
)
DEEDS = ("power", "cut", "pause", "resume", "unplug", "plug", "unplug-drive")

Command = tuple[Callable[[argparse.Namespace], None], tuple[Argument, ...]]
COMMANDS: tuple[Command, ...] = (
    (image, (INITRAMFS,)),
    (
        up,
        (
            INITRAMFS,
            FIRMWARE,
            Argument("--disk", type=Path, help="start from this disk instead of the base image"),
            Argument("--hub", action="store_true", help="join the machines by a hub: room for more than two"),
            Argument("--lifetime", type=int, default=LIFETIME_SECONDS, help="seconds until each machine is ended"),
        ),
    ),
    (again, (FIRMWARE,)),
    (desktop, (STICK, FIRMWARE, Argument("--machine", choices=NAMES[1:], default=DESKTOP))),
    (
        wait,
        (
            MACHINE,
            Argument("pattern", help="a regular expression"),
            Argument("--seconds", type=float, default=LOGIN_SECONDS),
        ),
    ),
    (ssh, (MACHINE, Argument("command", nargs=argparse.REMAINDER))),
    (screenshot, (MACHINE, Argument("file", type=Path))),
    (press, (Argument("deed", choices=DEEDS), MACHINE)),
    (usb_drive, (Argument("file", type=Path),)),
    (shutdown, ()),
    (keep, (Argument("file", type=Path),)),
    (name_by_content, (Argument("paths", type=Path, nargs="+"),)),
    (sweep, ()),
    (down, ()),
)
"""What a hand can do to the machines; what else is done to them the trials say themselves."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar: the commands above, and one for each trial."""
    top = argparse.ArgumentParser(prog="lab", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    top.add_argument("--name", default="lab", help="the run: its files are in build/lab/NAME (default: lab)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for act, arguments in (*COMMANDS, *map(_as_command, all_trials())):
        one = commands.add_parser(act.__name__.replace("_", "-"), help=act.__doc__, description=act.__doc__)
        one.set_defaults(act=act)
        for argument in arguments:
            argument.add_to(one)
    return top


def _as_command(trial: Trial) -> Command:
    """A trial as a command: it is tried on the run that --name says."""

    def act(options: argparse.Namespace) -> None:
        trial.run(Bench.find(options.name), options)

    act.__name__, act.__doc__ = trial.name, trial.help
    return act, trial.arguments


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
