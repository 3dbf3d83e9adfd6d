"""The boot loader's way into the server, for laptops on which kexec hangs (failure mode F24): an entry for one time.

Ramdisk, keys and bundle are put where the boot loader reads, for root alone, and taken away when the laptop's own
system is back.
"""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from stiefel_agent.errors import LoaderRefused
from stiefel_agent.laptop import boot, command_line
from stiefel_agent.machine import kexec, program

NAME = "stiefel-server"
TITLE = "Stiefelsystem: lend this disk to a desktop"
FOLDER = "stiefel"
KERNEL, INITRD = "vmlinuz", "initrd.img"


class Loader(Protocol):
    """A boot loader that takes an entry for one start."""

    @property
    def folder(self) -> Path:
        """What is ours, and goes again."""

    @property
    def restart(self) -> tuple[str, ...]:
        """What systemctl(1) is told to start the entry, once."""

    def choose(self, line: str) -> None:
        """Write the entry, with this command line for the kernel, and choose it. Raises LoaderRefused, OSError."""

    def forget(self) -> None:
        """Take choice and entry back, should they still be there."""


@dataclass(frozen=True, slots=True)
class Grub:
    """GRUB. By /etc/grub.d/42_stiefel its menu has our entry while there is one; its choice it forgets as it starts."""

    home: Path = Path("/boot/grub")

    @property
    def folder(self) -> Path:
        """See Loader."""
        return self.home / FOLDER

    @property
    def restart(self) -> tuple[str, ...]:
        """See Loader."""
        return ("reboot",)

    def choose(self, line: str) -> None:
        """See Loader. GRUB takes a shell's quotes away, and quotes for the kernel what has a space in it."""
        if f"$prefix/{FOLDER}/entry.cfg" not in (self.home / "grub.cfg").read_text(errors="replace"):
            raise LoaderRefused("its menu has no place for the entry. Run update-grub")
        words = shlex.join(word.replace('"', "") for word in command_line.split(line))
        entry = f"linux $prefix/{FOLDER}/{KERNEL} {words}\ninitrd $prefix/{FOLDER}/{INITRD}\n"
        with _new(self.folder / "entry.cfg") as file:
            file.write(f"menuentry '{TITLE}' --id {NAME} --unrestricted {{\n{entry}}}\n".encode())
        self._environment("set", f"next_entry={NAME}")

    def forget(self) -> None:
        """See Loader."""
        environment = self.home / "grubenv"
        if environment.exists() and boot.grub_environment(environment.read_text()).get("next_entry") == NAME:
            self._environment("unset", "next_entry")

    def _environment(self, *what: str) -> None:
        """Do as grub-reboot does."""
        done = program.run("grub-editenv", str(self.home / "grubenv"), *what)
        if done.returncode:
            raise LoaderRefused(done.stderr.strip())


@dataclass(frozen=True, slots=True)
class SystemdBoot:
    """systemd-boot. logind(8) chooses the entry; a name that begins so is the last, and never the default."""

    home: Path
    """The partition that it reads: `bootctl --print-boot-path`."""

    @property
    def folder(self) -> Path:
        """See Loader."""
        return self.home / FOLDER

    @property
    def restart(self) -> tuple[str, ...]:
        """See Loader."""
        return ("reboot", f"--boot-loader-entry={self._entry.name}")

    @property
    def _entry(self) -> Path:
        return self.home / f"loader/entries/0-{NAME}.conf"

    def choose(self, line: str) -> None:
        """See Loader. The lines are those of the Boot Loader Specification, type 1."""
        lines = f"linux /{FOLDER}/{KERNEL}", f"initrd /{FOLDER}/{INITRD}", f"options {line}"
        with _new(self._entry) as file:
            file.write("\n".join([f"title {TITLE}", *lines, ""]).encode())

    def forget(self) -> None:
        """See Loader."""
        self._entry.unlink(missing_ok=True)


def loader() -> Loader:
    """Return this laptop's boot loader. Raises LoaderRefused: it is none that we know."""
    if boot.is_systemd_boot():
        said = program.run("bootctl", "--print-boot-path")
        if not (home := said.stdout.strip()):  # what is ours would be looked for, and removed, where we happen to stand
            raise LoaderRefused(f"bootctl does not say which partition systemd-boot reads: {said.stderr.strip()}")
        return SystemdBoot(Path(home))
    if (Grub().home / "grub.cfg").exists():
        return Grub()
    raise LoaderRefused("it is neither GRUB nor systemd-boot")


def arrange(system: kexec.System, by: Loader) -> None:
    """Put a system where the boot loader finds it at its next start, and only then.

    Raises:
        LoaderRefused: with the reason; nothing is left behind.
    """
    try:
        by.folder.mkdir(mode=0o700, exist_ok=True)
        with _new(by.folder / KERNEL) as file:
            system.kernel.seek(0)
            shutil.copyfileobj(system.kernel, file, 1 << 20)
        with _new(by.folder / INITRD) as file:
            kexec.write_initrd(file, system)
        by.choose(system.command_line)
    except OSError as error:
        forget(by)
        raise LoaderRefused(f"{error.filename}: {error.strerror}") from error
    except LoaderRefused:
        forget(by)
        raise


def forget(by: Loader) -> None:
    """Take everything back that `arrange` did, as far as it is there."""
    with suppress(OSError, LoaderRefused):
        by.forget()
    shutil.rmtree(by.folder, ignore_errors=True)


@contextmanager
def _new(path: Path) -> Iterator[BinaryIO]:
    """Give a new file that only root reads, and that is on the disk when it is closed: what starts next is no kernel of
    ours yet.
    """
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "w+b") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
