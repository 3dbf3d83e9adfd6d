"""The client side of NBD: negotiate over TCP, then hand the sockets to the kernel over generic netlink.

From then on the kernel owns the sockets and no process must survive. Sources: the NBD protocol document
(NetworkBlockDevice/nbd, doc/proto.md), linux/nbd-netlink.h, drivers/block/nbd.c.
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from stiefel_agent.errors import DiskRefused, DiskUnreachable, DiskWithheld, StiefelError
from stiefel_agent.machine import netdev
from stiefel_agent.machine.genl import GenericNetlink
from stiefel_agent.machine.netlink import NLA_F_NESTED, attribute

INIT_MAGIC = b"NBDMAGIC"
OPTION_MAGIC = b"IHAVEOPT"
REPLY_MAGIC = 0x0003E889045565A9
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPT_GO = 7
REP_ACK, REP_INFO, REP_ERROR = 1, 3, 1 << 31
REP_ERR_UNKNOWN, REP_ERR_SHUTDOWN = 6, 7
REFUSALS = {
    1: "it does not know how to hand out a disk by name",
    2: "it may not",
    3: "it did not understand the question",
    4: "it cannot on this machine",
    5: "it wants TLS, which we do not speak",
    8: "it wants to agree on block sizes",
    9: "the question was too long",
    10: "it wants extended headers",
}
"""The protocol document's NBD_REP_ERR_ numbers that no further try will change."""
INFO_EXPORT = 0
MAX_REPLY = 4096
"""Bytes of one reply's payload: an export name or an error message has no reason to be longer."""

FLAG_READ_ONLY, FLAG_SEND_FLUSH, FLAG_SEND_FUA, FLAG_CAN_MULTI_CONN = 1 << 1, 1 << 2, 1 << 3, 1 << 8

CONNECT_SECONDS = 10
REQUEST_SECONDS = 30
"""How long a request may be on its way before the kernel sends it again on another connection (nbd_xmit_timeout).

nbd.c has no other way to move requests off a dead connection: recv_work() only marks it dead. Never shorter than a
disk may take, for then the request is still being done when it comes again: 30 s is what SCSI gives a disk. Never so
long that a server that crashed is felt for minutes. As connections are waited for, no request ever fails of it."""

USER_TIMEOUT_MS = 0x7FFFFFFF
"""TCP keeps trying for 24 days, not for the usual quarter of an hour (tcp(7), TCP_USER_TIMEOUT)."""

TCP_RTO_MAX_MS, RTO_MAX_MS = 44, 1000
"""linux/tcp.h, since 6.15: TCP tries again every second at least, however long nobody answered."""

FOREVER_SECONDS = 10 * 365 * 86400
"""Without any connection, I/O waits so long for a new one; 0 is EIO at once (nbd.c, wait_for_reconnect)."""

NBD_CMD_CONNECT, NBD_CMD_RECONFIGURE, NBD_CMD_LINK_DEAD = 1, 3, 4
TCP_ESTABLISHED = 1
ATTR_INDEX, ATTR_SIZE_BYTES, ATTR_BLOCK_SIZE_BYTES, ATTR_TIMEOUT, ATTR_SERVER_FLAGS = 1, 2, 3, 4, 5
ATTR_SOCKETS, ATTR_DEAD_CONN_TIMEOUT = 7, 8
SOCK_ITEM, SOCK_FD = 1, 1


@dataclass(frozen=True)
class Export:
    """What the server said of the disk: size in bytes, transmission flags.

    Block sizes are not asked for. What nbdkit names the smallest one is what the disk prefers (BLKIOMIN), which is 4096
    bytes on most disks with sectors of 512; the sector's size comes from the laptop, in the session.
    """

    size: int
    flags: int


