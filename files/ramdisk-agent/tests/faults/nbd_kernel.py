"""What the kernel's nbd driver does with negotiated sockets, in user space: the transmission phase of NBD.

As in nbd.c (with NBD_ATTR_DEAD_CONN_TIMEOUT): a request whose connection ends is sent again on another one, or waits
for one; each connection that ends is announced once; new sockets take the places of dead ones, and only those. What the
server answers with an error is an I/O error.
"""

import itertools
import json
import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from typing import ClassVar

from waiting import SECONDS, wait_for

from stiefel_agent.target.nbd import REQUEST_SECONDS

REQUEST, REPLY = 0x25609513, 0x67446698
READ, WRITE, FLUSH = 0, 1, 3
DEPTH = 8
"""Writes of a load that are under way on each connection: a stop of the server meets some of them."""
BLOCK = 4096


class ConnectionLost(Exception):
    """The connection ended, and there is no other."""


class ErrorReply(Exception):
    """The server answered with an error, which the driver hands on: an I/O error in the target."""


class Connection:
    """One socket in its transmission phase."""

    def __init__(self, sock):
        self.socket = sock
        self.socket.settimeout(REQUEST_SECONDS)  # as the driver was told: then the request goes to another connection
        self.dead = False
        self._cookies = itertools.count()

    def ask(self, kind, offset=0, length=0, data=b""):
        header = struct.pack(">IHHQQI", REQUEST, 0, kind, next(self._cookies), offset, length or len(data))
        try:
            self.socket.sendall(header + data)
        except OSError as error:
            raise ConnectionLost(str(error)) from error

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
    """A disk of the target and its connections."""

    def __init__(self, size, flags, sockets):
        self.size, self.flags = size, flags
        self.connections = [Connection(sock) for sock in sockets]
        self.keeper = None
        """Where deaths are announced: to whoever replaces connections that end."""
        self._changed = threading.Condition()

    def read(self, offset, length):
        return self._ask(READ, offset, length)

    def write(self, offset, data):
        self._ask(WRITE, offset, 0, data)

    def flush(self):
        self._ask(FLUSH, 0, 0)

    def _ask(self, kind, offset, length, data=b""):
        """Send a request, and again on another connection when one ends."""
        while True:
            connection = self.living()
            try:
                connection.ask(kind, offset, length, data)
                return connection.answer(length)
            except ConnectionLost as error:
                self.bury(connection, error)

    def living(self, number=None):
        """Return a connection that lives (one in particular), waiting for one if somebody sees to it."""

        def look():
            chosen = self.connections if number is None else [self.connections[number]]
            return next((one for one in chosen if not one.dead), None)

        with self._changed:
            assert self._changed.wait_for(look, SECONDS), "no connection came back"
            return look()

    def bury(self, connection, error):
        """Announce a connection that has ended; raise what ended it when nobody will bring another."""
        with self._changed:
            if not connection.dead:
                connection.dead = True
                with suppress(OSError):  # it has ended in both directions
                    connection.socket.shutdown(socket.SHUT_RDWR)
                if self.keeper:
                    self.keeper.send(b"!")
        if not self.keeper:
            raise error

    def reconfigure(self, sockets):
        """Put new sockets in the places of dead ones; what is left over is dropped (nbd.c, nbd_reconnect_socket)."""
        with self._changed:
            for number, connection in enumerate(self.connections):
                if connection.dead and sockets:
                    connection.socket.close()
                    self.connections[number] = Connection(sockets.pop(0))
            self._changed.notify_all()
        for sock in sockets:
            sock.close()

    def close(self):
        for connection in self.connections:
            connection.socket.close()
        if self.keeper:
            self.keeper.close()


class Driver:
    """The driver's end of generic netlink, for roles.py: takes sockets, and announces dead connections."""

    def __init__(self, path):
        self.disk = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(str(path))
        self._listener.listen(16)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                taken, _ = self._listener.accept()
            except OSError:  # closed
                return
            told, descriptors, _, _ = socket.recv_fds(taken, 4096, 16)
            self._do(json.loads(told), [socket.socket(fileno=one) for one in descriptors], taken)
            with suppress(OSError):
                taken.send(b"!")
            if self.disk.keeper is not taken:
                taken.close()

    def _do(self, told, sockets, taken):
        match told["command"]:
            case "connect":
                self.disk = Disk(told["size"], told["flags"], sockets)
            case "reconfigure":
                self.disk.reconfigure(sockets)
            case "announce":
                self.disk.keeper = taken

    def close(self):
        with suppress(OSError):  # a machine may be switched off twice
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        if self.disk:
            self.disk.close()


