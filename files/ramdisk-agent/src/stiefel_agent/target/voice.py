"""How the keeper is heard while the target's root stands still: the kernel's own files only, nothing that may block."""

import os
from collections.abc import Iterator
from contextlib import suppress

from stiefel_agent.face.console import look
from stiefel_agent.target.herald import Herald

GROUP_MAY_WRITE = 0o020
"""mesg(1): the owner of such a terminal takes messages."""


class Voice:
    """Console, terminals and kernel log, reached through /proc as it was opened in the initrd.

    `1/root` is the root of PID 1, before switch_root and after it; devices and their folders are in memory.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = os.open(proc, os.O_PATH | os.O_CLOEXEC)
        self._herald = Herald(proc)

    def event(self, name: str, **facts: object) -> None:
        """Leave the line that timelines are made of on console and in the kernel's log, and so in the journal."""
        line = " ".join(["stiefel:", f"event={name}", *(f"{key}={value}" for key, value in facts.items())])
        self._write("console", line + "\r\n")
        self.note(line.removeprefix("stiefel: "))

    def note(self, text: str) -> None:
        """Leave a line in the kernel's log alone."""
        self._write("kmsg", f"<6>stiefel: {text}\n")

    def tell(self, text: str, *, all_is_well: bool = False) -> None:
        """Tell whoever is there: console, text terminals, every open terminal window that takes messages, and by
        notification every desktop that somebody is logged in at. There the text stays until all is well.
        """
        for terminal in self._terminals():
            self._write(terminal, look(text))
        self._herald.send(text, lasting=not all_is_well)

    def _terminals(self) -> Iterator[str]:
        yield from ("console", "tty0")
        with suppress(OSError):
            folder = os.open("1/root/dev/pts", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._proc)
            try:
                names = [entry.name for entry in os.scandir(folder) if entry.name.isdecimal()]
                yield from (f"pts/{name}" for name in names if os.stat(name, dir_fd=folder).st_mode & GROUP_MAY_WRITE)
            finally:
                os.close(folder)

    def _write(self, device: str, text: str) -> None:
        """Write what a device takes at once; one whose reader has stopped it (Ctrl-S) goes without."""
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
            terminal = os.open(f"1/root/dev/{device}", flags, dir_fd=self._proc)
            try:
                os.write(terminal, text.encode())
            finally:
                os.close(terminal)
