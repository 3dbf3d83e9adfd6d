"""One attribute of the kernel's: a file below /sys that holds one value, and may be gone or silent at any moment."""

from pathlib import Path


def read(path: Path) -> str:
    """Return what a file holds; empty if it is gone, or says nothing now (a carrier, while its interface is down)."""
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """Return the number in a file, decimal or with 0x before it; None if there is none, or a word instead."""
    try:
        return int(read(path), 0)
    except ValueError:
        return None
