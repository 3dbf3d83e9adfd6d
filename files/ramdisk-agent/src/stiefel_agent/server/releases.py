"""Hearing a target's release: several callers at once, none waited for; what they say is bounded, and for how long.

Any process of the target may call here. The true release comes when all the others have ended; until then, whoever
calls and says nothing is driven out by the next ones, or by time.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

from stiefel_agent.server.ports import accepted

PORT = 61571
CALLERS_LIMIT = 8
CALLER_SECONDS = 5.0
LINE_LIMIT = 128
"""More than a release is long; who sends more is not our target."""
HEARD_SECONDS = 2.0
"""How long a confirmation may be on its way."""
CONFIRMED = b"ok\n"

Verdict = Callable[[bool], None]
"""What is to be called once it is known whether a line was the release."""


@dataclass(slots=True, eq=False)
class Caller:
    """Somebody who has called; until it has said a whole line, or has heard that it was right."""

    socket: socket.socket
    source: str
    deadline: float
    said: bytes = b""
    judged: bool = False
    """Its line is being looked at, and it is not listened to: that may take as long as the disk needs."""
    confirmed: bool = False


class Releases:
    """The release port of one session, on a listening socket and with the loop's selector.

    `judge` is told a line and where it came from, and tells its verdict when it has one; True is confirmed to the
    caller. `heard` is called once the caller has the confirmation and has hung up, or had its time: before that, a
    tunnel that is closed could swallow it.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        judge: Callable[[bytes, str, Verdict], None],
        heard: Callable[[], None],
    ) -> None:
        self._selector, self._listener, self._judge, self._heard = selector, listener, judge, heard
        self._callers: list[Caller] = []
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def close(self) -> None:
        """Hear nobody any more."""
        for caller in list(self._callers):
            self._hang_up(caller)
        self._selector.unregister(self._listener)
        self._listener.close()

    def tick(self, now: float) -> None:
        """Hang up on those who have had their time; `now` is monotonic, in seconds."""
        for caller in self._not_judged():
            if now >= caller.deadline:
                self._end(caller)

    def _not_judged(self) -> list[Caller]:
        return [caller for caller in self._callers if not caller.judged]

    def _accept(self, _: int) -> None:
        if (called := accepted(self._listener)) is None:
            return
        if len(callers := self._not_judged()) >= CALLERS_LIMIT:
            self._end(callers[0])
        caller = Caller(*called, time.monotonic() + CALLER_SECONDS)
        self._callers.append(caller)
        self._listen_to(caller)

    def _listen_to(self, caller: Caller) -> None:
        self._selector.register(caller.socket, selectors.EVENT_READ, lambda _: self._hear(caller))

    def _hear(self, caller: Caller) -> None:
        """Take what there is; a whole line is judged, too long a one or a hang-up ends the call."""
        if caller not in self._callers or caller.judged:
            return
        try:
            data = caller.socket.recv(LINE_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        caller.said += data
        line, ended, _ = caller.said.partition(b"\n")
        if not caller.confirmed and ended:
            caller.judged = True
            self._selector.unregister(caller.socket)
            self._judge(line.strip(), caller.source, lambda right: self._answer(caller, right=right))
        elif ended or not data or len(caller.said) >= LINE_LIMIT:
            self._end(caller)

    def _answer(self, caller: Caller, *, right: bool) -> None:
        """Confirm a release, hang up on whoever said anything else; unless all were hung up on meanwhile."""
        if caller not in self._callers:
            return
        caller.judged = False
        self._listen_to(caller)
        if right:
            self._confirm(caller)
        else:
            self._end(caller)

    def _confirm(self, caller: Caller) -> None:
        caller.confirmed, caller.deadline = True, time.monotonic() + HEARD_SECONDS
        try:
            caller.socket.send(CONFIRMED)
        except OSError:  # it has not waited for that
            self._end(caller)

    def _end(self, caller: Caller) -> None:
        self._hang_up(caller)
        if caller.confirmed:
            self._heard()

    def _hang_up(self, caller: Caller) -> None:
        self._callers.remove(caller)
        if not caller.judged:
            self._selector.unregister(caller.socket)
        caller.socket.close()
