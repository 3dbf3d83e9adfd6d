"""Notifications for whoever is logged in at the target's desktop, while its root stands still: they need memory alone.

The socket of a session's bus is in /run, bus and desktop run already, and a process of ours that has become the user
speaks to them: forked, so that no desktop can hold the keeper up, and without a program.
"""

import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass

from stiefel_agent.face.notification import notify

CALL_SECONDS = 5
"""How long a bus may take for each answer ..."""
LIFE_SECONDS = 15
"""... and a herald for all of it."""


@dataclass(slots=True)
class _Sent:
    """A herald on its way to a user's desktop."""

    process: int
    answer: int
    """Where it writes the number of its notification."""


class Herald:
    """Sends to every user's desktop, one at a time to each; a new notification takes the place of the last.

    The users are those of PID 1's /run, by way of /proc as it was opened in the initrd (see voice.Voice).
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = os.open(proc, os.O_PATH | os.O_CLOEXEC)
        self._shown: dict[int, int] = {}
        self._sent: dict[int, _Sent] = {}

    def send(self, text: str, *, lasting: bool) -> None:
        """Show a text to everybody, and do not wait for it; who still has a herald is left out."""
        for user in list(self._sent):
            self._return(user)
        with suppress(OSError):
            for user, folder in self._folders():
                try:
                    if user not in self._sent:
                        self._go(user, folder, text, lasting)
                finally:
                    os.close(folder)

    def _return(self, user: int) -> None:
        """Take note of the notification's number when its herald has ended."""
        sent = self._sent[user]
        with suppress(ChildProcessError):
            if os.waitpid(sent.process, os.WNOHANG) == (0, 0):
                return
        del self._sent[user]
        with suppress(struct.error):
            (self._shown[user],) = struct.unpack("=I", os.read(sent.answer, 4))
        os.close(sent.answer)

    def _folders(self) -> Iterator[tuple[int, int]]:
        """Yield each user that has a session bus, and a descriptor of the folder that it is in."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        users = os.open("1/root/run/user", flags, dir_fd=self._proc)
        try:
            for name in os.listdir(users):  # noqa: PTH208 - by descriptor
                with suppress(OSError):
                    os.stat(f"{name}/bus", dir_fd=users)
                    folder = os.open(name, flags | os.O_NOFOLLOW, dir_fd=users)
                    yield os.fstat(folder).st_uid, folder
        finally:
            os.close(users)

    def _go(self, user: int, folder: int, text: str, lasting: bool) -> None:
        answer, ours = os.pipe2(os.O_CLOEXEC)
        child = os.fork()
        if child == 0:
            try:
                number = _speak(user, folder, text, self._shown.get(user, 0), lasting)
                os.write(ours, struct.pack("=I", number))
            finally:
                os._exit(0)
        os.close(ours)
        self._sent[user] = _Sent(child, answer)


def _speak(user: int, folder: int, text: str, replaces: int, lasting: bool) -> int:
    """Become the user for good, and show the text on their desktop; return the notification's number.

    The kernel lets a user look neither into the memory nor at the descriptors of a process that was root
    (prctl(2), PR_SET_DUMPABLE).
    """
    signal.alarm(LIFE_SECONDS)
    os.fchdir(folder)
    os.setgroups([])
    group = os.fstat(folder).st_gid
    os.setresgid(group, group, group)
    os.setresuid(user, user, user)
    with socket.socket(socket.AF_UNIX) as bus:
        bus.settimeout(CALL_SECONDS)
        bus.connect("bus")
        return notify(bus, user, text, replaces=replaces, lasting=lasting)
