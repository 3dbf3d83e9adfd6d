"""Run in the target, by root: write a file and read it back from the disk; prints MB/s of each as one JSON object.

Usage: transfer.py MIB
"""

import json
import os
import sys
import time
from pathlib import Path

FILE = Path("/var/tmp/stiefel-transfer")
BLOCK = 1 << 20


def main() -> None:
    """Write, flush, read."""
    blocks = int(sys.argv[1])
    block = os.urandom(BLOCK)
    descriptor = os.open(FILE, os.O_RDWR | os.O_CREAT, 0o600)
    start = time.monotonic()
    for _ in range(blocks):
        os.write(descriptor, block)
    os.fsync(descriptor)
    written = time.monotonic()
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.lseek(descriptor, 0, os.SEEK_SET)
    for _ in range(blocks):
        os.read(descriptor, BLOCK)
    done = time.monotonic()
    os.close(descriptor)
    FILE.unlink()
    size = blocks * BLOCK / 1e6
    print(json.dumps({"write": size / (written - start), "read": size / (done - written)}))


if __name__ == "__main__":
    main()
