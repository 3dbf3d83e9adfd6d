"""The cable in a system that has an owner: the laptop's normal one. What the owner took down stays down.

A freshly plugged adapter is nobody's, and would be deaf: it is taken up. All else that is down is so because somebody
wants it: to change its MAC, to put it into a bond, to have it off. So only what was never up is taken up, and only when
it was left alone for a while. Ports of a bond, bridge or team are not touched at all.
"""

from __future__ import annotations

from collections.abc import Iterable

from stiefel_agent.machine import link
from stiefel_agent.machine.link import Wired

SETTLE_SECONDS = 5.0
"""A new adapter is left alone for so long: udev, NetworkManager or ifupdown may be about to set it up (or its MAC)."""


class Guest:
    """Which interfaces may be taken up. Pure: what there is and time come in; times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._been_up: set[int] = set()
        self._down_since: dict[int, float] = {}

    def may_take_up(self, interfaces: Iterable[Wired], now: float) -> set[int]:
        """Return the indices of the interfaces that may be taken up now; an adapter plugged again has another one.

        Who has sent anything was up once, whoever saw it: so a restart of the service forgets nothing.
        """
        present = {one.index: one for one in interfaces}
        self._been_up = {index for index, one in present.items() if one.up or one.used or index in self._been_up}
        fresh = present.keys() - self._been_up
        self._down_since = {index: self._down_since.get(index, now) for index in fresh}
        return {index for index, since in self._down_since.items() if now - since >= SETTLE_SECONDS}

    def wait(self, now: float) -> float | None:
        """Return the seconds until an interface may be taken up that may not yet; None if there is none."""
        left = [since + SETTLE_SECONDS - now for since in self._down_since.values()]
        return min((seconds for seconds in left if seconds > 0), default=None)


def made_reachable(guest: Guest, now: float) -> list[Wired]:
    """Make reachable what is the owner's wish to be up, or nobody's; return all but ports, as they were found."""
    interfaces = [one for one in link.wired() if not one.port]
    may_take_up = guest.may_take_up(interfaces, now)
    link.make_reachable(*(one for one in interfaces if one.up or one.index in may_take_up))
    return interfaces
