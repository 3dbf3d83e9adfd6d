"""The lab's volatile write cache: what was flushed is there after a power cut, what was not is gone."""

import shutil
import signal
import subprocess
import sys

import pytest
from lab.machines.volatile import VolatileDisk
from lab.trials.guest import flushes, program

NEEDED = ("nbdkit", "qemu-io", "qemu-img")
needs_programs = pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"not installed: {', '.join(NEEDED)}")


def qemu_io(target, *lines):
    """Let qemu-io do this; return how it ended, and what it has said."""
    words = [word for line in lines for word in ("-c", line)]
    command = ["qemu-io", "-f", "qcow2", "-t", "writeback", *words, target]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)


@needs_programs
def test_a_power_cut_takes_what_was_not_flushed_and_nothing_else(tmp_path):
    file = tmp_path / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", file, "64M"], check=True)
    disk = VolatileDisk(file, tmp_path / "disk")
    disk.start(60)
    try:
        # Aborted, for it flushes when it ends in order.
        done = qemu_io(disk.url, "write -P 1 0 64k", "flush", "write -P 2 0 64k", "write -P 3 1M 64k", "abort")
        assert done.returncode == -signal.SIGABRT
    finally:
        disk.stop()
    said = qemu_io(str(file), "read -P 1 0 64k", "read -P 0 1M 64k").stdout
    assert "read 65536" in said
    assert "failed" not in said


@needs_programs
def test_the_machine_itself_outlives_its_disk(tmp_path):
    """Its power is cut after its disk's, and not by it."""
    (tmp_path / "laptop.qcow2").touch()
    disk = VolatileDisk(tmp_path / "laptop.qcow2", tmp_path / "laptop.disk")
    disk.start(60)
    with subprocess.Popen(["sleep", "60"], executable=shutil.which("sleep")) as machine:
        (tmp_path / "laptop.pid").write_text(str(machine.pid))
        disk.stop()
        assert machine.poll() is None
        assert subprocess.run(["nbdinfo", disk.url], check=False, capture_output=True).returncode != 0
        machine.kill()


def write_some(folder, progress, blocks):
    """Let the program write until so many blocks were flushed; return how many it says."""
    command = [sys.executable, program("flushes"), "write", folder, progress]
    with subprocess.Popen(command) as process:
        while not (progress.exists() and int(progress.read_text()) >= blocks):
            assert process.poll() is None
        process.kill()
    return int(progress.read_text())


def test_blocks_that_were_flushed_are_counted_and_one_that_is_missing_is_noticed(tmp_path):
    folder, progress = tmp_path / "flushes", tmp_path / "progress"
    flushed = write_some(folder, progress, 5)
    assert flushes.whole(folder) >= flushed
    with (folder / "log").open("r+b") as log:
        log.seek((flushed - 1) * flushes.BLOCK_BYTES)
        log.write(b"lost")
    assert flushes.whole(folder) == flushed - 1
