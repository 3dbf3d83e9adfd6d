"""What nbdkit's connections inherit from the socket that is handed to it."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from stiefel_agent.server import listen

SECONDS = 60.0
PROGRAM = """
import os, socket
assert os.environ["LISTEN_FDS"] == "1" and int(os.environ["LISTEN_PID"]) == os.getpid()
assert "NOTIFY_SOCKET" not in os.environ
connection, _ = socket.socket(fileno=3).accept()
options = (socket.SOL_SOCKET, socket.SO_KEEPALIVE), (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
connection.sendall(" ".join(str(connection.getsockopt(*option)) for option in options).encode())
"""


def free_port() -> int:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as found:
        return int(found.getsockname()[1])


def rto_max(connection: socket.socket) -> int:
    """Return after how many ms at most TCP tries again; 0: this kernel cannot say."""
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, listen.TCP_RTO_MAX_MS)
    except OSError:
        return 0


def test_a_desktop_that_comes_back_need_not_wait_for_the_laptop_to_try_again() -> None:
    port = free_port()
    with listen.listening("::1", port) as server, socket.create_connection(("::1", port), SECONDS) as usual:
        connection, _ = server.accept()
        with connection:
            if rto_max(usual):  # the kernel knows it, and its own is two minutes
                assert rto_max(connection) == listen.RTO_MAX_MS


def test_a_connection_waits_for_weeks_and_asks_whether_the_other_end_is_there(tmp_path: Path) -> None:
    port, notified = free_port(), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    with notified:
        notified.bind(str(tmp_path / "notify"))
        notified.settimeout(SECONDS)
        program = [sys.executable, "-I", "-S", listen.__file__, "::1", str(port), sys.executable, "-c", PROGRAM]
        environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with subprocess.Popen(program, env=environment) as process:
            assert notified.recv(100) == b"READY=1"
            with socket.create_connection(("::1", port), SECONDS) as connection:
                said = connection.makefile().read()
            assert process.wait(SECONDS) == 0
    assert said == f"1 {listen.USER_TIMEOUT_MS}"
