"""Generic netlink, as much as the nbd driver needs. Sources: netlink(7), linux/netlink.h, genetlink.h."""

import os
import socket
import struct
import sys
from collections.abc import Iterator
from typing import Self

NETLINK_GENERIC = 16
NLM_F_REQUEST, NLM_F_ACK = 1, 4
NLMSG_ERROR = 2
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF
GENL_ID_CTRL, CTRL_CMD_GETFAMILY, CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2


def attribute(kind: int, payload: bytes) -> bytes:
    """Return one attribute, padded to four bytes."""
    length = 4 + len(payload)
    return struct.pack("=HH", length, kind) + payload + bytes(-length % 4)


def attributes(data: bytes) -> dict[int, bytes]:
    """Return a list of attributes by kind; the last of a kind wins, a torn one ends the list."""
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if not 4 <= length <= len(data):
            break
        found[kind & NLA_TYPE_MASK] = data[4:length]
        data = data[(length + 3) & ~3 :]
    return found


def request(family: int, command: int, sequence: int, payload: bytes) -> bytes:
    """Return a request that asks for an acknowledgement; version 1 of the family's interface."""
    header = struct.pack("=IHHII", 20 + len(payload), family, NLM_F_REQUEST | NLM_F_ACK, sequence, 0)
    return header + struct.pack("=BBH", command, 1, 0) + payload


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, sequence number and body of each whole message in what one recv() returned."""
    while len(data) >= 16:
        length, kind, _flags, sequence, _port = struct.unpack_from("=IHHII", data)
        if not 16 <= length <= len(data):
            return
        yield kind, sequence, data[16:length]
        data = data[(length + 3) & ~3 :]


class GenericNetlink:
    """A generic netlink socket, one request at a time: a context manager."""

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_NETLINK, kind, NETLINK_GENERIC)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def call(self, family: int, command: int, payload: bytes) -> dict[int, bytes]:
        """Send a request, return the attributes of its answer (none if the kernel only acknowledged).

        Raises:
            OSError: the kernel's refusal.
        """
        self._sequence += 1
        self._socket.sendall(request(family, command, self._sequence, payload))
        answer: dict[int, bytes] = {}
        while True:
            for kind, sequence, body in messages(self._socket.recv(65536)):
                if sequence != self._sequence:
                    continue
                if kind != NLMSG_ERROR:
                    answer = attributes(body[4:])
                    continue
                (code,) = struct.unpack_from("=i", body)
                if code:
                    raise OSError(-code, os.strerror(-code))
                return answer

    def family(self, name: str) -> int:
        """Return a family's number; OSError if the kernel has none of this name."""
        answer = self.call(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, attribute(CTRL_ATTR_FAMILY_NAME, name.encode() + b"\0"))
        return int.from_bytes(answer[CTRL_ATTR_FAMILY_ID], sys.byteorder)
