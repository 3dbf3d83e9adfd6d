"""The one entry: `stiefel-agent ROLE`."""

from __future__ import annotations

import argparse
import importlib
import os
import sys

from stiefel_agent import __version__
from stiefel_agent.errors import StiefelError
from stiefel_agent.face.console import complain, say

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
    parser.add_argument("--version", action="version", version=f"stiefel-agent {__version__}")
    parser.add_argument("--debug", action="store_true", help="show where in the program an error came from")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("client", help="find the laptop and start this desktop from its disk (ramdisk)")
    commands.add_parser("server", help="give this laptop's disk to the desktop (ramdisk)")
    commands.add_parser("autokexec", help="answer desktops by moving into the server (the laptop's service)")
    commands.add_parser("move", help="move this laptop into the server now, without a desktop's call")
    commands.add_parser("allow", help="let the desktop that is calling have this laptop's disk")
    commands.add_parser("plugged", help="say that the trigger adapter has appeared (udev)")
    status = commands.add_parser("status", help="say how laptop, server or target stands")
    status.add_argument("--json", action="store_true", help="for programs: one object, in one line")
    status.add_argument("--watch", action="store_true", help="again every second, until Ctrl-C")
    commands.add_parser("cancel", help="stop the countdown: this laptop stays as it is")
    return parser


def _run(command: str) -> None:
    """Do what a command says. Each role loads only what it needs: start-up counts in the ramdisk."""
    if command in ROLES:
        importlib.import_module(ROLES[command]).main()
        return
    from stiefel_agent import config  # noqa: PLC0415 - see above
    from stiefel_agent.laptop import autokexec  # noqa: PLC0415 - see above

    if command == "move":
        settings = config.AutokexecConfig.load(config.AUTOKEXEC_FILE)
        autokexec.move(settings, "a person at the laptop", autokexec.preparation(settings))
    else:
        autokexec.tell(autokexec.Command(command))


def _status(*, as_json: bool, watch: bool) -> None:
    """Say how this machine stands, whatever it is."""
    from stiefel_agent import config  # noqa: PLC0415 - see above
    from stiefel_agent.face.watch import show  # noqa: PLC0415 - see above
    from stiefel_agent.protocol.session import IN_TARGET  # noqa: PLC0415 - see above

    if IN_TARGET.exists():
        from stiefel_agent.target import standing  # noqa: PLC0415 - see above

        standing.enter()
        look = standing.look
    elif config.SERVER_FILE.exists():
        look = importlib.import_module("stiefel_agent.server.standing").look
    else:
        look = importlib.import_module("stiefel_agent.laptop.standing").now
    show(look, as_json=as_json, watch=watch)


def main() -> int:
    """Run one command; on an error, say in one message what, why and what to do, and return 1."""
    arguments = _parser().parse_args()
    if os.geteuid() != 0 and arguments.command != "status":
        say("this needs root: try it with sudo")
        return EXIT_REFUSED
    try:
        if arguments.command == "status":
            _status(as_json=arguments.json, watch=arguments.watch)
        else:
            _run(arguments.command)
    except StiefelError as error:
        if arguments.debug:
            raise
        (complain if arguments.command in ROLES else say)(str(error))
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return EXIT_REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
