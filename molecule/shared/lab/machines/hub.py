"""A network hub in user space, for three machines and more: every frame goes to all but its sender.

Two machines need none: QEMU's dgram sockets are then each other's remote. The file PCAP gets every frame (see
capture.py). Run: ``python3 -m lab.machines.hub FOLDER [PCAP]``
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import BinaryIO

from .capture import FILE_HEADER, LARGEST_FRAME, record

HUB = "hub"
PORT_SUFFIX = ".link"
SO_SNDBUFFORCE = 32  # asm-generic/socket.h
SEND_BUFFER = 64 << 20


def open_hub(folder: Path) -> socket.socket:
    """The hub's socket in `folder`; the ports are the sockets ``*.link`` beside it."""
    hub = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    # What lies in the queue of a port that does not read (a paused machine) counts as sent by us and not yet gone:
    # unix(7), socket(7), SO_SNDBUF. With the default one such port would silence all others.
    hub.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER)
    hub.bind(str(folder / HUB))
    return hub


def forward(hub: socket.socket, folder: Path, pcap: BinaryIO) -> None:
    """Wait for one frame, record it and hand it on; a port that is gone or full loses it, as on a real cable."""
    frame, sender = hub.recvfrom(LARGEST_FRAME)
    pcap.write(record(frame, time.time_ns()))
    for port in folder.glob(f"*{PORT_SUFFIX}"):
        if str(port) != sender:
            try:
                hub.sendto(frame, socket.MSG_DONTWAIT, str(port))
            except OSError:
                continue


def flush_if_idle(hub: socket.socket, pcap: BinaryIO) -> None:
    """Let a reader see all that was recorded, unless the next frame waits already."""
    if not select.select([hub], [], [], 0)[0]:
        pcap.flush()


def main() -> None:
    """Forward until terminated."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # an exit closes the file, with all that was recorded
    folder = Path(sys.argv[1])
    file = Path(sys.argv[2] if len(sys.argv) > 2 else os.devnull)
    with file.open("wb") as pcap, open_hub(folder) as hub:
        pcap.write(FILE_HEADER)
        while True:
            flush_if_idle(hub, pcap)
            forward(hub, folder, pcap)


if __name__ == "__main__":
    main()
