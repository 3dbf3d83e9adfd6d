"""Netlink's messages and sockets, as much as all families share. Sources: netlink(7), linux/netlink.h."""

import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Self

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x1, 0x4, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLA_F_NESTED, NLA_TYPE_MASK = 0x8000, 0x3FFF


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


def request(kind: int, flags: int, sequence: int, payload: bytes) -> bytes:
    """Return a request with its header; the kernel fills in our port."""
    return struct.pack("=IHHII", 16 + len(payload), kind, NLM_F_REQUEST | flags, sequence, 0) + payload


def messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield type, sequence number and body of each whole message in what one recv() returned."""
    while len(data) >= 16:
        length, kind, _flags, sequence, _port = struct.unpack_from("=IHHII", data)
        if not 16 <= length <= len(data):
            return
        yield kind, sequence, data[16:length]
        data = data[(length + 3) & ~3 :]


class Netlink:
    """A netlink socket of one family, one request at a time: a context manager.

    It speaks to the network namespace in which it was opened, wherever its process goes afterwards.
    """

    def __init__(self, family: int) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, family)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()

    def call(self, kind: int, payload: bytes, flags: int = NLM_F_ACK) -> list[bytes]:
        """Send a request, return the bodies of its answers: none if the kernel only acknowledged.

        Raises:
            OSError: the kernel's refusal.
        """
        self._sequence += 1
        self._socket.sendall(request(kind, flags, self._sequence, payload))
        answers: list[bytes] = []
        while True:
            for answer, sequence, body in messages(self._socket.recv(65536)):
                if sequence != self._sequence:
                    continue
                if answer == NLMSG_DONE:
                    return answers
                if answer != NLMSG_ERROR:
                    answers.append(body)
                    continue
                (code,) = struct.unpack_from("=i", body)
                if code:
                    raise OSError(-code, os.strerror(-code))
                return answers


class Ear:
    """A netlink socket that only listens: a context manager with a file descriptor for select. It never blocks."""

    def __init__(self, family: int, groups: int = 0) -> None:
        """`groups`: the first 32 of the family's multicast groups, as bits (netlink(7))."""
        kind = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, family)
        self._socket.bind((0, groups))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self._socket.fileno()

    def heard(self) -> Iterator[bytes]:
        """Yield what was announced so far; nothing (b"") in the place of what was lost in a flood."""
        while True:
            try:
                yield self._socket.recv(65536)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return
                yield b""
