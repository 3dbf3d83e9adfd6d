"""What a trial is to the command line: its name, its help, its arguments, and what it does to a run's machines."""

from __future__ import annotations

import argparse
import importlib
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..machines.bench import ADAPTERS, USUAL_PC, Bench
from ..machines.cache import REPOSITORY
from ..machines.machine import Firmware


class Argument:
    """One argument of a command, as argparse's add_argument takes it."""

    def __init__(self, name: str, **options: Any) -> None:
        self.name = name
        self._options = options

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Let a parser know it."""
        parser.add_argument(self.name, **self._options)


STICK = Argument("--stick", type=Path, default=REPOSITORY / "build" / "stiefel-usb.img", help="image of the USB drive")
FIRMWARE = Argument("--firmware", choices=[one.value for one in Firmware], default=Firmware.UEFI.value)
ADAPTER = Argument("--adapter", choices=ADAPTERS, default=USUAL_PC.adapter, help="the desktop's network adapter")
OUTPUT = Argument("--output", type=Path, help="folder for report and screenshots (default: build/lab/NAME/session)")


@dataclass(frozen=True)
class Command:
    """A command of the lab; `run` gets the arguments, and its docstring is the help."""

    name: str
    run: Callable[[argparse.Namespace], None]
    arguments: tuple[Argument, ...] = (STICK, OUTPUT)

    @property
    def help(self) -> str:
        """What the command line says of it."""
        return self.run.__doc__ or ""


def bench_of(options: argparse.Namespace) -> Bench:
    """The run that --name says.

    Raises:
        LabError: there is none.
    """
    return Bench.find(options.name)


def output(options: argparse.Namespace) -> Path:
    """The folder for what a trial leaves behind."""
    folder: Path = options.output or bench_of(options).folder / "session"
    return folder.resolve()


def all_trials() -> Iterator[Command]:
    """Every trial that a module beside this one brings."""
    for found in pkgutil.iter_modules([str(Path(__file__).parent)]):
        yield from getattr(importlib.import_module(f"{__package__}.{found.name}"), "TRIALS", ())
