"""Debian packages of this machine: which are missing, and how far their installation is."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable

STATUS = re.compile(r"(?:dl|pm)status:[^:]*:([\d.]+):(.*)")
"""What apt writes of its progress: kind, package, percent, words (README.progress-reporting in apt's documentation)."""
BAR = 20
SAID_LINES = 10
"""Of what apt said, when it fails."""
STATUS_FD = 3
"""Where apt writes it. apt closes it for packages' scripts, which fail at their first word without standard output."""
BEGIN = f'exec apt-get "$@" {STATUS_FD}>&1'
"""By a shell, for sudo lets nothing but the standard three through."""


def missing(wanted: Iterable[str]) -> list[str]:
    """Return those of the packages that are not installed."""
    names = list(dict.fromkeys(wanted))
    asked = ["dpkg-query", "--show", "--showformat=${db:Status-Status} ${Package}\n", *names]
    known = subprocess.run(asked, check=False, capture_output=True, text=True).stdout
    installed = {line.split()[1] for line in known.splitlines() if line.startswith("installed ")}
    return [package for package in names if package not in installed]


def bar(line: str) -> str:
    """Return how far apt is as a line of its status tells, nothing if it does not."""
    if not (found := STATUS.match(line)):
        return ""
    percent = float(found[1])
    return f"[{'#' * int(percent * BAR // 100):{BAR}}] {percent:3.0f} %  {found[2].strip()}"


def show(text: str) -> None:
    """Show a text in the place of the last one, where there is a terminal."""
    if sys.stdout.isatty():
        width = (shutil.get_terminal_size().columns or 80) - 1
        print(f"\r\x1b[K{text[:width]}", end="", flush=True)


def cause(said: list[str]) -> list[str]:
    """Return those lines of apt's that tell why it failed: the last, or those before dpkg gives a first package up.

    The packages that depend on that one are given up after it, each in a few lines.
    """
    given_up = (number for number, line in enumerate(said) if line.startswith("dpkg: error processing"))
    end = next(given_up, len(said)) + 2  # its second line has the reason
    return said[:end][-SAID_LINES:]


def apt(*words: str) -> bool:
    """Run apt-get as root and say whether it went well; what it says is shown only if it did not."""
    sudo = () if os.geteuid() == 0 else ("sudo",)
    quiet = ("sh", "-c", BEGIN, "apt-get", "-q", "-o", f"APT::Status-Fd={STATUS_FD}", "-o", "Dpkg::Use-Pty=0")
    said: list[str] = []
    with subprocess.Popen(
        (*sudo, "env", "DEBIAN_FRONTEND=noninteractive", *quiet, *words),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
    ) as running:  # fmt: skip
        for line in running.stdout or ():
            if far := bar(line):
                show(far)
            else:
                said.append(line)
    show("")
    if running.returncode != 0:
        sys.stderr.writelines(cause(said))
    return running.returncode == 0
