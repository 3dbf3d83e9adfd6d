"""The end of a session, from the target: everything is on the laptop's disk, and the laptop is told so.

systemd-shutdown runs this as its last act: processes are gone, root is read-only, the link is still up.
"""

import fcntl
import os
import select
import socket
from pathlib import Path

from stiefel_agent.errors import ReleaseFailed, StiefelError
from stiefel_agent.face.console import event, say
from stiefel_agent.machine import netns
from stiefel_agent.machine.netdev import socket_address
from stiefel_agent.protocol.session import IN_TARGET, KEEPER, Session, parse

DISK = Path("/dev/nbd0")
BLKFLSBUF = 0x1261
"""linux/fs.h: write back and forget what the block device has in its cache."""

FLUSH_SECONDS = 30
"""How long the last bytes may take; systemd has synced before, so little is left. Failure mode F12."""

ANSWER_SECONDS = 5
"""How long to wait for the laptop's answer."""

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


def flush_within(disk: Path, seconds: float) -> None:
    """Flush in a child, for without the laptop a flush waits for ever, and cannot even be killed.

    Raises:
        ReleaseFailed: it did not come to an end, or failed.
    """
    child = os.fork()
    if child == 0:
        try:
            flush(disk)
            os._exit(0)
        finally:
            os._exit(1)
    ended, _, _ = select.select([os.pidfd_open(child)], [], [], seconds)
    if not ended:
        raise ReleaseFailed(f"the last data could not be written within {seconds} s: is the cable in?")
    if os.waitpid(child, 0)[1]:
        raise ReleaseFailed("the last data could not be written")


def enter_namespace() -> None:
    """Go where the cable is: the keeper is there, spared by systemd-shutdown, and keeps the namespace alive.

    Its name in /run/netns is gone by now: systemd-shutdown has unmounted it.

    Raises:
        ReleaseFailed: there is no keeper any more.
    """
    try:
        descriptor = os.open(f"/proc/{int(KEEPER.read_text())}/ns/net", os.O_RDONLY)
    except (OSError, ValueError) as error:
        raise ReleaseFailed(f"nobody keeps the cable: {error}") from error
    netns.enter(descriptor)
    os.close(descriptor)


def hand_back(session: Session) -> None:
    """Send the token, await the laptop's ok.

    Raises:
        ReleaseFailed: the laptop was not reached or did not confirm.
    """
    answer = b""
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(socket_address(session.server_host, session.release.port))
            connection.sendall(session.release.token.encode() + b"\n")
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
        session = parse(IN_TARGET.read_bytes(), redacted=True)
        flush_within(DISK, FLUSH_SECONDS)
        enter_namespace()
        hand_back(session)
    except (StiefelError, OSError) as error:
        say(str(error))
        return 1
    event("disk_returned")
    return 0
