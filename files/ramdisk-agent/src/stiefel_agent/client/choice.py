"""Which laptop a desktop turns to when several have its stick's key. Pure: challenges and time come in.

Only one laptop is ever asked to move, and none while a server waits: whoever is asked shuts down what it is doing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from stiefel_agent.protocol.discovery import Address, Challenged
from stiefel_agent.protocol.messages import Stage

LISTEN_SECONDS = 3.0
"""A server that waits answers one of the three beacons of this time; on a machine that is emulated it takes 1 s."""
BUSY_SECONDS = 60.0
"""After so long a server that said "busy" is tried again, even while another laptop is being asked."""
MOVED_SECONDS = 5.0
"""After so long without an answer from a laptop's address, its name at another address is the same laptop."""


class Turn(Enum):
    """What to do about a challenge."""

    DIAL = "begin a session with this server"
    PROVE = "prove the key to this laptop: it may move"
    WAIT = "nothing, or not yet"


@dataclass(slots=True)
class Asked:
    """The laptop that was asked to move: one only, for with two of the same key on a switch both would shut down.

    Its address may change while it is asked: NetworkManager gives up DHCP on the cable and takes its own address away.
    """

    laptop: str
    source: Address
    heard: float

    def is_in(self, challenged: Challenged, now: float) -> bool:
        """Whether a challenge is from this laptop; `now` is monotonic, in seconds."""
        if challenged.source == self.source:
            return True
        return challenged.challenge.laptop == self.laptop and now - self.heard > MOVED_SECONDS


class Choice:
    """One desktop's choice among laptops; times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._called: dict[int, float] = {}
        self._asked: Asked | None = None
        self._busy: dict[Address, float] = {}

    def begin(self) -> None:
        """Begin a search: nobody has been called or asked yet. Who was busy is remembered."""
        self._called, self._asked = {}, None

    def called(self, interface: int, now: float) -> None:
        """A beacon went out on an interface (its index)."""
        self._called.setdefault(interface, now)

    def is_new(self, interface: int) -> bool:
        """Whether an interface was not called yet in this search."""
        return interface not in self._called

    def called_in_vain(self, now: float, seconds: float) -> set[int]:
        """Return the interfaces that were called for more than so many seconds, if nobody has answered yet."""
        return {index for index, first in self._called.items() if now - first > seconds}

    def busy(self, challenged: Challenged, now: float) -> None:
        """A server said that another desktop has its disk: it does not wait for us."""
        self._busy[challenged.source] = now

    def turn(self, challenged: Challenged, now: float) -> Turn:
        """Return what to do about a challenge that just came."""
        if challenged.challenge.stage is Stage.SERVER:
            return self._server(challenged, now)
        if self._asked is None and not self._listened(now):
            return Turn.WAIT
        if self._asked is None or self._asked.is_in(challenged, now):
            self._asked = Asked(challenged.challenge.laptop, challenged.source, now)
            return Turn.PROVE
        return Turn.WAIT

    def _server(self, challenged: Challenged, now: float) -> Turn:
        """A busy server is asked again when nobody else is there, or from time to time."""
        said = self._busy.get(challenged.source)
        alone = self._asked is None and self._listened(now)
        return Turn.DIAL if said is None or alone or now - said >= BUSY_SECONDS else Turn.WAIT

    def _listened(self, now: float) -> bool:
        """Whether a waiting server had its time to answer on every interface that is called."""
        return all(now - first >= LISTEN_SECONDS for first in self._called.values())
