"""Listen at one address, then become another program: `listen.py ADDRESS PORT PROGRAM [ARGUMENT ...]`.

nbdkit takes a listening socket as systemd hands it over (sd_listen_fds(3)), but neither nbdkit nor a .socket unit can
set what its connections inherit here: how long TCP believes in a peer that does not answer.

* A target behind a cable that is out must be waited for. `tcp_retries2` ends at 255, which is about eight and a half
  hours; TCP_USER_TIMEOUT takes the place of that rule (tcp(7)), up to 24 days.
* A target that has given a connection up answers the next packet with a reset. An idle connection sends none, so
  keepalives do; they make no connection end that just gets no answer, for TCP_USER_TIMEOUT counts for them as well.
* Where only the desktop's cable was out, for a switch is in between, the laptop sends in vain, and waits twice as long
  each time. Where the kernel has TCP_RTO_MAX_MS (6.15; Debian 13's is older) it tries again every second.
"""

import os
import socket
import sys
from contextlib import suppress

USER_TIMEOUT_MS = 0x7FFFFFFF
TCP_RTO_MAX_MS, RTO_MAX_MS = 44, 1000
"""linux/tcp.h, since 6.15."""
KEEPALIVE_SECONDS = 10
BACKLOG = 64
FIRST = 3
"""The descriptor that sd_listen_fds(3) begins with."""


def listening(address: str, port: int) -> socket.socket:
    """Return the socket; its connections inherit its options (tcp(7))."""
    server = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_SECONDS)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_SECONDS)
    server.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    with suppress(OSError):  # an older kernel
        server.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RTO_MAX_MS)
    server.bind((address, port))
    server.listen(BACKLOG)
    return server


def tell_systemd() -> None:
    """Say that connections are taken from now on: until nbdkit looks, they wait (sd_notify(3))."""
    if path := os.environ.pop("NOTIFY_SOCKET", ""):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as message:
            message.sendto(b"READY=1", path.replace("@", "\0", 1) if path.startswith("@") else path)


def main() -> None:
    """Never returns."""
    _, address, port, *command = sys.argv
    server = listening(address, int(port))
    if server.fileno() != FIRST:
        os.dup2(server.fileno(), FIRST)
        server.close()
    os.set_inheritable(FIRST, True)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
    tell_systemd()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
