"""The client side of NBD: negotiate over TCP, then hand the sockets to the kernel over generic netlink.

From then on the kernel owns the sockets and no process must survive. Sources: the NBD protocol document
(NetworkBlockDevice/nbd, doc/proto.md), linux/nbd-netlink.h, drivers/block/nbd.c.
"""

import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from stiefel_agent.errors import DiskRefused, DiskUnreachable
from stiefel_agent.machine import netdev
from stiefel_agent.machine.genl import NLA_F_NESTED, GenericNetlink, attribute

INIT_MAGIC = b"NBDMAGIC"
OPTION_MAGIC = b"IHAVEOPT"
REPLY_MAGIC = 0x0003E889045565A9
FIXED_NEWSTYLE, NO_ZEROES = 1, 2
OPT_GO = 7
REP_ACK, REP_INFO, REP_ERROR = 1, 3, 1 << 31
INFO_EXPORT, INFO_BLOCK_SIZE = 0, 3
MAX_REPLY = 4096
"""Bytes of one reply's payload: an export name or an error message has no reason to be longer."""

FLAG_READ_ONLY, FLAG_SEND_FLUSH, FLAG_SEND_FUA, FLAG_CAN_MULTI_CONN = 1 << 1, 1 << 2, 1 << 3, 1 << 8

CONNECT_SECONDS = 10
REQUEST_SECONDS = 30 * 86400
"""A request may take a month. None at all would mean 30 s, after which nbd.c (nbd_xmit_timeout) gives up a device's
connections one after the other. In jiffies it must fit 32 bits, with up to 1000 jiffies a second."""

USER_TIMEOUT_MS = 0x7FFFFFFF
"""TCP keeps trying for 24 days, not for the usual quarter of an hour (tcp(7), TCP_USER_TIMEOUT)."""

FOREVER_SECONDS = 10 * 365 * 86400
"""Without any connection, I/O waits so long for a new one; 0 is EIO at once (nbd.c, wait_for_reconnect)."""

NBD_CMD_CONNECT = 1
ATTR_INDEX, ATTR_SIZE_BYTES, ATTR_BLOCK_SIZE_BYTES, ATTR_TIMEOUT, ATTR_SERVER_FLAGS = 1, 2, 3, 4, 5
ATTR_SOCKETS, ATTR_DEAD_CONN_TIMEOUT, ATTR_BACKEND_IDENTIFIER = 7, 8, 10
SOCK_ITEM, SOCK_FD = 1, 1


@dataclass(frozen=True)
class Export:
    """What the server said of the disk: size in bytes, transmission flags, smallest block in bytes."""

    size: int
    flags: int
    minimum_block: int = 1


