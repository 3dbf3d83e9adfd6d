"""The one session of a laptop's time as a server: what may happen when, and what is done about it. Pure.

`TABLE` is the whole truth: state x event -> next state and what is to be done, in order. `server` does it, and reports
what came of it as the next event. docs/architecture.md shows the table as a diagram (tests/diagram.py draws it).
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import Enum, StrEnum
from typing import Any

from stiefel_agent.errors import SessionInvalid
from stiefel_agent.protocol.crypto import digest
from stiefel_agent.protocol.handshake import Asked
from stiefel_agent.protocol.messages import Facts

RETURN_SECONDS = 30.0
"""After so long without a byte of its target, the very same desktop may begin again although something was written:
three keepalives. It proves itself from the stick's ramdisk, so it does not run that target any more."""
VERSION = 1


class State(StrEnum):
    """Where the server stands; the text is for people and for the record of a session."""

    STARTING = "starting"
    """The agent has begun, for the first time or once more: it looks at what there is."""
    WAITING = "waiting"
    """Nobody has the disk."""
    GIVING = "giving"
    """A desktop has been granted the disk and receives its system; nothing is open yet."""
    OPENING = "opening"
    """Tunnel and export are being opened. From here on a session is on record."""
    SERVING = "serving"
    """The target has the disk."""
    REPLACING = "replacing"
    """The old target is being fenced off; the next desktop waits for its grant."""
    FENCING = "fencing"
    """The session is over, but not everything of it is gone for certain. Nobody gets the disk."""
    RETURNING = "returning"
    """The target has given the disk back; it is fenced off, then the laptop goes home, or waits for the next."""
    HOME = "home"
    """The laptop restarts into its normal system, or goes off."""


DURABLE = frozenset({State.OPENING, State.SERVING, State.REPLACING, State.FENCING, State.RETURNING})
"""States in which something of a session may be open: they are on record, so that an agent that dies is no loss."""


class Event(StrEnum):
    """What can happen."""

    FOUND_WHOLE = "found whole"
    """At its start the agent found a session of which nothing is missing."""
    FOUND_OTHER = "found no whole one"
    """It found none, or not all of one."""
    FOUND_RELEASED = "found given back"
    """It found one that the target had given back already."""
    ASKED = "asked"
    """A desktop has proven the key and asks for the disk."""
    CLAIMED = "claimed"
    """So has one that may have it now, although somebody has it; see `Standing`."""
    RECEIVED = "received"
    """The desktop has the whole system."""
    EXPORTED = "exported"
    """Tunnel and export are open."""
    FAILED = "failed"
    """They could not be opened."""
    LEFT = "left"
    """The desktop went away while it received its system, or took too long."""
    EXPORT_GONE = "export gone"
    """No nbdkit runs, and nobody has asked for that."""
    RELEASED = "given back"
    """The target said that it is done; all it wrote is on the disk."""
    CONFIRMED = "confirmed"
    """The target has heard that the laptop knows, or did not wait for it."""
    ENDED = "ended by a person"
    SENT_HOME = "sent home by a person"
    FENCED = "fenced"
    """Tunnel, firewall and export are closed: each was looked at."""
    FENCED_TO_WAIT = "fenced to wait"
    """The same, of a session that was given back, where the laptop is to wait for the next desktop."""
    UNFENCED = "not fenced"
    """One of them is not."""
    RETRY = "retry"
    """Time has come to try again what did not work."""
    OVERDUE = "overdue"
    """It has not worked for so long that a restart is the better way."""


class Act(Enum):
    """What the server does."""

    RESUME = "go on with the session that was found"
    GRANT = "give the disk to the desktop that asks"
    REFUSE = "tell it who has the disk, and since when"
    DROP = "forget the session and its connection"
    OPEN = "open tunnel, firewall and export"
    ADMIT = "tell the desktop that its disk is there"
    EXPORT_AGAIN = "start nbdkit again"
    FENCE = "close tunnel, firewall and export, and look whether they are closed"
    TELL = "say what is not closed"
    WAIT = "say that a desktop may come"
    GO_HOME = "restart the laptop, or switch it off"


@dataclass(frozen=True, slots=True)
class Step:
    """An answer of the table."""

    state: State
    acts: tuple[Act, ...] = ()


