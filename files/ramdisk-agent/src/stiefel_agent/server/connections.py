"""The handshakes under way: many strangers, none of whom can hold up or end the server, and one desktop's beginning."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from stiefel_agent.errors import HandshakeError, StiefelError
from stiefel_agent.face.console import say
from stiefel_agent.machine.losses import Losses
from stiefel_agent.protocol.discovery import Challenges
from stiefel_agent.protocol.handshake import (
    CONNECTIONS_LIMIT,
    HELLO_SECONDS,
    Asked,
    Received,
    Send,
    ServerHandshake,
)
from stiefel_agent.server.ports import accepted

IDLE_SECONDS, INTERVAL_SECONDS, PROBES = 4, 2, 3
"""A desktop that loses its power says no goodbye: keepalives notice it within 10 s (tcp(7)) ..."""
UNANSWERED_SECONDS = 10
"""... and so does what it does not acknowledge."""
_CHUNK = 65536


@dataclass(slots=True, eq=False)
class Connection:
    """One TCP connection: a handshake under way, and what is still to be sent."""

    socket: socket.socket
    source: str
    handshake: ServerHandshake
    deadline: float
    frames: Iterator[bytes] | Iterator[bytearray]
    """What is still to be sent: the bundle."""
    output: bytes | bytearray | memoryview = b""
    """What is to be sent before it."""
    last: bool = False
    """Close when all is sent."""
    losses: Losses = field(default_factory=Losses)

    def pending(self) -> bool:
        """Say whether there is anything to send now."""
        if not self.output:
            self.output = next(self.frames, b"")
        return bool(self.output)

    def queue(self, data: bytes, *, last: bool = False) -> None:
        """Send this before the frames; with `last`, close after all is sent."""
        self.output, self.last = bytes(self.output) + data, last


class Owner(Protocol):
    """Who decides what becomes of a desktop that has proven the key."""

    def decide(self, connection: Connection, asked: Asked) -> None:
        """Answer a desktop that asks for the disk."""

    def received(self, connection: Connection) -> None:
        """A desktop has the whole system."""

    def closed(self, connection: Connection) -> None:
        """A connection is no more."""

    def loses(self, connection: Connection) -> None:
        """Much of what is sent to it gets lost."""

    def owns(self, connection: Connection) -> bool:
        """Say whether this is the desktop that has been granted the disk: it is not driven out by strangers."""


class Connections:
    """The handshake port."""

    def __init__(
        self, selector: selectors.BaseSelector, listener: socket.socket, challenges: Challenges, owner: Owner
    ) -> None:
        self._selector, self._listener, self._challenges, self._owner = selector, listener, challenges, owner
        self._all: list[Connection] = []
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def tick(self, now: float) -> None:
        """Close what has waited too long; `now` is monotonic, in seconds."""
        for connection in list(self._all):
            if now >= connection.deadline:
                self.close(connection)
            elif self._owner.owns(connection) and connection.losses.heavy([connection.socket]):
                self._owner.loses(connection)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._all

    def send(self, connection: Connection) -> None:
        """Begin to send what was queued, in a turn of the loop that is not the connection's own."""
        self._pump(connection, 0)

    def close(self, connection: Connection) -> None:
        """Forget a connection, if it is not forgotten yet."""
        if connection not in self._all:
            return
        self._all.remove(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        self._owner.closed(connection)

    def _accept(self, _: int) -> None:
        """Take a connection, driving out the oldest that has not come to an answer if there are too many."""
        if (caller := accepted(self._listener)) is None:
            return
        connected, source = caller
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_SECONDS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, INTERVAL_SECONDS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_SECONDS * 1000)
        unfinished = [one for one in self._all if not self._owner.owns(one)]
        if len(unfinished) >= CONNECTIONS_LIMIT:
            self.close(unfinished[0])
        deadline = time.monotonic() + HELLO_SECONDS
        connection = Connection(connected, source, ServerHandshake(self._challenges), deadline, iter(()))
        self._all.append(connection)
        self._selector.register(connected, selectors.EVENT_READ, lambda mask: self._pump(connection, mask))

    def _pump(self, connection: Connection, mask: int) -> None:
        """Move one connection on. What is wrong with it ends it without a word to the other side, and nothing else."""
        if connection not in self._all:  # closed in this very turn of the loop
            return
        try:
            if mask & selectors.EVENT_READ:
                self._feed(connection, connection.socket.recv(_CHUNK))
            self._flush(connection)
        except BlockingIOError:
            return
        except (StiefelError, OSError) as error:
            if self._owner.owns(connection):  # a stranger's are not worth a line: there may be thousands
                say(f"the session's beginning broke off: {error}")
            self.close(connection)

    def _feed(self, connection: Connection, data: bytes) -> None:
        try:
            said = connection.handshake.feed(data, time.monotonic())
        except Exception as error:
            raise HandshakeError(
                str(error)
            ) from error  # a stranger's bytes, whatever they are, are not the server's end
        match said:
            case Send(answer):
                connection.queue(answer)
            case Asked() as asked:
                self._owner.decide(connection, asked)
            case Received():
                self._owner.received(connection)

    def _flush(self, connection: Connection) -> None:
        """Send what the socket takes, and ask to be called again while there is more."""
        while connection in self._all and connection.pending():
            try:
                sent = connection.socket.send(connection.output)
            except BlockingIOError:
                self._watch(connection, selectors.EVENT_READ | selectors.EVENT_WRITE)
                return
            connection.output = memoryview(connection.output)[sent:]
        if connection.last:
            self.close(connection)
        elif connection in self._all:
            self._watch(connection, selectors.EVENT_READ)

    def _watch(self, connection: Connection, events: int) -> None:
        self._selector.modify(connection.socket, events, lambda mask: self._pump(connection, mask))
