"""A session outlives the server's agent, and a server outlives whoever calls: real sockets in network namespaces."""

import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from exchange import SECONDS, Role, desktop_folder, laptop, release

from stiefel_agent.protocol.keys import Key

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces needs root")

KEY = Key.generate("stick")
Cable = tuple[str, str]


class Bench:
    """A laptop's server and desktops that come and go."""

    def __init__(self, cable: Cable, tmp_path: Path, **settings: object) -> None:
        self.cable, self._tmp_path = cable, tmp_path
        self.laptop = laptop(tmp_path, KEY, **settings)
        self._roles: list[Role] = []

    def server(self, terminal: int | None = None) -> Role:
        self._roles.append(Role(self.cable[0], "server", self.laptop, terminal))
        return self._roles[-1]

    def desktop(self, name: str) -> Role:
        folder = self._tmp_path / name
        if not folder.exists():
            desktop_folder(self._tmp_path, name, KEY)
        self._roles.append(Role(self.cable[1], "client", folder))
        return self._roles[-1]

    def serve(self, server: Role, name: str = "tower") -> None:
        """Let a desktop come, and become its target."""
        client = self.desktop(name)
        server.hears(f"event=exported desktop={name}")
        assert client.ends() == 0

    def is_busy(self, holder: str = "tower") -> None:
        """See that another desktop is told who has the disk."""
        other = self.desktop("other")
        other.hears(f"in use by {holder}")
        other.stop()

    def give_back(self, name: str = "tower") -> bytes:
        session = json.loads((self._tmp_path / name / "session.json").read_text())
        return release(self.cable[1], session["server"], session["release"]["token"])

    def record(self) -> Path:
        return self.laptop / "record.json"

    def end(self) -> None:
        for role in self._roles:
            role.stop()


@contextmanager
def bench(cable: Cable, tmp_path: Path, **settings: object) -> Iterator[Bench]:
    made = Bench(cable, tmp_path, **settings)
    try:
        yield made
    finally:
        made.end()


def test_a_killed_agent_goes_on_with_its_session(cable: Cable, tmp_path: Path) -> None:
    with bench(cable, tmp_path, encryption="none") as room:
        first = room.server()
        room.serve(first)
        first.stop()
        second = room.server()
        second.hears("event=adopted desktop=tower")
        second.hears("event=server_ready")
        assert not second.said("export_st")  # neither stopped nor started
        room.is_busy()
        assert room.give_back() == b"ok\n"
        second.hears("event=released desktop=tower")
        assert second.ends() == 0


def test_a_record_is_for_root_and_holds_no_token(cable: Cable, tmp_path: Path) -> None:
    with bench(cable, tmp_path, encryption="none") as room:
        room.serve(room.server())
        assert room.record().stat().st_mode & 0o777 == 0o600
        session = json.loads((tmp_path / "tower/session.json").read_text())
        assert session["release"]["token"] not in room.record().read_text()


@pytest.mark.parametrize("piece", ["plain", "record.json"])
def test_what_is_not_whole_is_fenced_off_before_anybody_is_answered(cable: Cable, tmp_path: Path, piece: str) -> None:
    with bench(cable, tmp_path, encryption="none") as room:
        first = room.server()
        room.serve(first)
        first.stop()
        (room.laptop / piece).unlink()
        second = room.server()
        room.serve(second, "heir")
        assert second.order("export_stop", "event=server_ready", "event=exported desktop=heir")
        assert not second.said("adopted")


def test_a_tunnel_with_another_peer_is_no_whole_session(cable: Cable, tmp_path: Path) -> None:
    with bench(cable, tmp_path, encryption="wireguard") as room:
        first = room.server()
        room.serve(first)
        first.stop()
        (room.laptop / "tunnel").write_text("A" * 43 + "=")
        second = room.server()
        second.hears("event=server_ready")
        assert second.order("tunnel_delete", "export_stop", "event=server_ready")


def test_a_laptop_that_was_given_back_goes_home_even_if_its_agent_dies_on_the_way(cable: Cable, tmp_path: Path) -> None:
    with bench(cable, tmp_path, encryption="none") as room:
        first = room.server()
        room.serve(first)
        first.stop()
        record = room.record().read_text()
        room.record().write_text(record.replace('"serving"', '"returning"'))
        second = room.server()
        assert second.ends() == 0
        second.hears("export_stop")


