"""Which USB drives there are, and which of them a person means."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parent.parent
BY_ID = Path("/dev/disk/by-id")
KINDS = ("usb-*", "mmc-*")
"""Names of what may be a stick: USB drives, and cards in a reader (60-persistent-storage.rules)."""


class DriveError(Exception):
    """No drive can be taken; the text says why, and what to do."""


@dataclass(frozen=True)
class Choice:
    """A drive that might become the stick: its lasting name, what it says on it, and why it cannot be taken."""

    name: str
    title: str
    serial: str
    objections: tuple[str, ...]


def load_writer() -> ModuleType:
    """Return the program that writes sticks: it knows what speaks against a drive."""
    spec = importlib.util.spec_from_file_location("stick", ROOT / "roles/usbdrive/files/stick.py")
    if spec is None or spec.loader is None:
        raise ImportError("stick.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["stick"] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def names() -> list[Path]:
    """Return the lasting names of the whole drives that may be sticks."""
    found = (path for kind in KINDS for path in BY_ID.glob(kind)) if BY_ID.is_dir() else ()
    return sorted(path for path in found if "-part" not in path.name)


def choice(writer: ModuleType, name: str, listing: dict[str, object], needs: int) -> Choice:
    """Return a drive as lsblk's JSON describes it; `needs` is the image's size in bytes."""
    drive = writer.drive_of(listing, name)
    confirmed = writer.Confirmed(needs=needs, serial=drive.serial, allow_fixed=False)
    return Choice(name, drive.title, drive.serial, tuple(writer.objections(drive, confirmed)))


def choices(image: Path) -> list[Choice]:
    """Return every drive that might become the stick, one entry for each, whatever names it has."""
    writer = load_writer()
    needs = image.stat().st_size if image.exists() else 0
    found: dict[Path, Choice] = {}
    for name in names():
        node = name.resolve()
        if node in found:
            continue
        command = ["lsblk", "--json", "--bytes", "--output", writer.COLUMNS, str(node)]
        shown = subprocess.run(command, check=False, capture_output=True, text=True)
        if shown.returncode == 0:
            found[node] = choice(writer, str(name), json.loads(shown.stdout), needs)
    return list(found.values())


def table(found: list[Choice]) -> str:
    """Return the drives as a list to choose from, each that cannot be taken with the reason."""
    if not found:
        return "No USB drive is plugged in."
    lines = []
    for number, drive in enumerate(found, start=1):
        lines += [f"{number:3}  {drive.title}", f"     {drive.name}"]
        lines += [f"     cannot be taken: {objection}" for objection in drive.objections]
    return "\n".join(lines)


def ask(found: list[Choice]) -> Choice:
    """Let a person choose a drive and confirm it by its serial; raises DriveError when none is chosen."""
    print(table(found))
    if not any(not drive.objections for drive in found):
        raise DriveError("no drive can be taken. Plug one in (everything on it will be lost), and run this again.")
    if not sys.stdin.isatty():
        raise DriveError("nobody is here to choose. Name the drive: ./stiefel usb DEVICE SERIAL")
    answer = input("Which one? Everything on it will be lost. Number: ").strip()
    if not answer.isdigit() or not 1 <= int(answer) <= len(found):
        raise DriveError("no drive was chosen, and nothing was written.")
    chosen = found[int(answer) - 1]
    if chosen.objections:
        raise DriveError(f"that one cannot be taken: {chosen.objections[0]}.")
    if input(f"To erase it, type its serial ({chosen.serial}): ").strip() != chosen.serial:
        raise DriveError("that is not its serial, and nothing was written.")
    return chosen


def checked(device: str) -> str:
    """Return a device's name if it is one that lasts; raises DriveError."""
    if Path(device).parent != BY_ID:
        raise DriveError(
            f"'{device}' may mean another drive tomorrow: give its name below {BY_ID}/. "
            "'./stiefel usb --list' shows them."
        )
    if not Path(device).exists():
        raise DriveError(f"there is no drive {device}. './stiefel usb --list' shows those that are plugged in.")
    return device