def _receive(connection: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise DiskUnreachable("the laptop closed the connection")
        data += chunk
    return bytes(data)


def go_option(export: str) -> bytes:
    """Return the message that asks for an export by name, and for its block sizes."""
    name = export.encode()
    data = struct.pack(">I", len(name)) + name + struct.pack(">HH", 1, INFO_BLOCK_SIZE)
    return OPTION_MAGIC + struct.pack(">II", OPT_GO, len(data)) + data


def _replies(connection: socket.socket) -> Iterator[bytes]:
    """Yield the payloads of the information replies up to the final acknowledgement."""
    while True:
        magic, option, kind, length = struct.unpack(">QIII", _receive(connection, 20))
        if magic != REPLY_MAGIC or option != OPT_GO or length > MAX_REPLY:
            raise DiskRefused("the laptop's answer is not NBD")
        payload = _receive(connection, length)
        if kind & REP_ERROR:
            reason = payload.decode(errors="replace") or f"error {kind ^ REP_ERROR}"
            raise DiskRefused(f"the laptop says: {reason}")
        if kind == REP_ACK:
            return
        if kind == REP_INFO:
            yield payload


def negotiate(connection: socket.socket, export: str) -> Export:
    """Bring a fresh connection to the transmission phase of an export.

    Raises:
        DiskUnreachable: the connection ended.
        DiskRefused: the server has no such export, or does not speak fixed newstyle NBD.
    """
    magic, option_magic, flags = struct.unpack(">8s8sH", _receive(connection, 18))
    if magic != INIT_MAGIC or option_magic != OPTION_MAGIC or not flags & FIXED_NEWSTYLE:
        raise DiskRefused("the laptop's greeting is not fixed newstyle NBD")
    client_flags = flags & (FIXED_NEWSTYLE | NO_ZEROES)
    connection.sendall(struct.pack(">I", client_flags) + go_option(export))
    size = transmission_flags = None
    minimum = 1
    for payload in _replies(connection):
        kind = int.from_bytes(payload[:2])
        if kind == INFO_EXPORT and len(payload) == 12:
            size, transmission_flags = struct.unpack(">QH", payload[2:])
        elif kind == INFO_BLOCK_SIZE and len(payload) == 14:
            minimum = int.from_bytes(payload[2:6])
    if size is None or transmission_flags is None:
        raise DiskRefused("the laptop did not say how large the disk is")
    return Export(size, transmission_flags, minimum)


def dial(host: str, port: int, export: str) -> tuple[socket.socket, Export]:
    """Connect and negotiate; the socket is blocking and ready for the kernel, now or at a reconnection.

    Raises:
        DiskUnreachable: no connection within CONNECT_SECONDS, or it broke.
        DiskRefused: see negotiate().
    """
    connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    try:
        connection.settimeout(CONNECT_SECONDS)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        connection.connect(netdev.socket_address(host, port))
        offered = negotiate(connection, export)
        connection.settimeout(None)
    except BaseException as error:
        connection.close()
        if isinstance(error, OSError):
            raise DiskUnreachable(f"{host} port {port}: {error}") from error
        raise
    return connection, offered


def dial_all(host: str, port: int, export: str, count: int) -> tuple[list[socket.socket], Export]:
    """Connect count times; once only if the server does not promise that its connections are coherent.

    Raises:
        DiskUnreachable, DiskRefused: as dial(); also if two connections are offered different disks.
    """
    connection, offered = dial(host, port, export)
    connections = [connection]
    try:
        for _ in range(1, count if offered.flags & FLAG_CAN_MULTI_CONN else 1):
            connection, other = dial(host, port, export)
            connections.append(connection)
            if other != offered:
                raise DiskRefused("two connections see two different disks")
    except BaseException:
        for connection in connections:
            connection.close()
        raise
    return connections, offered


def check(offered: Export, block_size: int) -> None:
    """Refuse a disk that would not be a disk: wrong sector size, read-only, or without flush.

    Raises:
        DiskRefused: with what is wrong.
    """
    if offered.size <= 0 or offered.size % block_size:
        raise DiskRefused(f"{offered.size} bytes are not a whole number of {block_size}-byte sectors")
    if offered.minimum_block > block_size:
        raise DiskRefused(f"its blocks have {offered.minimum_block} bytes, its sectors {block_size}")
    if offered.flags & FLAG_READ_ONLY:
        raise DiskRefused("it is read-only")
    if not offered.flags & FLAG_SEND_FLUSH:
        raise DiskRefused("it cannot flush, so a power cut could destroy what was saved")


def connect_attributes(index: int, offered: Export, block_size: int, sockets: Sequence[int], backend: str) -> bytes:
    """Return the attributes of NBD_CMD_CONNECT: requests do not time out, dead connections are waited out."""
    items = b"".join(
        attribute(SOCK_ITEM | NLA_F_NESTED, attribute(SOCK_FD, struct.pack("=I", descriptor))) for descriptor in sockets
    )
    return b"".join(
        (
            attribute(ATTR_INDEX, struct.pack("=I", index)),
            attribute(ATTR_SIZE_BYTES, struct.pack("=Q", offered.size)),
            attribute(ATTR_BLOCK_SIZE_BYTES, struct.pack("=Q", block_size)),
            attribute(ATTR_TIMEOUT, struct.pack("=Q", REQUEST_SECONDS)),
            attribute(ATTR_SERVER_FLAGS, struct.pack("=Q", offered.flags)),
            attribute(ATTR_DEAD_CONN_TIMEOUT, struct.pack("=Q", FOREVER_SECONDS)),
            attribute(ATTR_BACKEND_IDENTIFIER, backend.encode() + b"\0"),
            attribute(ATTR_SOCKETS | NLA_F_NESTED, items),
        )
    )


def connect(index: int, offered: Export, block_size: int, sockets: Sequence[int], backend: str) -> None:
    """Let the kernel make /dev/nbd<index> of negotiated sockets (descriptors); it takes its own references.

    backend: what names this disk (/sys/block/nbd<index>/backend); a later reconfiguration must name the same.

    Raises:
        DiskRefused: the kernel's refusal.
    """
    try:
        with GenericNetlink() as netlink:
            payload = connect_attributes(index, offered, block_size, sockets, backend)
            netlink.call(netlink.family("nbd"), NBD_CMD_CONNECT, payload)
    except OSError as error:
        raise DiskRefused(f"the kernel's nbd driver says: {error.strerror}") from error
