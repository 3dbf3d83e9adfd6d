"""Run in the target, as nobody: try to get at the laptop's disk, beside the kernel; prints one JSON object.

{"gained": what was reached, "asked": how many ways were tried}. Nothing gained is as it must be.
"""

import json
import socket
import struct
import subprocess
from pathlib import Path

SERVER = "fd73:7469:6566:656c::1"
NBD, RELEASE = 10809, 61571
SECONDS = 5.0
EXPORT_NAME, GO = 1, 7  # https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
OPTION_MAGIC = 0x49484156454F5054
FIXED_NEWSTYLE = 1
NAMES = ("", "stiefel", "disk", "default")


def connected(port: int) -> bool:
    """Whether a connection comes about."""
    try:
        with socket.create_connection((SERVER, port), SECONDS):
            return True
    except OSError:
        return False


def greeted(name: str) -> str:
    """Ask for an export; what came of it, or nothing."""
    try:
        with socket.create_connection((SERVER, NBD), SECONDS) as disk:
            if not (greeting := disk.recv(18)):
                return ""
            encoded = name.encode()
            question = struct.pack(">I", len(encoded)) + encoded + struct.pack(">H", 0)
            disk.sendall(struct.pack(">IQII", FIXED_NEWSTYLE, OPTION_MAGIC, GO, len(question)) + question)
            answer = disk.recv(20)
            return f"greeting of {len(greeting)} bytes, answer of {len(answer)} bytes"
    except OSError:
        return ""


def secrets() -> list[str]:
    """Places that could tell a secret of the session to everybody, and do."""
    told = []
    backend = Path("/sys/block/nbd0/backend")
    if backend.exists() and len(backend.read_text().strip()) > 0:
        told.append(f"{backend}: {backend.read_text().strip()}")
    for file in (Path("/run/stiefel/session.json"), Path("/dev/nbd0")):
        try:
            with file.open("rb") as opened:
                told.append(f"{file}: {len(opened.read(512))} bytes")
        except OSError:
            continue
    processes = subprocess.run(["ps", "-e", "-o", "args"], capture_output=True, text=True, check=False).stdout
    told += [f"a process list: {line}" for line in processes.splitlines() if "export" in line and "stiefel" in line]
    return told


def main() -> None:
    """Try everything."""
    gained = [f"a connection to port {port}" for port in (NBD, RELEASE) if connected(port)]
    gained += [f"export {name!r}: {came}" for name in NAMES if (came := greeted(name))]
    gained += secrets()
    print(json.dumps({"gained": gained, "asked": 2 + len(NAMES) + 4}))


if __name__ == "__main__":
    main()