class OnEachConnection:
    """A thread for each connection of a disk, which begins with a `with` block and does what `_go` says."""

    def __init__(self, disk):
        self.done, self.errors, self.lost = 0, [], []
        self._disk, self._stop = disk, False
        self._threads = [
            threading.Thread(target=self._go, args=(number,), daemon=True) for number in range(len(disk.connections))
        ]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self


class Load(OnEachConnection):
    """Writes without end on every connection of a disk, several at a time: a context manager.

    `done` counts what was acknowledged, `errors` are the server's error replies, `lost` the connections that ended.
    """

    stood_still: ClassVar[float] = 0.0
    """The longest time without an answer, in seconds, of all loads since a bench began."""

    def __init__(self, disk):
        super().__init__(disk)
        self._answered = time.monotonic()

    def __exit__(self, *_):
        self._stop = True
        for connection in self._disk.connections:
            with suppress(OSError):  # it had ended before
                connection.socket.shutdown(socket.SHUT_RDWR)

    def goes_on(self):
        """Wait until as much again as can be under way has been written: no answer of before counts."""
        wanted = self.done + DEPTH * len(self._threads) + 1
        wait_for(lambda: self.done >= wanted or self.errors, lambda: f"the writing goes on; it lost {self.lost}")
        assert not self.errors, self.errors

    def ended(self):
        """Wait until each connection has ended once, by whatever."""
        wait_for(lambda: len(self.lost) >= len(self._threads), "the connections of the load have ended")

    def _go(self, number):
        blocks = itertools.cycle(range(64))
        waiting = deque()
        while not self._stop:
            try:
                connection = self._disk.living(number)
            except AssertionError:
                if self._stop:  # nobody has wanted one any more
                    return
                raise
            try:
                self._write_on(connection, number, blocks, waiting)
            except ConnectionLost as error:
                if self._stop:
                    return
                self.lost.append(str(error))
                try:
                    self._disk.bury(connection, error)
                except ConnectionLost:
                    return

    def _write_on(self, connection, number, blocks, waiting):
        """Send what an earlier connection left without an answer, then more and more."""
        for block in waiting:
            self._ask(connection, number, block)
        while True:
            while len(waiting) < DEPTH:
                waiting.append(next(blocks))
                self._ask(connection, number, waiting[-1])
            try:
                connection.answer()
            except ErrorReply as error:
                self.errors.append(error.args[0])
            waiting.popleft()
            self.done += 1
            now = time.monotonic()
            Load.stood_still, self._answered = max(Load.stood_still, now - self._answered), now

    def _ask(self, connection, number, block):
        connection.ask(WRITE, (number * 64 + block) * BLOCK, data=bytes([block]) * BLOCK)


class Verified(OnEachConnection):
    """Writes on every connection of a disk, one block at a time, and reads each one back: a context manager.

    `done` counts the blocks that were as written, `wrong` names those that were not, `errors` are the server's error
    replies, `lost` the connections that ended; `written` is what stands on the disk at the end.
    """

    BLOCKS = 64
    """Of each connection, written over again and again: an old write that comes late must not be seen."""

    def __init__(self, disk):
        super().__init__(disk)
        self.wrong, self.written = [], {}

    def __exit__(self, *_):
        self._stop = True

    def goes_on(self):
        """Wait until more than was under way is verified."""
        wanted = self.done + 2 * len(self._threads)
        wait_for(lambda: self.done >= wanted or self.wrong or self.errors, lambda: f"it goes on; it lost {self.lost}")

    def ends(self):
        """Let what is under way come to its end."""
        self._stop = True
        for thread in self._threads:
            thread.join(SECONDS)
            assert not thread.is_alive(), "the last block is verified"

    def _go(self, number):
        for turn in itertools.count():
            if self._stop:
                return
            offset = (number * self.BLOCKS + turn % self.BLOCKS) * BLOCK
            data = struct.pack(">QQ", offset, turn) * (BLOCK // 16)
            while not self._turn(number, offset, data):
                pass

    def _turn(self, number, offset, data):
        """Write a block and read it back; False: its connection ended, it has to be done again."""
        connection = self._disk.living(number)
        try:
            connection.ask(WRITE, offset, data=data)
            connection.answer()
            self.written[offset] = data
            connection.ask(READ, offset, BLOCK)
            if connection.answer(BLOCK) == data:
                self.done += 1
            else:
                self.wrong.append(offset)
        except ErrorReply as error:
            self.errors.append(error.args[0])
        except ConnectionLost as error:
            self.lost.append(str(error))
            self._disk.bury(connection, error)
            return False
        return True
