import os
import socket
import threading
import time

import pytest

from stiefel_agent.errors import ReleaseFailed
from stiefel_agent.protocol.session import Nbd, Release, Session
from stiefel_agent.target import release

TOKEN = "ab" * 32


class Laptop:
    """A server on loopback that answers each release with the given bytes."""

    def __init__(self, answer):
        self.heard = b""
        self._answer = answer
        self._socket = socket.create_server(("::1", 0), family=socket.AF_INET6)
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        connection, _ = self._socket.accept()
        with connection:
            self.heard = connection.makefile("rb").readline()
            connection.sendall(self._answer)

    def join(self):
        self._thread.join(10)
        self._socket.close()


@pytest.fixture
def target(monkeypatch, tmp_path):
    """A running target: session file and disk in a folder; the laptop is reached on loopback."""
    monkeypatch.setattr(release, "IN_TARGET", tmp_path / "session.json")
    monkeypatch.setattr(release, "DISK", tmp_path / "disk")
    monkeypatch.setattr(Session, "server_host", "::1")
    monkeypatch.setattr(release, "KEEPER", tmp_path / "keeper.pid")
    (tmp_path / "keeper.pid").write_text(f"{os.getpid()}\n")

    def become(port):
        session = Session("52:54:00:00:00:02", "fe80::1", None, Nbd(10809, "disk", 4, 512), Release(port, TOKEN))
        (tmp_path / "session.json").write_text(session.redacted().to_json())

    return become


@pytest.fixture
def flushed(monkeypatch):
    """Stand in for the flush itself: a plain file has no block device's ioctl."""
    monkeypatch.setattr(release, "flush", lambda disk: None)


def test_a_laptop_that_is_no_target_shuts_down_as_always(target, capsys):
    assert release.main() == 0
    assert capsys.readouterr().err == ""


def test_the_token_is_handed_over_and_the_return_confirmed(target, flushed, capsys):
    laptop = Laptop(b"ok\n")
    target(laptop.port)
    assert release.main() == 0
    laptop.join()
    assert laptop.heard == TOKEN.encode() + b"\n"
    assert "stiefel: event=disk_returned" in capsys.readouterr().err


@pytest.mark.parametrize("answer", [b"", b"no\n", b"o"])
def test_a_laptop_that_does_not_confirm_is_reported(target, flushed, capsys, answer):
    laptop = Laptop(answer)
    target(laptop.port)
    assert release.main() == 1
    laptop.join()
    assert "did not confirm" in capsys.readouterr().err


@pytest.mark.fault("F12")
def test_a_laptop_that_is_gone_is_reported(target, flushed, capsys, record_property):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as closed:
        port = closed.getsockname()[1]
    target(port)
    assert release.main() == 1
    said = capsys.readouterr().err
    record_property("figure", said.splitlines()[-1])
    assert "could not be told" in said


def test_without_a_keeper_there_is_no_way_to_the_laptop_and_that_is_said(target, flushed, tmp_path, capsys):
    laptop = Laptop(b"ok\n")
    target(laptop.port)
    (tmp_path / "keeper.pid").unlink()
    assert release.main() == 1
    assert "nobody keeps the cable" in capsys.readouterr().err
    assert laptop.heard == b""


def test_the_token_is_never_shown(target, flushed, capsys):
    laptop = Laptop(b"no\n")
    target(laptop.port)
    release.main()
    laptop.join()
    assert TOKEN not in "".join(capsys.readouterr())


def test_nothing_is_released_when_the_flush_failed(target, capsys):
    laptop = Laptop(b"ok\n")
    target(laptop.port)
    assert release.main() == 1  # the fixture's disk does not exist
    assert laptop.heard == b""


@pytest.mark.fault("F12")
def test_a_flush_that_hangs_is_left_behind_in_bounded_time(monkeypatch, tmp_path):
    reading, writing = os.pipe()
    # In the child, which must not hold the end open that we close to let it go.
    monkeypatch.setattr(release, "flush", lambda disk: (os.close(writing), os.read(reading, 1)))
    before = time.monotonic()
    with pytest.raises(ReleaseFailed, match="cable"):
        release.flush_within(tmp_path, 0.2)
    assert time.monotonic() - before < 5
    os.close(writing)
    assert os.wait()[1] == 0
