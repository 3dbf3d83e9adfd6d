"""The end of a session, from the target: everything is on the laptop's disk, and the laptop is told so.

systemd-shutdown runs this as its last act: processes are gone, root is read-only, the link is still up.
"""

import fcntl
import os
import socket
from pathlib import Path

from stiefel_agent.console import event, say
from stiefel_agent.errors import ReleaseFailed, StiefelError
from stiefel_agent.netdev import socket_address
from stiefel_agent.session import IN_TARGET, Session, parse

DISK = Path("/dev/nbd0")
BLKFLSBUF = 0x1261
"""linux/fs.h: write back and forget what the block device has in its cache."""

SECONDS = 5
"""How long to wait for the laptop, at each step; with the cable out, nobody should wait for ever (F12)."""

ANSWER = b"ok\n"


def flush(disk: Path) -> None:
    """Bring everything that was written to the laptop's disk, past every cache on the way."""
    os.sync()
    descriptor = os.open(disk, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, BLKFLSBUF, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def release(session: Session, disk: Path) -> None:
    """Reach the laptop first (or flushing would wait for ever), flush, send the token, await the ok.

    Raises:
        ReleaseFailed: the laptop was not reached or did not confirm.
    """
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            connection.connect(socket_address(session.server_host, session.release.port))
            flush(disk)
            connection.sendall(session.release.token.encode() + b"\n")
            answer = b""
            while len(answer) < len(ANSWER) and (chunk := connection.recv(len(ANSWER))):
                answer += chunk
    except OSError as error:
        raise ReleaseFailed(str(error)) from error
    if answer != ANSWER:
        raise ReleaseFailed("it did not confirm")


def main() -> int:
    """Release the disk if this system is a target; 1 when the laptop could not be told."""
    if not IN_TARGET.exists():
        return 0
    try:
        say("giving the disk back to the laptop")
        release(parse(IN_TARGET.read_bytes(), redacted=True), DISK)
    except (StiefelError, OSError) as error:
        say(str(error))
        return 1
    event("disk_returned")
    return 0
