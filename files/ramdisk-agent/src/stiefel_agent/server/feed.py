"""The server's eye on the laptop's power: looks when the kernel announces a change, tells screen, target and ears."""

from __future__ import annotations

import selectors
import socket
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress

from stiefel_agent.face import screen
from stiefel_agent.face.console import event
from stiefel_agent.machine import power
from stiefel_agent.protocol.supply import PORT, Supply
from stiefel_agent.server.power import Tone, Watch, words

READ_SECONDS, WORRIED_SECONDS = 30.0, 5.0
"""How old a reading may become, while all is well and while not: not every battery announces that it holds less."""
REPEAT_SECONDS = 5.0
"""How often the target is told: a datagram may be lost, and its `status` wants a figure."""
TONES = {Tone.SHORT: (880, 200), Tone.LONG: (660, 700)}
"""Hertz and milliseconds."""


class Feed:
    """Reads, judges and tells; `show` takes what the screen says (empty: all is well), and whether that is fresh."""

    def __init__(
        self, selector: selectors.BaseSelector, stack: ExitStack, show: Callable[[str, bool], None], *, beeps: bool
    ) -> None:
        self._show, self._beeps = show, beeps
        self._watch = Watch()
        self._tones: deque[Tone] = deque()
        self._read_at = self._told_at = 0.0
        self._supply: Supply | None = None
        self._announced = stack.enter_context(power.Uevents())
        self._wire = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK))
        selector.register(self._announced, selectors.EVENT_READ, self._look_soon)

    def _look_soon(self, _: int) -> None:
        if self._announced.about_power():
            self._read_at = 0.0

    def tick(self, now: float, target: str | None) -> None:
        """Look if it is time to, and tell; `target` is its address while there is one, `now` monotonic."""
        if now >= self._read_at:
            self._look(now)
        if self._tones:
            screen.beep(*TONES[self._tones.popleft()])
        if target and self._supply and now >= self._told_at:
            self._told_at = now + REPEAT_SECONDS
            self._tell(target, self._supply)

    def _look(self, now: float) -> None:
        decided = self._watch.look(power.read(power.SYS_POWER), now)
        said, self._supply = self._supply, decided.supply
        self._read_at = now + (WORRIED_SECONDS if decided.supply.level else READ_SECONDS)
        if decided.changed:
            event("power", level=decided.supply.level.name.lower(), percent=decided.supply.percent)
            self._told_at = now
        if said != self._supply:
            self._show(words(decided.supply), decided.changed)
        if decided.changed:
            self._tones.clear()
        if self._beeps:
            self._tones.extend(decided.tones)

    def _tell(self, target: str, supply: Supply) -> None:
        """Send the target a word; one that cannot be sent now is lost, and comes again."""
        host, _, interface = target.partition("%")
        with suppress(OSError):
            scope = socket.if_nametoindex(interface) if interface else 0
            self._wire.sendto(supply.encode(), (host, PORT, 0, scope))
