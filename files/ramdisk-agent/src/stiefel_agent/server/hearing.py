"""Whether a session's target is still there: what comes in of it, and where to call it when nothing does."""

from __future__ import annotations

import time

from stiefel_agent.errors import StiefelError
from stiefel_agent.face.console import say
from stiefel_agent.machine import firewall, link, tunnel
from stiefel_agent.server.sessions import Session

CALL_QUIET_SECONDS = 12.0
"""A keepalive has not come: the target may be behind another adapter now."""
CALL_SECONDS = 3.0


class Hearing:
    """The ear for one target after the other. Only what comes in counts: what the laptop sends says nothing of it."""

    def __init__(self, *, encrypted: bool) -> None:
        self._encrypted = encrypted
        self._bytes, self._heard_at = 0, 0.0
        self._changed_at = self._call_at = 0.0
        self._turn = 0

    def begin(self) -> None:
        """Count a target's silence from now on."""
        self._bytes, self._heard_at = self._received(self.moved()), time.monotonic()

    def silent(self, now: float) -> float:
        """Return for how many seconds nothing has come in, as far as `listen` has looked; `now` is monotonic."""
        return now - self._heard_at

    def moved(self) -> tuple[int, int] | None:
        """Return the bytes received from and sent to the target, None without a tunnel."""
        return tunnel.transferred() if self._encrypted else None

    def listen(self, held: Session, moved: tuple[int, int] | None, now: float) -> None:
        """Look whether anything has come in, and call the target if it is missing."""
        received = self._received(moved)
        if received > self._bytes:
            self._bytes, self._heard_at = received, now
        missing = self.silent(now) >= CALL_QUIET_SECONDS or self._changed_at > self._heard_at
        if self._encrypted and missing and now >= self._call_at:
            self._call_at = now + CALL_SECONDS
            self._call(held)

    def link_changed(self) -> None:
        """An adapter has come or gone: the target may have to learn where the laptop is now."""
        self._changed_at = time.monotonic()

    def _received(self, moved: tuple[int, int] | None) -> int:
        return moved[0] if moved else firewall.received()

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
