"""Running programs, saying what takes time, and the one error that the lab raises."""

from __future__ import annotations

import os
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


class LabError(Exception):
    """Something in the lab did not work; the message says what, why and what to do."""


def say(message: str) -> None:
    """Print one line of progress at once: the reader may be a person, a log or Ansible.

    Ansible shows what a command says only when it ends: whoever waits for it follows the file $STIEFEL_PROGRESS.
    """
    print(f"lab: {message}", file=sys.stderr, flush=True)
    if progress := os.environ.get("STIEFEL_PROGRESS"):
        with Path(progress).open("a", encoding="utf-8") as file:
            print(f"lab: {message}", file=file)


@contextmanager
def step(what: str) -> Iterator[None]:
    """Announce what begins, and how many seconds it took."""
    say(f"{what} ...")
    start = time.monotonic()
    yield
    say(f"{what}: {time.monotonic() - start:.1f} s")


def process_of(pidfile: Path, word: str) -> int | None:
    """The process that `pidfile` names, if it lives and still has `word` on its command line."""
    try:
        pid = int(pidfile.read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    return pid if word.encode() in command else None


def wait_exit(pid: int, seconds: float) -> bool:
    """Whether the process ended within `seconds`."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    with os.fdopen(handle) as process:
        return bool(select.select([process], [], [], seconds)[0])


def run(
    command: Sequence[str | Path],
    *,
    seconds: float = 600,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Run a program, in a folder of its own if it leaves files where it stands, and return its standard output.

    Raises:
        LabError: it is missing, failed (with the last lines of what it said), or took longer than `seconds`.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(words, env=env, cwd=cwd, timeout=seconds, check=False, text=True, capture_output=True)
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed: install the Debian package that has it") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"no end after {seconds:.0f} s: {shlex.join(words)}") from error
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise LabError(f"exit code {done.returncode}: {shlex.join(words)}\n{said}")
    return done.stdout
