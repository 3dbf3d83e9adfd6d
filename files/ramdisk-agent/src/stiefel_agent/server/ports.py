"""The server's TCP ports, where anybody may call."""

import socket

from stiefel_agent.protocol.handshake import CONNECTIONS_LIMIT


def listening(host: str, port: int) -> socket.socket:
    """Return a listening, non-blocking IPv6 TCP socket. Raises OSError."""
    listener = socket.create_server((host, port), family=socket.AF_INET6, backlog=CONNECTIONS_LIMIT)
    listener.setblocking(False)
    return listener


def accepted(listener: socket.socket) -> tuple[socket.socket, str] | None:
    """Return a caller's non-blocking socket and address; None when it went away before we looked (accept(2))."""
    try:
        connected, source = listener.accept()
    except OSError:
        return None
    connected.setblocking(False)
    return connected, source[0]
