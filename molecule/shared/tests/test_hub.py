"""The hub hands every frame to everybody else, and keeps a record of it."""

import io
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.machines.bench import NAMES, Bench
from lab.machines.capture import FILE_HEADER, RECORD, frames
from lab.machines.hub import flush_if_idle, forward, open_hub
from lab.machines.image import Image
from lab.machines.shell import wait_exit


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
        forward(hub, tmp_path, io.BytesIO())
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
                forward(hub, tmp_path, io.BytesIO())
                assert desktop.recv(100) == b"frame"


def test_a_frame_is_recorded_once_with_its_time_though_nobody_takes_it(tmp_path):
    with open_hub(tmp_path) as hub, port(tmp_path, "laptop") as laptop:
        for gone in ("desktop", "attacker"):
            port(tmp_path, gone).close()
        laptop.sendto(b"frame", str(tmp_path / "hub"))
        pcap = io.BytesIO()
        before = time.time_ns()
        forward(hub, tmp_path, pcap)
        after = time.time_ns()
    seconds, microseconds, kept, length = RECORD.unpack_from(pcap.getvalue())
    assert before // 1000 <= seconds * 10**6 + microseconds <= after // 1000
    assert microseconds < 10**6
    assert kept == length == len(b"frame")
    assert pcap.getvalue()[RECORD.size :] == b"frame"


def test_records_are_flushed_when_no_frame_waits(tmp_path):
    file = tmp_path / "cable.pcap"
    with open_hub(tmp_path) as hub, port(tmp_path, "laptop") as laptop, file.open("wb") as pcap:
        for _ in range(2):
            laptop.sendto(b"frame", str(tmp_path / "hub"))
        pcap.write(FILE_HEADER)
        forward(hub, tmp_path, pcap)
        flush_if_idle(hub, pcap)
        assert file.stat().st_size == 0
        forward(hub, tmp_path, pcap)
        flush_if_idle(hub, pcap)
        assert list(frames(file)) == [b"frame", b"frame"]


@pytest.fixture
def capturing(tmp_path: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """The hub as a process that captures into cable.pcap; ready when it has its socket."""
    command = [sys.executable, "-m", "lab.machines.hub", str(tmp_path), str(tmp_path / "cable.pcap")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(command, env=environment) as process:
        await_true(lambda: (tmp_path / "hub").exists() or process.poll() is not None)
        yield process
        process.kill()


def await_true(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_reader_need_not_wait_for_the_hubs_end(tmp_path, capturing):
    with port(tmp_path, "laptop") as laptop:
        laptop.sendto(b"frame", str(tmp_path / "hub"))
        await_true(lambda: list(frames(tmp_path / "cable.pcap")) == [b"frame"])
    assert capturing.poll() is None


def test_what_was_handed_on_is_in_the_file_when_the_hub_is_terminated(tmp_path, capturing):
    sent = [bytes([number]) * 100 for number in range(50)]
    with port(tmp_path, "laptop") as laptop, port(tmp_path, "desktop") as desktop:
        for frame in sent:
            laptop.sendto(frame, str(tmp_path / "hub"))
            desktop.recv(100)
        capturing.terminate()
        assert capturing.wait(60) == 0
    assert list(frames(tmp_path / "cable.pcap")) == sent


def test_without_a_file_nothing_is_kept(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen([sys.executable, "-m", "lab.machines.hub", str(tmp_path)], env=environment) as process:
        await_true(lambda: (tmp_path / "hub").exists() or process.poll() is not None)
        with port(tmp_path, "laptop") as laptop, port(tmp_path, "desktop") as desktop:
            laptop.sendto(b"frame", str(tmp_path / "hub"))
            assert desktop.recv(100) == b"frame"
        process.terminate()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["desktop.link", "hub", "laptop.link"]


def test_a_bench_captures_what_crosses_its_hub_until_it_is_down(tmp_path):
    sockets = tmp_path / "sockets"
    sockets.mkdir()
    bench = Bench(tmp_path, sockets, dict.fromkeys(NAMES, 0), Image(tmp_path), hub=True, lifetime_seconds=60)
    bench._start_hub()
    await_true((sockets / "hub").exists)
    with port(sockets, "laptop") as laptop, port(sockets, "desktop") as desktop:
        laptop.sendto(b"frame", str(sockets / "hub"))
        assert desktop.recv(100) == b"frame"
    hub = bench._hub_pid
    bench.down()
    assert wait_exit(hub, 0)  # nothing will be written any more
    assert list(frames(bench.capture)) == [b"frame"]
