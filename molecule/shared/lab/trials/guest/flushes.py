"""Write block after block, each flushed before the next, and say how many are; or look how many of them are there.

Usage: flushes.py write FOLDER PROGRESS (in the target, until it is ended), flushes.py count FOLDER (on the laptop).
Every block goes to the end of one file by fsync(2), and into a file of its own, which is flushed, renamed, and its
folder flushed, as editors do it. PROGRESS says how many blocks were flushed in both ways.
"""

import hashlib
import os
import sys
from itertools import count
from pathlib import Path

BLOCK_BYTES = 4096
KEPT = 64
"""So many files of their own."""


def block(number: int) -> bytes:
    """What is written: known to whoever knows the number."""
    return hashlib.sha256(str(number).encode()).digest() * (BLOCK_BYTES // 32)


def save(path: Path, data: bytes) -> None:
    """Write a file as an editor does."""
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write(folder: Path, progress: Path) -> None:
    """Write until somebody ends it."""
    folder.mkdir(exist_ok=True)
    with (folder / "log").open("wb") as log:
        for number in count():
            log.write(block(number))
            log.flush()
            os.fsync(log.fileno())
            save(folder / f"file-{number % KEPT}", block(number))
            half = progress.with_suffix(".new")
            half.write_text(str(number + 1))
            half.rename(progress)


def whole(folder: Path) -> int:
    """Return how many blocks from the first on are there, in both ways."""
    log = (folder / "log").read_bytes()
    appended = next(n for n in count() if log[n * BLOCK_BYTES : (n + 1) * BLOCK_BYTES] != block(n))
    found = {path.read_bytes() for path in folder.glob("file-*") if path.suffix != ".new"}
    saved = next((n for n in range(appended + 1, 0, -1) if block(n - 1) in found), 0)
    return min(appended, saved)


def main() -> None:
    """Do what the first word says."""
    if sys.argv[1] == "write":
        write(Path(sys.argv[2]), Path(sys.argv[3]))
    print(whole(Path(sys.argv[2])))


if __name__ == "__main__":
    main()
