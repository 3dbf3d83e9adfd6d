"""A network hub in user space, for three machines and more: every frame goes to all but its sender.

Two machines need none: QEMU's dgram sockets are then each other's remote. Run: ``python3 -m lab.hub FOLDER``.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

HUB = "hub"
PORT_SUFFIX = ".link"
LARGEST_FRAME = 65536


def open_hub(folder: Path) -> socket.socket:
    """The hub's socket in `folder`; the ports are the sockets ``*.link`` beside it."""
    hub = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    hub.bind(str(folder / HUB))
    return hub


def forward(hub: socket.socket, folder: Path) -> None:
    """Wait for one frame and hand it on; a port that is gone or full loses it, as on a real cable."""
    frame, sender = hub.recvfrom(LARGEST_FRAME)
    for port in folder.glob(f"*{PORT_SUFFIX}"):
        if str(port) != sender:
            try:
                hub.sendto(frame, socket.MSG_DONTWAIT, str(port))
            except OSError:
                continue


def main() -> None:
    """Forward until terminated."""
    folder = Path(sys.argv[1])
    with open_hub(folder) as hub:
        while True:
            forward(hub, folder)


if __name__ == "__main__":
    main()
