"""A console is followed as it grows, and says in time when waiting has no sense."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab.machines.console import Console, last_lines
from lab.machines.shell import LabError


@pytest.fixture
def machine() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that lives until it is told to end, as a machine does."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process
        if process.stdin and not process.stdin.closed:
            process.stdin.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "serial.log"
    file.write_text("Linux version 6.12\n")
    return file


def append(log: Path, text: str) -> None:
    with log.open("a") as file:
        file.write(text)


def test_finds_what_was_said_before_and_what_is_said_later_once_each(machine, log):
    console = Console("laptop", log, machine.pid)
    first = console.wait_for("Linux version", seconds=10, why="the first kernel")
    append(log, "Linux version 6.13\nlogin: ")
    second = console.wait_for(r"Linux version \S+", seconds=10, why="the second kernel")
    assert second.text == "Linux version 6.13"
    assert second.when >= first.when
    assert console.wait_for("login:", seconds=10, why="a prompt without a line's end").text == "login:"
    console.close()


def test_from_end_leaves_the_past_out(machine, log):
    console = Console("laptop", log, machine.pid, from_end=True)
    append(log, "")
    with pytest.raises(LabError, match="did not come within"):
        console.wait_for("Linux version", seconds=0.3, why="a new kernel")
    console.close()


def test_a_machine_that_ends_is_not_waited_for(machine, log):
    console = Console("laptop", log, machine.pid)
    machine.communicate()  # its standard input ends, and so does it
    with pytest.raises(LabError, match="laptop ended while waiting for its login prompt"):
        console.wait_for("login:", seconds=60, why="its login prompt")
    console.close()


def test_a_panic_ends_the_wait_at_once(machine, log):
    console = Console("laptop", log, machine.pid)
    append(log, "[    1.0] Kernel panic - not syncing: VFS: no root\n")
    with pytest.raises(LabError, match="not syncing: VFS: no root"):
        console.wait_for("login:", seconds=60, why="its login prompt")
    console.close()


def test_last_lines_are_readable(tmp_path):
    log = tmp_path / "serial.log"
    log.write_bytes(b"\x1b[2J\x1b[01;01H\r\none\r\n\r\n\x1b[0;32m  OK  \x1b[0m two\r\n")
    assert last_lines(log, 2) == "one\n  OK   two"
