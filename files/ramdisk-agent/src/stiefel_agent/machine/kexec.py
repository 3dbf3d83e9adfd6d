"""The way from one kernel into the next: kexec_file_load, with files appended to the initrd."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NoReturn

from stiefel_agent.errors import KexecRefused
from stiefel_agent.machine import program

LOAD_SECONDS = 300.0
"""The kernel copies and checks a hundred megabytes; on an emulated machine that takes a while."""

_MAGIC = b"070701"
_FILE = 0o100600
_PRIVATE, _OPEN = 0o040700, 0o040755


@dataclass(frozen=True, slots=True)
class System:
    """A kernel with its initrd and command line, ready to be started.

    `extra` holds what is appended to the initrd: absolute paths without the leading slash, and their contents.
    """

    kernel: BinaryIO
    initrd: BinaryIO
    command_line: str
    extra: Mapping[str, bytes | BinaryIO] = field(repr=False)
    """Keys among them."""


def _entry(name: str, mode: int, size: int, inode: int) -> bytes:
    """Return the header of one newc entry, padded to the four bytes the format wants.

    Source: "Buffer format" of the kernel's early-userspace documentation. Owner and times are zero.
    """
    path = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, len(path), 0)
    header = _MAGIC + b"".join(b"%08x" % field for field in fields) + path
    return header + bytes(-len(header) % 4)


def _folders(names: Mapping[str, object]) -> list[str]:
    """Return every folder above the names, parents first."""
    found = {str(parent) for name in names for parent in PurePosixPath(name).parents}
    return sorted(found - {"."})


def write_cpio(output: BinaryIO, files: Mapping[str, bytes | BinaryIO]) -> None:
    """Append a newc archive of the files (mode 0600, root) and their folders (mode 0700) to a stream, streaming.

    The kernel wants an archive to start at a multiple of four bytes: the stream is padded first. It also gives folders
    that exist the archive's mode, so the topmost ones (`etc`), which are not ours alone, stay open.
    """
    output.seek(0, os.SEEK_END)
    output.write(bytes(-output.tell() % 4))
    inodes = count(1)
    for name in _folders(files):
        output.write(_entry(name, _PRIVATE if "/" in name else _OPEN, 0, next(inodes)))
    for name, content in files.items():
        size = len(content) if isinstance(content, bytes) else _size(content)
        output.write(_entry(name, _FILE, size, next(inodes)))
        if isinstance(content, bytes):
            output.write(content)
        else:
            content.seek(0)
            shutil.copyfileobj(content, output, 1 << 20)
        output.write(bytes(-size % 4))
    output.write(_entry("TRAILER!!!", 0, 0, 0))


def write_initrd(output: BinaryIO, system: System) -> None:
    """Write a system's initrd to an empty stream, with all that is appended to it."""
    system.initrd.seek(0)
    shutil.copyfileobj(system.initrd, output, 1 << 20)
    write_cpio(output, system.extra)


def _size(stream: BinaryIO) -> int:
    """Return the length of a seekable stream in bytes."""
    return stream.seek(0, os.SEEK_END)


@contextmanager
def memory_file(name: str) -> Iterator[BinaryIO]:
    """Give a file that lives in memory only and is gone when closed (memfd_create(2))."""
    with os.fdopen(os.memfd_create(name), "w+b") as stream:
        yield stream


def load(system: System) -> None:
    """Load a system, to be started by `execute` or by `systemctl kexec`.

    Raises KexecRefused with the kernel's reason. kexec_file_load (`-s`) is the one way that works under lockdown
    (kexec(8)); the kernel checks the signature.
    """
    with memory_file("initrd") as initrd:
        write_initrd(initrd, system)
        initrd.flush()
        system.kernel.flush()
        descriptors = (system.kernel.fileno(), initrd.fileno())
        kernel_path, initrd_path = (f"/proc/self/fd/{number}" for number in descriptors)
        options = (f"--initrd={initrd_path}", f"--command-line={system.command_line}")
        done = program.run("kexec", "-s", "-l", kernel_path, *options, seconds=LOAD_SECONDS, pass_fds=descriptors)
    if done.returncode or Path("/sys/kernel/kexec_loaded").read_text().strip() != "1":
        raise KexecRefused((done.stderr or done.stdout).strip() or f"kexec ended with {done.returncode}")


def unload() -> None:
    """Forget the loaded system: systemd starts one that is loaded at the next reboot, whoever asks for that."""
    program.run("kexec", "-s", "-u")


def execute() -> NoReturn:
    """Start the loaded system at once. Only for the ramdisk, which has nothing to shut down."""
    os.sync()
    os.execvp("kexec", ["kexec", "-e"])
