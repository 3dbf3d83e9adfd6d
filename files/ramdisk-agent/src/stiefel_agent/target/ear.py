"""What the laptop tells its target of its power, and what the target makes of it: it says so, and ends in order."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

from stiefel_agent.errors import MessageError
from stiefel_agent.machine.power import Power
from stiefel_agent.protocol.session import TUNNEL, Session
from stiefel_agent.protocol.supply import PORT, SIZE, Level, Supply, decode

POWER_OFF = signal.SIGRTMIN + 4
"""systemd(1): PID 1 starts poweroff.target, which ends everything in order. It takes no program, and no bus."""


class Ear:
    """Hears the laptop, in the network namespace it is made in. In the tunnel nobody else can speak.

    It is bound to the tunnel itself, for the kernel takes a packet to the tunnel's address from any interface.
    """

    def __init__(self, session: Session) -> None:
        self.supply: Supply | None = None
        """The newest word on the laptop's power."""
        self._from = None if session.wireguard else session.server
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        if session.wireguard:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, TUNNEL.encode())
        self._socket.bind(("::", PORT))

    def fileno(self) -> int:
        """Return the file descriptor, for select."""
        return self._socket.fileno()

    def hears(self) -> bool:
        """Take what has come in; say whether the laptop has spoken, be it of its power or just to be heard."""
        spoken = False
        with suppress(OSError):
            while True:
                data, source = self._socket.recvfrom(SIZE + 1)
                if self._from in (None, source[0].partition("%")[0]):
                    spoken = True
                    with suppress(MessageError):
                        self.supply = decode(data)
        return spoken


def power(supply: Supply) -> Power:
    """Return the word as the keeper notes it for `status`."""
    return Power(supply.plugged, supply.percent, supply.charging)


def news(before: Supply | None, now: Supply) -> str:
    """Return what the people at the desktop are to hear; empty if it is nothing new."""
    if before and (before.level, before.shut_down) == (now.level, now.shut_down):
        return ""
    held = "" if now.percent is None else f" ({now.percent} %)"
    if now.shut_down:
        return (
            f"the laptop's battery is almost empty{held}: this desktop shuts down now, so that all of your work is kept"
        )
    match now.level:
        case Level.BATTERY:
            return f"the laptop runs on its battery{held}. Plug it in if you can"
        case Level.LOW:
            return f"the laptop's battery is low{held}. Please plug it in"
        case Level.CRITICAL:
            return (
                f"the laptop's battery is almost empty{held}. Plug it in now, or save your work: "
                "this desktop shuts down in a minute"
            )
        case _:
            return "the laptop is plugged in again" if before else ""


def shut_down() -> None:
    """Ask this system to switch itself off in order, as at any shutdown."""
    os.kill(1, POWER_OFF)
