"""The bundle, sealed and opened by the agent's own code.

Usage: python -m benchmarks.bundle MEGABYTES: one JSON object with the seconds of processor time of each side, and the
peak of this process's memory.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .figures import Round
from .ground import SOURCE, said

MEGABYTES = 64
SECONDS_OF_OPENSSL = 1


def openssl() -> float:
    """Return the MB/s (of processor time) of one pass of AES over frames of a bundle's size."""
    speed = ("openssl", "speed", "-mr", "-seconds", str(SECONDS_OF_OPENSSL), "-bytes", "262144", "-evp", "aes-256-ctr")
    line = next(line for line in said(*speed).splitlines() if line.startswith("+F:"))
    return float(line.rpartition(":")[2]) / 1e6


def _measured(megabytes: int) -> dict[str, float]:
    """Run this module in a process of its own."""
    found: dict[str, float] = json.loads(
        said(sys.executable, "-m", "benchmarks.bundle", str(megabytes), PYTHONPATH=str(SOURCE))
    )
    return found


def throughput(quick: bool) -> Iterator[Round]:
    """Yield MB/s of the slower side, and OpenSSL's."""
    megabytes = 4 if quick else MEGABYTES
    while True:
        found = _measured(megabytes)
        yield Round(megabytes / max(found["seal"], found["open"]), openssl())


def memory(quick: bool) -> Iterator[Round]:
    """Yield the peak in MB; what is sealed is read from files, what is opened goes to where kexec takes it from."""
    megabytes = 4 if quick else MEGABYTES
    while True:
        yield Round(_measured(megabytes)["peak"])


def _file(name: str, size: int) -> BinaryIO:
    """Return a file in memory with so many random bytes, to be read from its beginning."""
    file = os.fdopen(os.memfd_create(name), "w+b")
    for start in range(0, size, 1 << 20):
        file.write(os.urandom(min(1 << 20, size - start)))
    file.seek(0)
    return file


def _peak() -> float:
    """Return the most memory in MB that this program has had; ru_maxrss would count what its parent had as well."""
    found = re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024 / 1e6


def main() -> None:
    """Seal and open one bundle; the kernel is an eighth of it."""
    from stiefel_agent.protocol.bundle import Decoder, Encoder, Manifest  # noqa: PLC0415 - needs SOURCE

    size = int(sys.argv[1]) * 1_000_000
    kernel, initrd, received = _file("kernel", size // 8), _file("initrd", size - size // 8), _file("received", 0)
    manifest = Manifest("laptop", "6.12", "quiet", size // 8, size - size // 8)
    key, seconds = os.urandom(32), {"seal": 0.0, "open": 0.0}
    frames, decoder = iter(Encoder(key, manifest, kernel, initrd)), Decoder(key)
    while not decoder.complete:
        start = time.process_time()
        frame = next(frames)
        sealed = time.process_time()
        for chunk in decoder.feed(frame):
            received.write(chunk.data)
        seconds["seal"] += sealed - start
        seconds["open"] += time.process_time() - sealed
    print(json.dumps({**seconds, "peak": _peak()}))


if __name__ == "__main__":
    main()
