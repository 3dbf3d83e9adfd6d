"""Client and server find each other and exchange the bundle over real sockets, each in a network namespace."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from exchange import SECONDS, Role, desktop_folder, laptop, release

from stiefel_agent.protocol.keys import Key

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root")


def test_a_session_from_beacon_to_release(cable: tuple[str, str], tmp_path: Path) -> None:
    key = Key.generate("stick")
    laptop_folder = laptop(tmp_path, Key.generate("other"), key, encryption="none")
    desktop = desktop_folder(tmp_path, "tower", key)
    server = Role(cable[0], "server", laptop_folder)
    client = Role(cable[1], "client", desktop)
    try:
        client.hears("event=bundle_received")
        assert client.ends() == 0
        server.hears("event=exported")
        assert (desktop / "kernel").read_bytes() == (laptop_folder / "bundle/vmlinuz").read_bytes()
        assert (desktop / "initrd").read_bytes() == (laptop_folder / "bundle/initrd.img").read_bytes()
        assert (desktop / "cmdline").read_text() == "root=UUID=1 stiefel.role=target"
        session = json.loads((desktop / "session.json").read_text())

        second = Role(cable[1], "client", desktop_folder(tmp_path, "second", key))
        second.hears("in use by tower")
        second.stop()

        assert release(cable[1], session["server"], "00" * 32) == b""
        assert release(cable[1], session["server"], session["release"]["token"]) == b"ok\n"
        server.hears("event=released desktop=tower")
        assert server.ends() == 0
    finally:
        client.stop()
        server.stop()


def test_a_silent_desktop_is_fenced_off_before_another_gets_the_disk(cable: tuple[str, str], tmp_path: Path) -> None:
    key = Key.generate("stick")
    laptop_folder = laptop(tmp_path, key, encryption="wireguard", takeover_seconds=1)
    server = Role(cable[0], "server", laptop_folder)
    ghost = Role(cable[1], "client", desktop_folder(tmp_path, "ghost", key))
    heir = None
    try:
        server.hears("event=exported desktop=ghost")
        assert ghost.ends() == 0
        heir = Role(cable[1], "client", desktop_folder(tmp_path, "heir", key))
        server.hears("event=exported desktop=heir")
        assert server.order("tunnel_add", "taken_over desktop=ghost", "tunnel_delete", "tunnel_add", "desktop=heir")
        assert heir.ends() == 0
    finally:
        for role in (ghost, heir, server):
            if role:
                role.stop()


def test_an_export_that_fails_is_cleared_away_and_tried_again(cable: tuple[str, str], tmp_path: Path) -> None:
    key = Key.generate("stick")
    laptop_folder = laptop(tmp_path, key, encryption="wireguard")
    (laptop_folder / "first-export-fails").touch()
    server = Role(cable[0], "server", laptop_folder)
    client = Role(cable[1], "client", desktop_folder(tmp_path, "tower", key))
    try:
        server.hears("event=exported desktop=tower")
        assert server.order("tunnel_add", "could not be offered", "tunnel_delete", "tunnel_add", "event=exported")
        assert client.ends() == 0
    finally:
        client.stop()
        server.stop()


def test_a_person_at_the_laptop_ends_a_session_with_two_keys(cable: tuple[str, str], tmp_path: Path) -> None:
    key = Key.generate("stick")
    laptop_folder = laptop(tmp_path, key, encryption="none")
    hand, keyboard = os.openpty()
    server = Role(cable[0], "server", laptop_folder, keyboard)
    lost = Role(cable[1], "client", desktop_folder(tmp_path, "lost", key))
    heir = None
    try:
        server.hears("event=exported desktop=lost")
        assert lost.ends() == 0
        os.write(hand, b"e")
        os.write(hand, b"nr")  # not sure after all; and a session is no time to go home
        heir = Role(cable[1], "client", desktop_folder(tmp_path, "heir", key))
        heir.hears("in use by lost")
        assert not server.said("ended_here")
        os.write(hand, b"ey")  # at once, as on a slow machine
        server.hears("event=ended_here desktop=lost")
        server.hears("event=exported desktop=heir")
    finally:
        for role in (lost, heir, server):
            if role:
                role.stop()
        os.close(hand)
        os.close(keyboard)


def test_a_stranger_gets_no_answer(cable: tuple[str, str], tmp_path: Path) -> None:
    laptop_folder = laptop(tmp_path, Key.generate("stick"))
    server = Role(cable[0], "server", laptop_folder)
    friend = Key.generate("stick")
    client = Role(cable[1], "client", desktop_folder(tmp_path, "stranger", friend))
    try:
        server.hears("event=server_ready")
        client.hears("event=beacon")
        assert datagrams_to(cable[1], 3.0) == 0
        assert not client.said("event=challenged")
    finally:
        client.stop()
        server.stop()


def datagrams_to(namespace: str, seconds: float) -> int:
    """Count the unicast UDP datagrams that reach a namespace within some seconds."""
    program = (
        "import socket, sys, time\n"
        f"s = socket.socket({int(socket.AF_PACKET)}, socket.SOCK_DGRAM, socket.htons(0x86dd))\n"
        "end, count = time.monotonic() + float(sys.argv[1]), 0\n"
        "while (left := end - time.monotonic()) > 0:\n"
        "    s.settimeout(left)\n"
        "    try: data, (_, _, kind, *_) = s.recvfrom(2048)\n"
        "    except TimeoutError: break\n"
        "    count += data[6] == 17 and kind == 0\n"
        "print(count)"
    )
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", program, str(seconds)]
    return int(subprocess.run(command, check=True, capture_output=True, timeout=SECONDS).stdout)
