"""Other programs: every one has a time limit, so that none of them can hold us up for good."""

import subprocess
from collections.abc import Sequence

LIMIT_SECONDS = 20.0
"""Far more than any program of ours takes, on the slowest machine."""
TOO_LONG = 124
"""The exit status of one that was not done in time, as timeout(1) has it."""


def run(
    *command: str, text: str | None = None, seconds: float | None = None, pass_fds: Sequence[int] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end; `text` is its input. What it says is in the result, its exit status as well.

    One that takes longer than `seconds` (None: LIMIT_SECONDS) is killed and not waited for: in the kernel's hands (a
    disk that does not answer) it could not even die. Its status is TOO_LONG, and it says so.

    Raises:
        OSError: there is no such program.
    """
    limit = LIMIT_SECONDS if seconds is None else seconds
    source = subprocess.DEVNULL if text is None else subprocess.PIPE
    process = subprocess.Popen(
        command, stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, pass_fds=pass_fds
    )
    try:
        output, errors = process.communicate(text, limit)
    except subprocess.TimeoutExpired:
        process.kill()
        return subprocess.CompletedProcess(command, TOO_LONG, "", f"not done within {limit:.0f} s")
    return subprocess.CompletedProcess(command, process.returncode, output, errors)
