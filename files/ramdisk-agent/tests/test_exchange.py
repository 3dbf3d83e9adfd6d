"""Client and server find each other and exchange the bundle over real sockets, each in a network namespace."""

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stiefel_agent.protocol.keys import Key, serialise

SECONDS = 60.0
ROLES = Path(__file__).parent / "exchange_roles.py"

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@pytest.fixture
def cable() -> Iterator[tuple[str, str]]:
    """Two namespaces, joined by a veth pair: the laptop's and the desktop's."""
    laptop, desktop = (f"stiefel-{end}-{os.getpid()}" for end in ("laptop", "desktop"))
    try:
        for namespace in (laptop, desktop):
            ip("netns", "add", namespace)
        ip("-n", laptop, "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", desktop)
        yield laptop, desktop
    finally:
        for namespace in (laptop, desktop):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


class Role:
    """A running server or client, and what it says."""

    def __init__(self, namespace: str, role: str, folder: Path, keyboard: int = subprocess.DEVNULL) -> None:
        self._said = ""
        source = str(Path(__file__).parents[1] / "src")
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, sys.executable, str(ROLES), role, str(folder)],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, stdin=keyboard,
            env={**os.environ, "PYTHONPATH": source},
        )  # fmt: skip

    def hears(self, text: str) -> None:
        """Wait until it has said a text; fails with all it said after SECONDS."""
        assert self._process.stderr
        deadline = time.monotonic() + SECONDS
        while text not in self._said:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._process.stderr], [], [], max(left, 0))
            data = os.read(self._process.stderr.fileno(), 65536) if ready else b""
            assert data, f"{text!r} was not said within {SECONDS} s, but:\n{self._said}"
            self._said += data.decode()

    def ends(self) -> int:
        return self._process.wait(SECONDS)

    def said(self, text: str) -> bool:
        return text in self._said

    def order(self, *events: str) -> bool:
        """Say whether it has told of these events in this order, others among them or not."""
        rest = self._said
        for event in events:
            _, found, rest = rest.partition(event)
            if not found:
                return False
        return True

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def laptop_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "laptop"
    (folder / "bundle").mkdir(parents=True)
    (folder / "disk").write_bytes(b"disk")
    (folder / "bundle/vmlinuz").write_bytes(os.urandom(700_001))
    (folder / "bundle/initrd.img").write_bytes(os.urandom(3_000_000))
    (folder / "bundle/cmdline").write_text("root=UUID=1 stiefel.role=target\n")
    (folder / "bundle/kernel-version").write_text("6.12\n")
    configure(folder, encryption="none")
    return folder


def configure(folder: Path, **settings: object) -> None:
    """Write what autokexec would tell the server."""
    document = {"disk": str(folder / "disk"), "laptop": "anna", "connections": 2, **settings}
    (folder / "server.json").write_text(json.dumps(document))


def desktop_folder(tmp_path: Path, name: str, key: Key) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "key.json").write_text(serialise([key.for_stick()]))
    (folder / "name.json").write_text(json.dumps(name))
    return folder


def test_a_session_from_beacon_to_release(cable: tuple[str, str], laptop_folder: Path, tmp_path: Path) -> None:
    key = Key.generate("stick")
    (laptop_folder / "key.json").write_text(serialise([Key.generate("other"), key]))
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


def test_a_silent_desktop_is_fenced_off_before_another_gets_the_disk(
    cable: tuple[str, str], laptop_folder: Path, tmp_path: Path
) -> None:
    key = Key.generate("stick")
    (laptop_folder / "key.json").write_text(serialise([key]))
    configure(laptop_folder, encryption="wireguard", takeover_seconds=1)
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


def test_an_export_that_fails_is_cleared_away_and_tried_again(
    cable: tuple[str, str], laptop_folder: Path, tmp_path: Path
) -> None:
    key = Key.generate("stick")
    (laptop_folder / "key.json").write_text(serialise([key]))
    configure(laptop_folder, encryption="wireguard")
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


def test_a_person_at_the_laptop_ends_a_session_with_two_keys(
    cable: tuple[str, str], laptop_folder: Path, tmp_path: Path
) -> None:
    key = Key.generate("stick")
    (laptop_folder / "key.json").write_text(serialise([key]))
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


def release(namespace: str, host: str, token: str) -> bytes:
    """Say a release from the desktop's namespace; return the answer."""
    program = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], 61571), 10); "
        "s.sendall(sys.argv[2].encode() + b'\\n'); sys.stdout.write(s.recv(16).decode())"
    )
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", program, f"{host}%cable1", token]
    return subprocess.run(command, check=True, capture_output=True, timeout=SECONDS).stdout


def test_a_stranger_gets_no_answer(cable: tuple[str, str], laptop_folder: Path, tmp_path: Path) -> None:
    (laptop_folder / "key.json").write_text(serialise([Key.generate("stick")]))
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
