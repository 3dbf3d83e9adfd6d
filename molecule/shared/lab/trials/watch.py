"""The moments of a session, as the consoles of its machines tell of them, and waiting for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from ..machines.bench import DESKTOP, LAPTOP, LOGIN_SECONDS, USUAL_PC, Bench, Pc
from ..machines.console import Console, Seen
from ..machines.machine import Firmware, Machine
from ..machines.shell import LabError, say

KERNEL = r"Linux version \d"
LOGIN = r"stiefel-laptop login:"


def event(name: str) -> str:
    """The pattern of an agent's event line (docs/architecture.md, Events)."""
    return rf"stiefel: event={name}\b"


@dataclass(frozen=True)
class Stage:
    """A moment that a console tells of; at least five times what it takes without KVM is its deadline."""

    moment: str
    machine: str  # LAPTOP, or DESKTOP for the desktop that was switched on last
    pattern: str
    seconds: float


LOCKED = Stage("locked", DESKTOP, event("locked"), 360)
CALLED = Stage("called", LAPTOP, event("called"), 300)
BEACON = Stage("beacon", DESKTOP, event("beacon") + r".* uptime=[\d.]+\s", 360)
# The laptop moves into the server; the desktop loads its system and starts it.
MOVE = (
    Stage("triggered", LAPTOP, event("triggered"), 300),
    Stage("server_ready", LAPTOP, event("server_ready"), 400),
)
LOAD = (
    Stage("bundle_received", DESKTOP, event("bundle_received"), 300),
    Stage("target_kernel", DESKTOP, KERNEL, 300),
    Stage("attached", DESKTOP, event("attached"), 300),
    Stage("login", DESKTOP, LOGIN, 600),
)
RELEASED = Stage("released", LAPTOP, event("released"), 300)
LAPTOP_LOGIN = Stage("laptop_login", LAPTOP, LOGIN, LOGIN_SECONDS)


class Watch:
    """Follows the laptop and a desktop; a failure within it shows the ends of all consoles."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.laptop = bench.machine(LAPTOP)
        self._followed: dict[str, Console] = {}
        self._opened: list[Console] = []

    def __enter__(self) -> Watch:
        """Begin."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop following."""
        for console in self._opened:
            console.close()
        if isinstance(error, LabError):
            self.bench.tell_last_lines()

    def follow_laptop(self) -> None:
        """Wait until one can log in to the laptop, and follow it from now on."""
        self.laptop.wait_ssh(seconds=LOGIN_SECONDS)
        self._open(LAPTOP, self.laptop.console(from_end=True))

    def follow_desktop(self, desktop: Machine) -> None:
        """Follow this desktop from now on, in the place of the one before."""
        self._open(DESKTOP, desktop.console(from_end=True))

    def start_desktop(
        self, stick: Path, firmware: Firmware = Firmware.UEFI, name: str = DESKTOP, pc: Pc = USUAL_PC
    ) -> Machine:
        """Switch a desktop on and follow it from its first word; it takes the place of one before it."""
        desktop = self.bench.start_desktop(stick, firmware, name=name, pc=pc)
        self._open(DESKTOP, desktop.console())
        return desktop

    def _open(self, role: str, console: Console) -> None:
        self._opened.append(console)
        self._followed[role] = console

    def follow(self, stages: Sequence[Stage]) -> Iterator[tuple[Stage, Seen]]:
        """Wait for one stage after the other; yield each when it has come."""
        for stage in stages:
            console = self._followed[stage.machine]
            yield stage, console.wait_for(stage.pattern, seconds=stage.seconds, why=stage.moment)

    def until(self, who: str, *stages: Stage) -> dict[str, float]:
        """Wait for all stages and say when each has come, to `who`; returns the moments (time.monotonic)."""
        moments = {}
        for stage, seen in self.follow(stages):
            say(f"{who}: {stage.moment}")
            moments[stage.moment] = seen.when
        return moments

    def session(self, stick: Path) -> dict[str, float]:
        """Let a desktop call a laptop that is up, and wait for the target's login prompt; returns the moments."""
        self.follow_laptop()
        self.start_desktop(stick)
        return self.until("session", BEACON, *MOVE, *LOAD)

    def boot(self, stick: Path) -> Machine:
        """Switch the desktop on and wait until one can log in to the target."""
        self.session(stick)
        desktop = self.bench.machine(DESKTOP)
        desktop.wait_ssh(seconds=LOGIN_SECONDS)
        return desktop
