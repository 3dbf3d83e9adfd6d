"""Whether a session's target is still there: what comes in of it, and where to call it when nothing does."""

from __future__ import annotations

import time
from dataclasses import dataclass

from stiefel_agent.errors import StiefelError
from stiefel_agent.face.console import say
from stiefel_agent.machine import firewall, tunnel, wireguard
from stiefel_agent.machine.link import Wired
from stiefel_agent.server.errands import Errands
from stiefel_agent.server.sessions import Session

LOOK_SECONDS = 1.0
CALL_QUIET_SECONDS = 12.0
"""A keepalive has not come: the target may be behind another adapter now."""
CALL_SECONDS, SOON_SECONDS = 3.0, 1.0
"""How often it is called then; and when an adapter or a cable is new, for a switch lets nothing through at first."""
FLICKER_SECONDS = 0.5
"""How often at most a target is called for an adapter that comes and goes."""


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
        self._changed_at = self._called_at = self._call_at = 0.0
        self._ways: list[int] = []
        """The wired interfaces by which a target can be called, by index, the newest first."""
        self._turn = 0
        self._missing = False
        """The last look has found nothing of the target when there should have been something."""

    def begin(self, held: Session) -> None:
        """Hear a session's target from now on, and count its silence."""
        self._held, self._bytes, self.moved, self._missing = held, None, None, False
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

    def link_changed(self, interfaces: list[Wired]) -> None:
        """Hear what interfaces there are now: the target may have to learn where the laptop is."""
        usable = [one.index for one in interfaces if one.carrier and one.address]
        if set(usable) == set(self._ways):  # it was the tunnel, or something that is no way yet
            return
        new = [index for index in usable if index not in self._ways]
        self._ways = new + [index for index in self._ways if index in usable]
        self._changed_at = time.monotonic()
        self._look_at = 0.0
        if new:
            self._turn, self._call_at = 0, self._called_at + FLICKER_SECONDS
            # With old keys it looks first: where the cable has no other end than the target, that has begun anew, too.
            if self._held and self._missing and self.silent() <= wireguard.STALE_SECONDS:
                self._call(self._held, self._changed_at)

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
        self._missing = not grown and (self.silent() >= CALL_QUIET_SECONDS or self._changed_at > self._after)
        if self._missing:
            self._call(held, now)

    def _call(self, held: Session, now: float) -> None:
        """Call the target on one wired interface after the other, for any may be its cable now."""
        if not self._encrypted or not self._ways or now < self._call_at:
            return
        fresh = now - self._changed_at
        self._called_at, self._call_at = now, now + min(CALL_SECONDS, max(SOON_SECONDS, fresh))
        way = f"{bare(held.source)}%{self._ways[self._turn % len(self._ways)]}"
        self._turn += 1
        # Where nothing has changed here, it is the target's turn to begin: see keeper.HANDSHAKES.
        anew = fresh < CALL_SECONDS + LOOK_SECONDS and self.silent() > wireguard.STALE_SECONDS
        self._looks.send(lambda: call(held, way, anew=anew), lambda _: None)


def call(held: Session, way: str, *, anew: bool) -> None:
    """Call a target by this way, see tunnel.call()."""
    try:
        tunnel.call(tunnel.encode(held.facts.wireguard_public_key), way, anew=anew)
    except (StiefelError, OSError) as error:
        say(f"the target could not be called: {error}")


def bare(address: str) -> str:
    """Return an address without its interface."""
    return address.partition("%")[0]
