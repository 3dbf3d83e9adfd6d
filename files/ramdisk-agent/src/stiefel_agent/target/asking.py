"""Asking the laptop whether the session is over: on the cable itself, for no tunnel outlives the laptop's kernel."""

import base64
import socket
from contextlib import suppress

from stiefel_agent.protocol.meeting import DATAGRAM_SIZE, GROUP, PORT
from stiefel_agent.protocol.session import Over


class Asking:
    """A question that is sent as often as one likes, and an ear for its one answer, in the namespace it was made in.

    Without `over` (a laptop that could not answer) it sends nothing and hears nothing.
    """

    def __init__(self, over: Over | None) -> None:
        self._question, self._answer = (
            (base64.b64decode(one) for one in (over.question, over.answer)) if over else (b"", b"")
        )
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)

    def fileno(self) -> int:
        """Return the file descriptor, for select."""
        return self._socket.fileno()

    def ask(self, interface: int) -> None:
        """Send the question to whoever is on this interface's cable; as any datagram it may be lost."""
        with suppress(OSError):
            if self._question:
                self._socket.sendto(self._question, (GROUP, PORT, 0, interface))

    def heard(self) -> bool:
        """Take all that has come in; say whether the answer was among it."""
        over = False
        with suppress(OSError):
            while True:
                said = self._socket.recv(DATAGRAM_SIZE + 1)
                over = over or (bool(self._answer) and said == self._answer)
        return over