TABLE: Mapping[tuple[State, Event], Step] = {
    (State.STARTING, Event.FOUND_WHOLE): Step(State.SERVING, (Act.RESUME,)),
    (State.STARTING, Event.FOUND_OTHER): Step(State.FENCING, (Act.FENCE,)),
    (State.STARTING, Event.FOUND_RELEASED): Step(State.RETURNING, (Act.FENCE,)),
    (State.WAITING, Event.ASKED): Step(State.GIVING, (Act.GRANT,)),
    (State.WAITING, Event.CLAIMED): Step(State.GIVING, (Act.GRANT,)),
    (State.WAITING, Event.SENT_HOME): Step(State.HOME, (Act.GO_HOME,)),
    (State.GIVING, Event.ASKED): Step(State.GIVING, (Act.REFUSE,)),
    (State.GIVING, Event.CLAIMED): Step(State.GIVING, (Act.DROP, Act.GRANT)),
    (State.GIVING, Event.RECEIVED): Step(State.OPENING, (Act.OPEN,)),
    (State.GIVING, Event.LEFT): Step(State.WAITING, (Act.DROP, Act.WAIT)),
    (State.GIVING, Event.ENDED): Step(State.WAITING, (Act.DROP, Act.WAIT)),
    (State.OPENING, Event.ASKED): Step(State.OPENING, (Act.REFUSE,)),
    (State.OPENING, Event.CLAIMED): Step(State.OPENING, (Act.REFUSE,)),
    (State.OPENING, Event.EXPORTED): Step(State.SERVING, (Act.ADMIT,)),
    (State.OPENING, Event.FAILED): Step(State.FENCING, (Act.FENCE,)),
    (State.SERVING, Event.ASKED): Step(State.SERVING, (Act.REFUSE,)),
    (State.SERVING, Event.CLAIMED): Step(State.REPLACING, (Act.FENCE,)),
    (State.SERVING, Event.EXPORT_GONE): Step(State.SERVING, (Act.EXPORT_AGAIN,)),
    (State.SERVING, Event.RELEASED): Step(State.RETURNING),
    (State.SERVING, Event.ENDED): Step(State.FENCING, (Act.FENCE,)),
    (State.REPLACING, Event.ASKED): Step(State.REPLACING, (Act.REFUSE,)),
    (State.REPLACING, Event.CLAIMED): Step(State.REPLACING, (Act.REFUSE,)),
    (State.REPLACING, Event.FENCED): Step(State.GIVING, (Act.DROP, Act.GRANT)),
    (State.REPLACING, Event.UNFENCED): Step(State.FENCING, (Act.TELL, Act.REFUSE)),
    (State.FENCING, Event.ASKED): Step(State.FENCING, (Act.REFUSE,)),
    (State.FENCING, Event.CLAIMED): Step(State.FENCING, (Act.REFUSE,)),
    (State.FENCING, Event.RETRY): Step(State.FENCING, (Act.FENCE,)),
    (State.FENCING, Event.FENCED): Step(State.WAITING, (Act.DROP, Act.WAIT)),
    (State.FENCING, Event.UNFENCED): Step(State.FENCING, (Act.TELL,)),
    # A restart closes everything for certain: it is the way out when nothing else is, and no worse than waiting.
    (State.FENCING, Event.SENT_HOME): Step(State.HOME, (Act.GO_HOME,)),
    (State.RETURNING, Event.ASKED): Step(State.RETURNING, (Act.REFUSE,)),
    (State.RETURNING, Event.CLAIMED): Step(State.RETURNING, (Act.REFUSE,)),
    (State.RETURNING, Event.CONFIRMED): Step(State.RETURNING, (Act.FENCE,)),
    (State.RETURNING, Event.FENCED): Step(State.HOME, (Act.GO_HOME,)),
    (State.RETURNING, Event.FENCED_TO_WAIT): Step(State.WAITING, (Act.DROP, Act.WAIT)),
    (State.RETURNING, Event.UNFENCED): Step(State.RETURNING, (Act.TELL,)),
    (State.RETURNING, Event.RETRY): Step(State.RETURNING, (Act.FENCE,)),
    (State.RETURNING, Event.OVERDUE): Step(State.HOME, (Act.GO_HOME,)),
}
"""Every edge; what is not in it changes nothing (see `after`)."""


def after(state: State, event: Event) -> Step:
    """Return the answer to an event in a state; what comes out of season, as a late key does, changes nothing."""
    return TABLE.get((state, event), Step(state))


