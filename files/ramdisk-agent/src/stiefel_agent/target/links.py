"""What the keeper does when something happens to the link to the laptop: `TABLE`, state x event -> next state and acts.

Pure: no clock, no socket. `keeper` sees what happens and does what is to be done. docs/architecture.md shows the table
as a diagram (tests/diagram.py draws it).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

OVER = (
    "this session is over: the laptop was switched off or restarted, or the session was ended there. "
    "What was not yet saved on its disk is lost."
)
"""What State.OVER means, to the person in front of it."""


class State(StrEnum):
    """How the laptop's disk is reached."""

    WELL = "well"
    """The cable has a carrier, and all connections live."""
    CUT = "cut"
    """No cable leads to the laptop: nothing is sent, and what is to be written waits."""
    PROVING = "proving"
    """A cable has a carrier: is the laptop at its other end?"""
    DIALLING = "dialling"
    """The laptop answers, but connections are dead."""
    OVER = "over"
    """The laptop has said that this session is over: there is no way back."""


class Event(StrEnum):
    """What happens."""

    CARRIER_LOST = "carrier lost"
    """The interface has no carrier, or is gone."""
    CARRIER = "carrier"
    NEWCOMER = "newcomer"
    """Another interface has a carrier."""
    CONNECTION_LOST = "connection lost"
    """The kernel says that a connection is dead."""
    ANSWERED = "answered"
    UNANSWERED = "unanswered"
    NOBODY = "nobody"
    """Unanswered several times in a row."""
    NOBODY_AGAIN = "nobody again"
    """The same, on an interface that was taken down and up for it."""
    CALLED = "called"
    """The laptop has spoken through the tunnel."""
    SILENT = "silent"
    """Nothing has come in for a while, though the cable has a carrier."""
    CONNECTED = "connected"
    """All connections live."""
    OVER = "over"
    """The laptop has said that this session is over; nobody else can say so."""
    TICK = "tick"
    """A second has passed."""


class Act(StrEnum):
    """What is to be done."""

    HOLD_BACK = "hold back"
    """Send nothing into the tunnel, so that its connections try again every half second and do not back off."""
    LET_GO = "let go"
    """Send again, if need be with a fresh handshake."""
    PLUG_OVER = "plug over"
    """Take the newcomer for the cable."""
    SHAKE = "shake"
    """Take the interface down and up: it may hang."""
    REBIND = "rebind"
    """Take its device from its driver and give it back, as if it were plugged in anew."""
    PROVE = "prove"
    """Ask the laptop for an answer."""
    DIAL = "dial"
    """Replace the dead connections."""


@dataclass(frozen=True, slots=True)
class Step:
    """An answer of the table."""

    state: State
    acts: tuple[Act, ...] = ()


TABLE: Mapping[tuple[State, Event], Step] = {
    (State.WELL, Event.CARRIER_LOST): Step(State.CUT, (Act.HOLD_BACK,)),
    (State.WELL, Event.CONNECTION_LOST): Step(State.DIALLING, (Act.DIAL,)),
    (State.WELL, Event.SILENT): Step(State.WELL, (Act.PROVE,)),
    (State.WELL, Event.UNANSWERED): Step(State.PROVING),
    (State.CUT, Event.CARRIER): Step(State.PROVING, (Act.LET_GO, Act.PROVE)),
    (State.CUT, Event.NEWCOMER): Step(State.PROVING, (Act.PLUG_OVER, Act.LET_GO, Act.PROVE)),
    (State.CUT, Event.CALLED): Step(State.PROVING, (Act.LET_GO, Act.PROVE)),
    (State.PROVING, Event.CARRIER_LOST): Step(State.CUT, (Act.HOLD_BACK,)),
    (State.PROVING, Event.CALLED): Step(State.PROVING, (Act.PROVE,)),
    (State.PROVING, Event.TICK): Step(State.PROVING, (Act.PROVE,)),
    (State.PROVING, Event.ANSWERED): Step(State.DIALLING, (Act.DIAL,)),
    (State.PROVING, Event.NOBODY): Step(State.CUT, (Act.HOLD_BACK, Act.SHAKE)),
    (State.PROVING, Event.NOBODY_AGAIN): Step(State.CUT, (Act.HOLD_BACK, Act.REBIND)),
    (State.DIALLING, Event.CARRIER_LOST): Step(State.CUT, (Act.HOLD_BACK,)),
    (State.DIALLING, Event.TICK): Step(State.DIALLING, (Act.DIAL,)),
    (State.DIALLING, Event.CONNECTED): Step(State.WELL),
    (State.DIALLING, Event.NOBODY): Step(State.PROVING, (Act.PROVE,)),
    (State.WELL, Event.OVER): Step(State.OVER),
    (State.CUT, Event.OVER): Step(State.OVER),
    (State.PROVING, Event.OVER): Step(State.OVER),
    (State.DIALLING, Event.OVER): Step(State.OVER),
}


def after(state: State, event: Event) -> Step:
    """Return the next state and what is to be done, in this order; what the table does not hold changes nothing."""
    return TABLE.get((state, event), Step(state))
