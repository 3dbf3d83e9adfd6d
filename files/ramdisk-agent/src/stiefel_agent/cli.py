"""The one entry: `stiefel-agent ROLE`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from stiefel_agent.errors import StiefelError
from stiefel_agent.face.console import say

EXIT_REFUSED = 1
ROLES = {
    "client": "stiefel_agent.client.client",
    "server": "stiefel_agent.server.server",
    "autokexec": "stiefel_agent.laptop.autokexec",
}
"""Command and the room that runs it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="stiefel-agent", description="Boot a desktop from this laptop's own disk, over a cable."
    )
    parser.add_argument("--debug", action="store_true", help="show where in the program an error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("client", help="find the laptop and start this desktop from its disk (ramdisk)")
    commands.add_parser("server", help="give this laptop's disk to the desktop (ramdisk)")
    commands.add_parser("autokexec", help="answer desktops by moving into the server (the laptop's service)")
    commands.add_parser("move", help="move this laptop into the server now, without a desktop's call")
    commands.add_parser("allow", help="let the desktop that is calling have this laptop's disk")
    commands.add_parser("plugged", help="say that the trigger adapter has appeared (udev)")
    commands.add_parser("status", help="say what this machine is ready for")
    commands.add_parser("cancel", help="stop the countdown: this laptop stays as it is")
    return parser


def _run(command: str) -> None:
    """Do what a command says. Each role loads only what it needs: start-up counts in the ramdisk."""
    if command == "status":
        importlib.import_module("stiefel_agent.laptop.standing").show()
        return
    if command in ROLES:
        importlib.import_module(ROLES[command]).main()
        return
    from stiefel_agent import config  # noqa: PLC0415 - see above
    from stiefel_agent.laptop import autokexec  # noqa: PLC0415 - see above

    if command == "move":
        autokexec.move(config.AutokexecConfig.load(config.AUTOKEXEC_FILE), "a person at the laptop")
    else:
        autokexec.tell(autokexec.Command(command))


def main() -> int:
    """Run one command; on an error, say in one message what, why and what to do, and return 1."""
    arguments = _parser().parse_args()
    if os.geteuid() != 0 and arguments.command != "status":
        say("this needs root: try it with sudo")
        return EXIT_REFUSED
    try:
        _run(arguments.command)
    except StiefelError as error:
        if arguments.debug:
            raise
        say(str(error))
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
