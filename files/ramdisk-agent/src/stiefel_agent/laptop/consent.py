"""Whether the laptop moves: who wants it to, what its users are told, and what they say. Pure: calls and time come in.

Every method returns what is to be done, in order; `autokexec` does it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from stiefel_agent.config import AutokexecConfig, Consent
from stiefel_agent.protocol.discovery import Proven
from stiefel_agent.protocol.messages import Notice, NoticeState, displayable

DECLINED_SECONDS = 300.0
"""How long a "no" holds."""
GONE_SECONDS = 30.0
"""A desktop proves the key anew every second; after so long without it, nobody waits for the laptop any more."""
STILL_THERE_SECONDS = 5.0
"""The laptop moves only for a desktop that was heard so lately: one that turned to another laptop is not waiting."""
NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Event:
    """A line for the journal."""

    name: str
    facts: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tell:
    """Something that everybody who is logged in must know."""

    text: str


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer to the desktop that called."""

    proven: Proven
    notice: Notice


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make ready for Go, which may come."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Go does not come, or not soon: nothing stays ready."""


@dataclass(frozen=True, slots=True)
class Go:
    """Move now. Say `failed` if that does not work."""

    who: str


Act = Event | Tell | Reply | Prepare | Forget | Go


@dataclass(slots=True)
class Call:
    """Who wants the laptop to move; `proven` is None for a trigger at the laptop itself."""

    who: str
    proven: Proven | None
    due: float
    """When it moves unless somebody says no; NEVER when somebody has to say yes."""
    heard: float
    """When the desktop was last heard."""
    held_up_by: str = ""
    """Who asks that the laptop is not shut down now."""


class Decider:
    """One call at a time, from its arrival to the move or the no. Times are monotonic, in seconds."""

    def __init__(self, settings: AutokexecConfig, inhibitor: Callable[[], str]) -> None:
        """`inhibitor` says who asks that the laptop is not shut down now, or nothing; asked when it could move."""
        self._settings = settings
        self._inhibitor = inhibitor
        self._call: Call | None = None
        self._declined_until = -NEVER

    @property
    def busy(self) -> bool:
        """Whether somebody waits, so that `tick` has to be called every second."""
        return self._call is not None

    def proven(self, proven: Proven, now: float) -> list[Act]:
        """A desktop has proven the key, for the first time or again."""
        if now < self._declined_until:
            return [Reply(proven, Notice(NoticeState.DECLINED))]
        call = self._call
        if call is None:
            called = Event("called", {"desktop": proven.desktop, "key": proven.exchange.key.name})
            return [called, *self._ask(f"the desktop {proven.desktop}", proven, now)]
        if call.proven is None or proven.desktop == call.proven.desktop:
            call.proven, call.heard = proven, now
            return []
        return [Reply(proven, Notice(NoticeState.BUSY, 0, call.proven.desktop))]

    def plugged(self, now: float) -> list[Act]:
        """The network adapter that was set as a trigger has appeared."""
        if self._call:
            return []
        return [Event("plugged"), *self._ask("the network adapter that was just plugged in", None, now)]

    def _ask(self, who: str, proven: Proven | None, now: float) -> list[Act]:
        consent, seconds = self._settings.consent, self._settings.countdown_seconds
        due = {Consent.ASK: NEVER, Consent.COUNTDOWN: now + seconds, Consent.NONE: now}[consent]
        self._call = Call(who, proven, due, now)
        what = f"{who} wants to run from this laptop's disk."
        match consent:
            case Consent.ASK:
                return [Tell(f"{what} To allow it: sudo stiefel-agent allow")]
            case Consent.COUNTDOWN:
                cancel = "To stay here: sudo stiefel-agent cancel"
                return [Tell(f"{what} This laptop restarts in {seconds} s. {cancel}"), Prepare()]
            case Consent.NONE:
                return []

    def allow(self) -> list[Act]:
        """Somebody at the laptop says yes."""
        if self._call:
            self._call.due = -NEVER
        return []

    def cancel(self, now: float) -> list[Act]:
        """Somebody at the laptop says no."""
        if not self._call:
            return []
        again = f"{DECLINED_SECONDS / 60:.0f} min"
        return [
            Event("declined", {"who": self._call.who}),
            *self._drop(NoticeState.DECLINED, now),
            Tell(f"this laptop stays as it is; the question comes again after {again}"),
        ]

    def failed(self, error: str, now: float) -> list[Act]:
        """The move did not work; the laptop is still here."""
        return [Tell(f"this laptop cannot become the server: {error}"), *self._drop(NoticeState.FAILED, now)]

    def _drop(self, state: NoticeState, now: float) -> list[Act]:
        reply = self._reply(Notice(state))
        self._call, self._declined_until = None, now + DECLINED_SECONDS
        return [*reply, Forget()]

    def tick(self, now: float) -> list[Act]:
        """Move if it is time, else tell the desktop how things stand."""
        call = self._call
        if call is None:
            return []
        if call.proven and now - call.heard >= GONE_SECONDS:
            self._call = None
            stays = f"{call.who} has gone away; this laptop stays as it is"
            return [Event("gone", {"who": call.who}), Tell(stays), Forget()]
        left = call.due - now
        if left == NEVER:
            return self._reply(Notice(NoticeState.ASKING))
        if left > 0:
            return self._reply(Notice(NoticeState.COUNTDOWN, round(left)))
        if call.proven and now - call.heard >= STILL_THERE_SECONDS:
            return []
        return self._go_unless_inhibited(call)

    def _go_unless_inhibited(self, call: Call) -> list[Act]:
        before, call.held_up_by = call.held_up_by, self._inhibitor()
        if not call.held_up_by:
            return [Go(call.who)]
        reply = self._reply(Notice(NoticeState.INHIBITED, 0, displayable(call.held_up_by)))
        if call.held_up_by == before:
            return reply
        wait = f"{call.who} has to wait: this laptop must not be shut down now ({call.held_up_by})"
        return [Event("inhibited", {"by": call.held_up_by}), Tell(wait), *reply, Forget()]

    def moving(self) -> list[Act]:
        """The laptop is on its way."""
        return self._reply(Notice(NoticeState.SHUTTING_DOWN))

    def _reply(self, notice: Notice) -> list[Act]:
        """Tell the desktop that called, if it was one."""
        proven = self._call.proven if self._call else None
        return [Reply(proven, notice)] if proven else []
