"""Programs that the agent runs: what they say, and that none of them is waited for without end."""

import signal
import time
from pathlib import Path

import pytest

from stiefel_agent.machine.program import TOO_LONG, run


def test_a_program_s_words_and_status_come_back() -> None:
    done = run("sh", "-c", "cat; echo wrong >&2; exit 3", text="right")
    assert (done.stdout, done.stderr, done.returncode) == ("right", "wrong\n", 3)


def test_a_program_that_is_not_done_in_time_is_killed_and_told_of(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    done = run("sh", "-c", f"echo $$ > {pid}; trap '' TERM; exec sleep 1000", seconds=2)
    assert done.returncode == TOO_LONG
    assert "2 s" in done.stderr
    deadline = time.monotonic() + 60
    while state(int(pid.read_text())) not in ("", "Z"):
        assert time.monotonic() < deadline, "it still runs"
        signal.sigtimedwait([], 0.01)


def state(pid: int) -> str:
    """Return a process's state as /proc has it, nothing if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""


def test_a_program_that_there_is_not_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        run("no-such-program-of-stiefelsystem")


def test_a_program_has_no_keyboard() -> None:
    assert run("cat").stdout == ""
