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

CALLERS_LIMIT = 8
CALLER_SECONDS = 5.0
LINE_LIMIT = 128
"""More than a release is long; who sends more is not our target."""
HEARD_SECONDS = 2.0
"""How long a confirmation may be on its way."""
CONFIRMED = b"ok\n"


@dataclass(slots=True, eq=False)
class Caller:
    """Somebody who has called; until it has said a whole line, or has heard that it was right."""

    socket: socket.socket
    source: str
    deadline: float
    said: bytes = b""
    confirmed: bool = False


class Releases:
    """The release port of one session, on a listening socket and with the loop's selector.

    `judge` is told a line and where it came from; True is confirmed to the caller. `heard` is called once the caller
    has the confirmation and has hung up, or had its time: before that, a tunnel that is closed could swallow it.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listener: socket.socket,
        judge: Callable[[bytes, str], bool],
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
        for caller in list(self._callers):
            if now >= caller.deadline:
                self._end(caller)

    def _accept(self, _: int) -> None:
        try:
            connected, source = self._listener.accept()
        except OSError:  # it went away again before we looked (accept(2))
            return
        connected.setblocking(False)
        if len(self._callers) >= CALLERS_LIMIT:
            self._end(self._callers[0])
        caller = Caller(connected, source[0], time.monotonic() + CALLER_SECONDS)
        self._callers.append(caller)
        self._selector.register(connected, selectors.EVENT_READ, lambda _: self._hear(caller))

    def _hear(self, caller: Caller) -> None:
        """Take what there is; a whole line is judged, too long a one or a hang-up ends the call."""
        if caller not in self._callers:
            return
        try:
            data = caller.socket.recv(LINE_LIMIT)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        caller.said += data
        line, ended, _ = caller.said.partition(b"\n")
        if not caller.confirmed and ended and self._judge(line.strip(), caller.source):
            self._confirm(caller)
        elif ended or not data or len(caller.said) >= LINE_LIMIT:
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
        self._selector.unregister(caller.socket)
        caller.socket.close()