def _receive(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise DiskUnreachable("the laptop closed the connection")
        data += chunk
    return bytes(data)


def go_option(export: str) -> bytes:
    """Return the message that asks for an export by name, and for nothing else of it."""
    name = export.encode()
    data = struct.pack(">I", len(name)) + name + struct.pack(">H", 0)
    return OPTION_MAGIC + struct.pack(">II", OPT_GO, len(data)) + data


def refusal(number: int, text: bytes) -> StiefelError:
    """Return what an error reply means: number without REP_ERROR, and what the laptop says to it, if anything.

    An unknown name is not the last word: nbdkit says so too when it has as many connections as it takes, or when
    it cannot open the disk (its server/protocol-handshake-newstyle.c).
    """
    said = f": {text.decode(errors='backslashreplace')}" if text else ""
    if number == REP_ERR_UNKNOWN:
        return DiskWithheld(f"it knows no such export, or has all the connections it takes{said}")
    if number == REP_ERR_SHUTDOWN:
        return DiskUnreachable(f"it is about to stop{said}")
    return DiskRefused(f"the laptop says: {REFUSALS.get(number, f'error {number}')}{said}")


def _replies(connection: socket.socket) -> Iterator[bytes]:
    """Yield the payloads of the information replies up to the final acknowledgement."""
    while True:
        magic, option, kind, length = struct.unpack(">QIII", _receive(connection, 20))
        if magic != REPLY_MAGIC or option != OPT_GO or length > MAX_REPLY:
            raise DiskRefused("the laptop's answer is not NBD")
        payload = _receive(connection, length)
        if kind & REP_ERROR:
            raise refusal(kind ^ REP_ERROR, payload)
        if kind == REP_ACK:
            return
        if kind == REP_INFO:
            yield payload


def negotiate(connection: socket.socket, export: str) -> Export:
    """Bring a fresh connection to the transmission phase of an export.

    Raises:
        DiskUnreachable: the connection ended, or the server is about to.
        DiskWithheld: the server has no such export, or too many connections.
        DiskRefused: the server does not speak fixed newstyle NBD, or has a reason that stays.
    """
    magic, option_magic, flags = struct.unpack(">8s8sH", _receive(connection, 18))
    if magic != INIT_MAGIC or option_magic != OPTION_MAGIC or not flags & FIXED_NEWSTYLE:
        raise DiskRefused("the laptop's greeting is not fixed newstyle NBD")
    client_flags = flags & (FIXED_NEWSTYLE | NO_ZEROES)
    connection.sendall(struct.pack(">I", client_flags) + go_option(export))
    size = transmission_flags = None
    for payload in _replies(connection):
        kind = int.from_bytes(payload[:2])
        if kind == INFO_EXPORT and len(payload) == 12:
            size, transmission_flags = struct.unpack(">QH", payload[2:])
    if size is None or transmission_flags is None:
        raise DiskRefused("the laptop did not say how large the disk is")
    return Export(size, transmission_flags)


def dial(
    host: str, port: int, export: str, segment: int, seconds: float = CONNECT_SECONDS
) -> tuple[socket.socket, Export]:
    """Connect and negotiate; the socket is blocking and ready for the kernel, now or at a reconnection.

    segment: bytes of TCP's largest segment, in both directions: the other end is told so (tcp(7), TCP_MAXSEG).

    Raises:
        DiskUnreachable: no answer within so many seconds, or the connection broke.
        DiskWithheld, DiskRefused: see negotiate().
    """
    connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        connection.settimeout(seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, segment)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        with suppress(OSError):  # an older kernel
            connection.setsockopt(socket.IPPROTO_TCP, TCP_RTO_MAX_MS, RTO_MAX_MS)
        connection.connect(netdev.socket_address(host, port))
        offered = negotiate(connection, export)
        connection.settimeout(None)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise DiskUnreachable(f"{host} port {port}: {error}") from error
        raise
    return connection, offered


def dial_all(host: str, port: int, export: str, segment: int, count: int) -> tuple[list[socket.socket], Export]:
    """Connect count times; once only if the server does not promise that its connections are coherent.

    Raises:
        DiskUnreachable, DiskWithheld, DiskRefused: as dial(); also if two connections are offered different disks.
    """
    connection, offered = dial(host, port, export, segment)
    connections = [connection]
    try:
        for _ in range(1, count if offered.flags & FLAG_CAN_MULTI_CONN else 1):
            connection, other = dial(host, port, export, segment)
            connections.append(connection)
            if other != offered:
                raise DiskRefused("two connections see two different disks")
    except BaseException:
        for connection in connections:
            connection.close()
        raise
    return connections, offered


def check(offered: Export, block_size: int) -> None:
    """Refuse a disk that would not be a disk: no whole number of sectors, read-only, or without flush.

    Raises:
        DiskRefused: with what is wrong.
    """
    if offered.size <= 0 or offered.size % block_size:
        raise DiskRefused(f"{offered.size} bytes are not a whole number of {block_size}-byte sectors")
    if offered.flags & FLAG_READ_ONLY:
        raise DiskRefused("it is read-only")
    if not offered.flags & FLAG_SEND_FLUSH:
        raise DiskRefused("it cannot flush, so a power cut could destroy what was saved")


def sockets_attribute(sockets: Sequence[int]) -> bytes:
    """Return the attribute that names sockets by their descriptors."""
    items = b"".join(
        attribute(SOCK_ITEM | NLA_F_NESTED, attribute(SOCK_FD, struct.pack("=I", descriptor))) for descriptor in sockets
    )
    return attribute(ATTR_SOCKETS | NLA_F_NESTED, items)


def connect_attributes(index: int, offered: Export, block_size: int, sockets: Sequence[int]) -> bytes:
    """Return the attributes of NBD_CMD_CONNECT: requests are sent again, dead connections are waited out.

    The export's name is a secret, so there is no NBD_ATTR_BACKEND_IDENTIFIER: every user can read that
    (/sys/block/nbd0/backend).
    """
    return b"".join(
        (
            attribute(ATTR_INDEX, struct.pack("=I", index)),
            attribute(ATTR_SIZE_BYTES, struct.pack("=Q", offered.size)),
            attribute(ATTR_BLOCK_SIZE_BYTES, struct.pack("=Q", block_size)),
            attribute(ATTR_TIMEOUT, struct.pack("=Q", REQUEST_SECONDS)),
            attribute(ATTR_SERVER_FLAGS, struct.pack("=Q", offered.flags)),
            attribute(ATTR_DEAD_CONN_TIMEOUT, struct.pack("=Q", FOREVER_SECONDS)),
            sockets_attribute(sockets),
        )
    )


def connect(netlink: GenericNetlink, index: int, offered: Export, block_size: int, sockets: Sequence[int]) -> None:
    """Let the kernel make /dev/nbd<index> of negotiated sockets (descriptors); it takes its own references.

    netlink: opened in the first network namespace; the sockets may be of any.

    Raises:
        DiskRefused: the kernel's refusal.
    """
    try:
        payload = connect_attributes(index, offered, block_size, sockets)
        netlink.ask(netlink.family("nbd"), NBD_CMD_CONNECT, payload)
    except OSError as error:
        raise DiskRefused(f"the kernel's nbd driver says: {error.strerror}") from error


def reconfigure(netlink: GenericNetlink, index: int, sockets: Sequence[int]) -> None:
    """Give the kernel sockets for connections that it has found dead; more than that it drops without a word.

    Nothing else is named: a size would be set anew (nbd.c, nbd_genl_reconfigure). Raises OSError.
    """
    payload = attribute(ATTR_INDEX, struct.pack("=I", index)) + sockets_attribute(sockets)
    netlink.ask(netlink.family("nbd"), NBD_CMD_RECONFIGURE, payload)
