"""The hub hands every frame to everybody else."""

import socket
from pathlib import Path

import pytest
from lab.hub import forward, open_hub


def port(folder: Path, name: str) -> socket.socket:
    endpoint = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    endpoint.bind(str(folder / f"{name}.link"))
    endpoint.settimeout(5)
    return endpoint


def test_a_frame_reaches_all_but_its_sender(tmp_path):
    with (
        open_hub(tmp_path) as hub,
        port(tmp_path, "laptop") as laptop,
        port(tmp_path, "desktop") as desktop,
        port(tmp_path, "attacker") as attacker,
    ):
        laptop.sendto(b"frame", str(tmp_path / "hub"))
        forward(hub, tmp_path)
        assert desktop.recv(100) == attacker.recv(100) == b"frame"
        laptop.setblocking(False)
        with pytest.raises(BlockingIOError):  # nothing came back
            laptop.recv(100)


def test_a_machine_that_is_gone_or_stuck_does_not_stop_the_others(tmp_path):
    with open_hub(tmp_path) as hub, port(tmp_path, "laptop") as laptop, port(tmp_path, "desktop") as desktop:
        port(tmp_path, "gone").close()
        with port(tmp_path, "stuck"):
            for _ in range(2000):  # more than a socket's queue holds
                laptop.sendto(b"frame", str(tmp_path / "hub"))
                forward(hub, tmp_path)
                assert desktop.recv(100) == b"frame"