def test_no_key_stops_or_ends_the_server(cable: Cable, tmp_path: Path) -> None:
    hand, terminal = os.openpty()
    with bench(cable, tmp_path, encryption="none") as room:
        server = room.server(terminal)
        server.hears("event=server_ready")
        os.write(hand, b"\x03\x1c\x1a\x13")  # Ctrl-C, Ctrl-\, Ctrl-Z, Ctrl-S; and nobody ever reads what it shows
        room.serve(server)
        room.is_busy()
        assert room.give_back() == b"ok\n"
        assert server.ends() == 0
    os.close(hand)
    os.close(terminal)


def test_nobody_gets_the_disk_while_the_fence_does_not_hold(cable: Cable, tmp_path: Path) -> None:
    hand, terminal = os.openpty()
    with bench(cable, tmp_path, encryption="none") as room:
        server = room.server(terminal)
        room.serve(server)
        (room.laptop / "export-stays").touch()
        os.write(hand, b"ey")
        server.hears("event=not_fenced")
        room.is_busy()
        assert not server.said("ended_here")
        (room.laptop / "export-stays").unlink()
        server.hears("event=ended_here desktop=tower")
        room.serve(server, "heir")
    os.close(hand)
    os.close(terminal)


def test_a_laptop_that_was_given_back_tries_again_to_close_everything(cable: Cable, tmp_path: Path) -> None:
    with bench(cable, tmp_path, encryption="none") as room:
        server = room.server()
        room.serve(server)
        (room.laptop / "export-stays").touch()
        assert room.give_back() == b"ok\n"
        server.hears("event=not_fenced")
        (room.laptop / "export-stays").unlink()
        server.hears("event=export_stop")
        assert server.ends() == 0


def test_the_same_desktop_begins_again_when_nothing_was_written(cable: Cable, tmp_path: Path) -> None:
    with bench(cable, tmp_path, encryption="wireguard") as room:
        server = room.server()
        room.serve(server)  # and then its `ready` was lost, or it died in its initrd
        again = room.desktop("tower")
        server.hears("event=taken_over desktop=tower")
        assert again.ends() == 0
        server.hears("event=exported", 2)
        assert server.order("event=taken_over", "tunnel_delete", "export_stop", "tunnel_add", "event=exported")


def test_the_same_desktop_waits_when_something_was_written(cable: Cable, tmp_path: Path) -> None:
    with bench(cable, tmp_path, encryption="wireguard") as room:
        server = room.server()
        room.serve(server)
        (room.laptop / "sectors").write_text("8")
        again = room.desktop("tower")
        again.hears("in use by tower")
        assert not server.said("taken_over")


def test_nbdkit_is_started_again_and_this_is_told(cable: Cable, tmp_path: Path) -> None:
    with bench(cable, tmp_path, encryption="none") as room:
        server = room.server()
        room.serve(server)
        (room.laptop / "nbdkit").unlink()
        server.hears("event=export_start", 2)
        (room.laptop / "nbdkit").write_text("77")  # systemd was faster
        server.hears("event=export_restarted desktop=tower")


def test_callers_who_say_nothing_or_hang_up_do_not_keep_the_true_release_away(cable: Cable, tmp_path: Path) -> None:
    with bench(cable, tmp_path, encryption="none") as room:
        server = room.server()
        room.serve(server)
        host = json.loads((tmp_path / "tower/session.json").read_text())["server"]
        with callers(cable[1], host):
            assert room.give_back() == b"ok\n"
        server.hears("event=released desktop=tower")
        assert server.ends() == 0


@contextmanager
def callers(namespace: str, host: str) -> Iterator[None]:
    """Call the release port: forty who reset at once, a dozen who say a byte and then nothing."""
    program = (
        "import socket, struct, sys\n"
        "def call(): return socket.create_connection((sys.argv[1], 61571), 10)\n"
        "for _ in range(40):\n"
        f"    one = call(); one.setsockopt({int(socket.SOL_SOCKET)}, {int(socket.SO_LINGER)}, "
        f"{struct.pack('ii', 1, 0)!r}); one.close()\n"
        "silent = [call() for _ in range(12)]\n"
        "for one in silent: one.send(b'a')\n"
        "print('here', flush=True)\n"
        "sys.stdin.read()\n"
    )
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", program, f"{host}%cable1"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        assert process.stdout.readline() == b"here\n"
        yield
    finally:
        process.communicate(timeout=SECONDS)
