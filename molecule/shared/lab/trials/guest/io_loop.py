"""Run in the target, by root: write a block, flush it, read it back from the disk, compare; again and again.

Usage: io_loop.py SEED PROGRESS. The block is 4 MiB that follow from the seed (see `block`). After each round the file
PROGRESS says {"rounds": ..., "errors": ...}. Ends when terminated.
"""

import json
import os
import random
import sys
from pathlib import Path

BLOCK_BYTES = 4 << 20
FILE = Path("/var/tmp/stiefel-io-loop")


def block(seed: str) -> bytes:
    """What is written: incompressible, and known to whoever knows the seed."""
    return random.Random(seed).randbytes(BLOCK_BYTES)


def one_round(data: bytes) -> bool:
    """Write and read back past the page cache; say whether it is the same."""
    descriptor = os.open(FILE, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.pread(descriptor, BLOCK_BYTES, 0) == data
    finally:
        os.close(descriptor)


def main() -> None:
    """Count until somebody ends it."""
    data, progress = block(sys.argv[1]), Path(sys.argv[2])
    rounds = errors = 0
    while True:
        errors += not one_round(data)
        rounds += 1
        half = progress.with_suffix(".new")
        half.write_text(json.dumps({"rounds": rounds, "errors": errors}))
        half.rename(progress)


if __name__ == "__main__":
    main()
