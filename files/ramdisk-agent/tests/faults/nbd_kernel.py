"""What the kernel's nbd driver does with negotiated sockets, in user space: the transmission phase of NBD."""

import itertools
import socket
import struct
import threading
from collections import deque
from contextlib import suppress

from waiting import SECONDS, wait_for

REQUEST, REPLY = 0x25609513, 0x67446698
READ, WRITE, FLUSH = 0, 1, 3
DEPTH = 8
"""Writes of a load that are under way on each connection: a stop of the server meets some of them."""
BLOCK = 4096


class ConnectionLost(Exception):
    """The connection ended; the driver would wait for another one and send the request again."""


class ErrorReply(Exception):
    """The server answered with an error, which the driver hands on: an I/O error in the target."""


class Connection:
    """One socket in its transmission phase."""

    def __init__(self, sock):
        self.socket = sock
        self.socket.settimeout(SECONDS)
        self._cookies = itertools.count()

    def ask(self, kind, offset=0, length=0, data=b""):
        cookie = next(self._cookies)
        try:
            self.socket.sendall(struct.pack(">IHHQQI", REQUEST, 0, kind, cookie, offset, length or len(data)) + data)
        except OSError as error:
            raise ConnectionLost(str(error)) from error
        return cookie

    def answer(self, length=0):
        magic, error, _cookie = struct.unpack(">IIQ", self._receive(16))
        assert magic == REPLY
        if error:
            raise ErrorReply(error)
        return self._receive(length)

    def _receive(self, count):
        data = b""
        while len(data) < count:
            try:
                chunk = self.socket.recv(count - len(data))
            except OSError as error:
                raise ConnectionLost(str(error)) from error
            if not chunk:
                raise ConnectionLost("closed")
            data += chunk
        return data


class Disk:
    """A disk of the target: its connections, used in turn."""

    def __init__(self, size, flags, sockets):
        self.size, self.flags = size, flags
        self.connections = [Connection(sock) for sock in sockets]
        self._turn = itertools.cycle(self.connections)

    def read(self, offset, length):
        connection = next(self._turn)
        connection.ask(READ, offset, length)
        return connection.answer(length)

    def write(self, offset, data):
        connection = next(self._turn)
        connection.ask(WRITE, offset, data=data)
        connection.answer()

    def flush(self):
        connection = next(self._turn)
        connection.ask(FLUSH)
        connection.answer()

    def close(self):
        for connection in self.connections:
            connection.socket.close()


class Load:
    """Writes without end on every connection of a disk, several at a time: a context manager.

    `done` counts what was acknowledged, `errors` are the server's error replies, `lost` the connections that ended.
    """

    def __init__(self, disk):
        self.done, self.errors, self.lost = 0, [], []
        self._stop = False
        self._disk = disk
        self._threads = [
            threading.Thread(target=self._write, args=(number, connection), daemon=True)
            for number, connection in enumerate(disk.connections)
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, *_):
        self._stop = True
        for connection in self._disk.connections:
            with suppress(OSError):  # it had ended before
                connection.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(SECONDS)

    def goes_on(self):
        """Wait until as much again as can be under way has been written: no answer of before counts."""
        wanted = self.done + DEPTH * len(self._disk.connections) + 1
        wait_for(lambda: self.done >= wanted or self.errors or self.lost, "the writing goes on")
        assert not self.errors and not self.lost, (self.errors, self.lost)

    def ended(self):
        """Wait until each connection has ended, by whatever."""
        wait_for(lambda: len(self.lost) == len(self._threads), "the connections of the load have ended")

    def _write(self, number, connection):
        under_way = deque()
        try:
            for block in itertools.cycle(range(64)):
                offset = (number * 64 + block) * BLOCK
                under_way.append(connection.ask(WRITE, offset, data=bytes([block]) * BLOCK))
                if len(under_way) == DEPTH:
                    self._answer(connection)
                    under_way.popleft()
        except ConnectionLost as error:
            if not self._stop:
                self.lost.append(str(error))

    def _answer(self, connection):
        try:
            connection.answer()
        except ErrorReply as error:
            self.errors.append(error.args[0])
        self.done += 1
