"""What docs/durability.md promises of data, as far as a bench can show it."""

import re
import shutil
import signal
import struct
import subprocess
from contextlib import contextmanager
from pathlib import Path

import pytest
from bench import EXPORT, SERVER
from nbd_kernel import REQUEST, WRITE, Load
from waiting import wait_for

BLOCK = 4096
FUA = 1 << 0
"""A command flag of the NBD protocol: acknowledged only when it is on the disk."""
AT_THE_END = (16 << 20) - BLOCK
"""Where no Load writes."""
SYNCED = re.compile(r"f(data)?sync\(\d+\)|f(data)?sync resumed>")
REPLIED = re.compile(r"send(to|msg)\(")


@contextmanager
def traced(laptop, folder):
    """Note what nbdkit asks of the kernel, in order: every sync, and every answer to the target."""
    notes = folder / "strace"
    watcher = subprocess.Popen(
        ["strace", "--follow-forks", "--trace=fsync,fdatasync,sendto,sendmsg", f"--output={notes}", "--attach",
         str(outer_pid(laptop))],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert "attached" in watcher.stderr.readline()
        yield notes
    finally:
        watcher.send_signal(signal.SIGINT)
        watcher.communicate()


def outer_pid(laptop):
    """Return nbdkit's number outside of the machine."""
    inner = str(laptop.main_pid(EXPORT))
    listed = subprocess.run(["ps", "-e", "-o", "pid=", "-o", "comm="], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines():
        pid, name = line.split(None, 1)
        if name.strip() == "nbdkit" and is_in(laptop, pid, inner):
            return int(pid)
    pytest.fail("nbdkit does not run")


def is_in(laptop, pid, inner):
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        same = Path(f"/proc/{pid}/ns/pid").readlink() == Path(f"/proc/{laptop.pid}/ns/pid").readlink()
    except OSError:
        return False
    return same and re.search(r"NSpid:.*\s(\d+)$", status, re.MULTILINE)[1] == inner


def told(notes):
    """Return what nbdkit did, in order: s for a sync that has ended, r for an answer that has begun."""
    return "".join(
        "s" if SYNCED.search(line) and "unfinished" not in line else "r" if REPLIED.search(line) else ""
        for line in notes.read_text().splitlines()
    )


def write_through(disk):
    """Write one block with FUA."""
    connection = disk.living()
    connection.socket.sendall(struct.pack(">IHHQQI", REQUEST, FUA, WRITE, 7, AT_THE_END, BLOCK) + b"f" * BLOCK)
    connection.answer()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.fault("F13")
@pytest.mark.parametrize("kind", ["flush", "fua"])
def test_what_is_flushed_is_synced_to_the_disk_before_it_is_acknowledged(bench, tmp_path, kind):
    laptop, desktop = bench.laptop(), bench.desktop()
    disk = desktop.boots()
    disk.write(AT_THE_END, b"a" * BLOCK)
    with traced(laptop, tmp_path) as notes:
        disk.flush() if kind == "flush" else write_through(disk)
        wait_for(lambda: "r" in told(notes), lambda: f"nbdkit answers, but: {notes.read_text()}")
        assert told(notes).startswith("s"), notes.read_text()


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
def test_what_is_only_written_is_not_synced(bench, tmp_path):
    """So the test above can fail: what promises durability is the flush, and a write alone promises none."""
    laptop, desktop = bench.laptop(), bench.desktop()
    disk = desktop.boots()
    with traced(laptop, tmp_path) as notes:
        disk.write(AT_THE_END, b"a" * BLOCK)
        wait_for(lambda: "r" in told(notes), lambda: f"nbdkit answers, but: {notes.read_text()}")
        assert told(notes).startswith("r"), notes.read_text()


@pytest.mark.parametrize("unit", [EXPORT, SERVER])
def test_what_was_acknowledged_outlives_nbdkit_and_agent(bench, unit):
    """Not flushed: what nbdkit has acknowledged is in the kernel's page cache, and only the kernel's end ends that."""
    laptop, desktop = bench.laptop(), bench.desktop()
    disk = desktop.boots()
    disk.write(AT_THE_END, b"a" * BLOCK)
    with Load(disk) as load:
        laptop.kill(unit, signal.SIGKILL)
        load.goes_on()
        assert laptop.content(AT_THE_END, BLOCK) == b"a" * BLOCK