@dataclass(frozen=True, slots=True)
class Session:
    """Whose the disk is, and all that a restarted agent has to know of it; no secret but the export's name."""

    facts: Facts
    key_name: str
    """The stick's, on this laptop."""
    source: str
    """The desktop's address on the cable."""
    address: str
    """Where disk and release are reached: inside the tunnel, or `::`."""
    export: str = field(repr=False)
    """The export's secret name."""
    token_hash: bytes = field(repr=False)
    """SHA-256 of the line that a release is; 32 bytes."""
    since: float
    """Seconds since the kernel started, suspend included (CLOCK_BOOTTIME)."""
    over_hash: bytes = field(default=b"", repr=False)
    """SHA-256 of the key that says that the session is over (protocol.over): it is not told so while it may go on."""
    sectors: int | None = None
    """What had been written to the disk before the export began; None: the disk does not say."""

    def measured(self, sectors: int | None) -> Session:
        """Return the same session with what had been written to the disk before its export began."""
        return replace(self, sectors=sectors)

    def is_released_by(self, line: bytes) -> bool:
        """Say whether a line is this session's release token."""
        return hmac.compare_digest(digest(line), self.token_hash)

    def is_of(self, asked: Asked) -> bool:
        """Say whether the very same desktop asks, with the same stick."""
        return self.key_name == asked.key_name and self.facts.same_machine(asked.facts)


def token_line(token: bytes) -> bytes:
    """Return what a target sends to give the disk back, without the line's end."""
    return token.hex().encode()


@dataclass(frozen=True, slots=True)
class Standing:
    """How a session stands when another desktop asks."""

    state: State
    silent: float
    """Seconds since the last byte of the target came in."""
    unwritten: bool
    """Nothing has been written to the disk since the export began."""
    takeover_seconds: float
    """What the laptop's owner allows: after so much silence any desktop may follow; 0: never."""

    def asks(self, held: Session | None, asked: Asked) -> Event:
        """Return how a desktop asks: it may have the disk now (CLAIMED), or somebody has it (ASKED).

        The very same desktop may begin again at once when nothing was written: its `ready` was lost, or its target died
        in its initrd. Whoever may, the target that was is fenced off first.
        """
        if held is None:
            return Event.ASKED
        same = held.is_of(asked)
        patience = [seconds for seconds in (self.takeover_seconds, RETURN_SECONDS if same else 0) if seconds]
        nothing_to_lose = same and (self.unwritten or self.state is State.GIVING)
        waited = self.state is State.SERVING and bool(patience) and self.silent >= min(patience)
        return Event.CLAIMED if nothing_to_lose or waited else Event.ASKED


def found(state: State | None, whole: Callable[[], bool]) -> Event:
    """Return what a starting agent has found; `state` is the record's, None without one."""
    if state is State.RETURNING:
        return Event.FOUND_RELEASED
    return Event.FOUND_WHOLE if state is State.SERVING and whole() else Event.FOUND_OTHER


def record(state: State, session: Session) -> str:
    """Return a session's record, as `recorded` reads it."""
    document = asdict(session)
    document["facts"] = {**document["facts"]}
    for holder, name in (
        (document, "token_hash"),
        (document, "over_hash"),
        (document["facts"], "wireguard_public_key"),
        (document["facts"], "machine"),
    ):
        holder[name] = base64.b64encode(holder[name]).decode()
    return json.dumps({"version": VERSION, "state": state, **document}, indent=2) + "\n"


def recorded(text: str) -> tuple[State, Session]:
    """Read a record; raises SessionInvalid when it is not one of this version."""
    try:
        document: dict[str, Any] = json.loads(text)
        if document.pop("version") != VERSION:
            raise SessionInvalid("the record is of another version")
        state = State(document.pop("state"))
        facts = document.pop("facts")
        token_hash, over_hash, public_key, machine = (
            base64.b64decode(holder.pop(name), validate=True)
            for holder, name in (
                (document, "token_hash"),
                (document, "over_hash"),
                (facts, "wireguard_public_key"),
                (facts, "machine"),
            )
        )
        held = Facts(**facts, wireguard_public_key=public_key, machine=machine)
        return state, Session(held, token_hash=token_hash, over_hash=over_hash, **document)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise SessionInvalid(f"the record cannot be read: {error}") from error
