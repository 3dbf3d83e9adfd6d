"""The lab's command line: switch machines on, look at them, log in, switch them off."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from .machines.bench import DESKTOP, LAPTOP, LIFETIME_SECONDS, LOGIN_SECONDS, NAMES, PROCESSORS, Bench, Pc
from .machines.cache import fingerprint
from .machines.layout import LAYOUTS, PLAIN
from .machines.layout_image import image_of
from .machines.machine import Firmware
from .machines.shell import LabError, say, step
from .machines.strip import strip as session_strip
from .machines.unlock import unlock
from .trials.command import ADAPTER, FIRMWARE, STICK, Argument, Command, all_trials


def up(options: argparse.Namespace) -> None:
    """Start the laptop from a fresh disk and wait for an ssh login."""
    image = image_of(LAYOUTS[options.layout])
    wanted = {"lifetime_seconds": options.lifetime, "processors": options.processors}
    bench = Bench.create(options.name, image, hub=options.hub, **wanted)
    _await_login(bench, options, backing=options.disk)


def again(options: argparse.Namespace) -> None:
    """Switch the laptop on again, with the disk that it has."""
    _await_login(Bench.find(options.name), options)


def _await_login(bench: Bench, options: argparse.Namespace, backing: Path | None = None) -> None:
    with step("laptop: from power-on to an ssh login"):
        firmware = Firmware(options.firmware)
        laptop = bench.start_laptop(backing=backing, firmware=firmware, volatile=options.volatile)
        console = laptop.console()
        unlock(laptop, bench.image.hardware.typed_at_home)
        console.wait_for("login:", seconds=LOGIN_SECONDS, why="its login prompt")
        laptop.wait_ssh(seconds=LOGIN_SECONDS)
    say(f"log in: {' '.join(laptop.ssh_command)}")


def desktop(options: argparse.Namespace) -> None:
    """Start a machine without a disk from a stick's image."""
    bench = Bench.find(options.name)
    pc = Pc(options.adapter)
    machine = bench.start_desktop(options.stick, Firmware(options.firmware), name=options.machine, pc=pc)
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


def strip(options: argparse.Namespace) -> None:
    """Make one moving picture of a session's screenshots."""
    say(f"{options.file} shows {session_strip(options.folder, options.file)} pictures")


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
    print(image_of(LAYOUTS[options.layout]).folder)


VOLATILE = Argument("--volatile", action="store_true", help="its disk has a volatile write cache")
MACHINE = Argument("machine", choices=NAMES)
LAYOUT = Argument("--layout", choices=LAYOUTS, default=PLAIN.name, help="how the laptop's disk is laid out")
DEEDS = ("power", "cut", "pause", "resume", "unplug", "plug", "unplug-drive")

COMMANDS = (
    Command("image", image, (LAYOUT,)),
    Command(
        "up",
        up,
        (
            LAYOUT,
            FIRMWARE,
            VOLATILE,
            Argument("--disk", type=Path, help="start from this disk instead of the base image"),
            Argument("--processors", type=int, default=PROCESSORS, help="of each machine"),
            Argument("--hub", action="store_true", help="join the machines by a hub: room for more than two"),
            Argument("--lifetime", type=int, default=LIFETIME_SECONDS, help="seconds until each machine is ended"),
        ),
    ),
    Command("again", again, (FIRMWARE, VOLATILE)),
    Command("desktop", desktop, (STICK, FIRMWARE, ADAPTER, Argument("--machine", choices=NAMES[1:], default=DESKTOP))),
    Command(
        "wait",
        wait,
        (
            MACHINE,
            Argument("pattern", help="a regular expression"),
            Argument("--seconds", type=float, default=LOGIN_SECONDS),
        ),
    ),
    Command("ssh", ssh, (MACHINE, Argument("command", nargs=argparse.REMAINDER))),
    Command("screenshot", screenshot, (MACHINE, Argument("file", type=Path))),
    Command("strip", strip, (Argument("folder", type=Path), Argument("file", type=Path))),
    Command("press", press, (Argument("deed", choices=DEEDS), MACHINE)),
    Command("usb-drive", usb_drive, (Argument("file", type=Path),)),
    Command("shutdown", shutdown, ()),
    Command("keep", keep, (Argument("file", type=Path),)),
    Command("name-by-content", name_by_content, (Argument("paths", type=Path, nargs="+"),)),
    Command("sweep", sweep, ()),
    Command("down", down, ()),
)
"""What a hand can do to the machines; what else is done to them the trials say themselves."""


def parser() -> argparse.ArgumentParser:
    """The command line's grammar: the commands above, and one for each trial."""
    top = argparse.ArgumentParser(prog="lab", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    top.add_argument("--name", default="lab", help="the run: its files are in build/lab/NAME (default: lab)")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    for command in (*COMMANDS, *all_trials()):
        one = commands.add_parser(command.name, help=command.help, description=command.help)
        one.set_defaults(act=command.run)
        for argument in command.arguments:
            argument.add_to(one)
    return top


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
