"""Whether a session's target is still there: what comes in of it, and where to call it when nothing does."""

from __future__ import annotations

import time
from dataclasses import dataclass

from stiefel_agent.errors import StiefelError
from stiefel_agent.face.console import say
from stiefel_agent.machine import firewall, link, tunnel
from stiefel_agent.server.errands import Errands
from stiefel_agent.server.sessions import Session

LOOK_SECONDS = 1.0
CALL_QUIET_SECONDS = 12.0
"""A keepalive has not come: the target may be behind another adapter now."""
CALL_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What was found in one look."""

    received: int
    """Bytes of the target so far."""
    moved: tuple[int, int] | None
    """Bytes received and sent through the tunnel, None without one."""


class Hearing:
    """The ear for one target after the other. Only what comes in counts: what the laptop sends says nothing of it.

    Who is asked for that (wg, nft) is asked beside the loop: should it not answer, nobody is silent for that.
    """

    def __init__(self, looks: Errands, *, encrypted: bool) -> None:
        self._looks, self._encrypted = looks, encrypted
        self._held: Session | None = None
        self.moved: tuple[int, int] | None = None
        """What the last look has found; see Heard."""
        self._bytes: int | None = None
        self._heard_at = self._looked_at = self._look_at = 0.0
        self._began = self._after = 0.0
        """When the last look began; after what time it was that the target was heard last, for certain."""
        self._changed_at = self._call_at = 0.0
        self._turn = 0

    def begin(self, held: Session) -> None:
        """Hear a session's target from now on, and count its silence."""
        self._held, self._bytes, self.moved = held, None, None
        self._heard_at = self._looked_at = self._began = self._after = time.monotonic()
        self._look_at = 0.0

    def silent(self) -> float:
        """Return for how many seconds nothing has come in, as far as was looked."""
        return self._looked_at - self._heard_at

    def listen(self, now: float) -> None:
        """Look whether anything has come in, if it is time to; `now` is monotonic, in seconds."""
        if self._held and now >= self._look_at and not self._looks.under_way:
            self._look_at = now + LOOK_SECONDS
            held = self._held
            self._looks.send(self._look, lambda heard: self._looked(held, heard, now))

    def link_changed(self) -> None:
        """An adapter has come or gone: the target may have to learn where the laptop is now."""
        self._changed_at = time.monotonic()
        self._look_at = 0.0

    def _look(self) -> Heard:
        moved = tunnel.transferred() if self._encrypted else None
        return Heard(moved[0] if moved else firewall.received(), moved)

    def _looked(self, held: Session, heard: Heard, began: float) -> None:
        """Hear what was found by a look that began then, and call the target if it is missing."""
        if held is not self._held:  # another one by now
            return
        now = self._looked_at = time.monotonic()
        before, self._began = self._began, began
        grown = self._bytes is not None and heard.received > self._bytes
        if grown:
            self._heard_at, self._after = now, before
        self._bytes, self.moved = heard.received, heard.moved
        if grown and before < self._changed_at:  # maybe it spoke before the change, and has not since
            self._look_at = 0.0
        elif self.silent() >= CALL_QUIET_SECONDS or self._changed_at > self._after:
            self._missed(held, now)

    def _missed(self, held: Session, now: float) -> None:
        """Call the target, unless that was done a moment ago."""
        if self._encrypted and now >= self._call_at:
            self._call_at = now + CALL_SECONDS
            self._looks.send(lambda: self._call(held), lambda _: None)

    def _call(self, held: Session) -> None:
        """Call the target on one wired interface after the other: any may be its cable now."""
        usable = [one.name for one in link.wired() if one.carrier and one.address]
        if not usable:
            return
        self._turn += 1
        try:
            way = f"{bare(held.source)}%{usable[self._turn % len(usable)]}"
            tunnel.call(tunnel.encode(held.facts.wireguard_public_key), way)
        except (StiefelError, OSError) as error:
            say(f"the target could not be called: {error}")


def bare(address: str) -> str:
    """Return an address without its interface."""
    return address.partition("%")[0]
