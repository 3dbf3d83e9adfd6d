"""The watch over a session that stands: is its target heard, does nbdkit run; and the page says how it goes."""

from __future__ import annotations

import time

from stiefel_agent.face.console import event
from stiefel_agent.machine.link import Wired, carried
from stiefel_agent.protocol.sizes import USUAL
from stiefel_agent.server import export
from stiefel_agent.server.errands import Errands
from stiefel_agent.server.hearing import Hearing
from stiefel_agent.server.page import Page, how_it_goes
from stiefel_agent.server.sessions import Session


class Guard:
    """Watches one session after the other."""

    def __init__(self, page: Page, looks: Errands, *, encrypted: bool, mtu: int) -> None:
        """`looks`: for what is asked of others, and of no use to anybody else meanwhile. `mtu`: what the laptop's owner
        lets be sent; a smaller packet than that, and than is usual, is told of.
        """
        self._page, self._hearing = page, Hearing(looks, encrypted=encrypted)
        self._usual = min(mtu, USUAL)
        self._nbdkit: int | None = None
        self._restarts = 0
        self._carrier = True
        """Some cable leads somewhere."""

    def begin(self, held: Session) -> bool:
        """Watch a session from now on; say whether nbdkit runs."""
        self._hearing.begin(held)
        self._nbdkit, self._restarts = export.process(), 0
        return self._nbdkit is not None

    def silent(self) -> float:
        """Return for how many seconds nothing of the target has come in, as far as was looked."""
        return self._hearing.silent()

    def link_changed(self, interfaces: list[Wired]) -> None:
        """Take note that an adapter or cable has come or gone; `interfaces`: what there is now."""
        self._hearing.link_changed(interfaces)
        self._carrier = carried(interfaces)

    def look(self, held: Session, now: float) -> bool:
        """Look, and show how it goes; False if no nbdkit runs. `now` is monotonic, in seconds."""
        running = export.process()
        if running not in (None, self._nbdkit):
            self._nbdkit, self._restarts = running, self._restarts + 1
            event("export_restarted", desktop=held.facts.desktop)
        self._hearing.listen(now)
        lasted = time.clock_gettime(time.CLOCK_BOOTTIME) - held.since
        moved, quiet = self._hearing.moved, self._hearing.silent()
        packet = held.facts.packet if held.facts.packet < self._usual else 0
        how = how_it_goes(held.facts.desktop, lasted, moved, quiet, self._restarts, cable=self._carrier, packet=packet)
        self._page.serving(how)
        return running is not None
