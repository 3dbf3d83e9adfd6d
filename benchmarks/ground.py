"""What measurements share: where things are, how programs are run, what the machine is."""

from __future__ import annotations

import functools
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build/bench"
SOURCE = ROOT / "files/ramdisk-agent/src"


class LeftOut(Exception):
    """A row cannot be measured here; the text says why."""


def said(*argv: str | Path, codes: tuple[int, ...] = (0,), **variables: str) -> str:
    """Return what a program says; raises LeftOut when it ends with another code than these."""
    done = subprocess.run(
        [str(word) for word in argv], cwd=ROOT, env=os.environ | variables, check=False, capture_output=True, text=True
    )
    if done.returncode not in codes:
        last = (done.stdout + done.stderr).strip().rpartition("\n")[2]
        raise LeftOut(f"{Path(argv[0]).name} ended with {done.returncode}: {last[:300]}")
    return done.stdout


def ansible(*arguments: str, playbook: str = "site.yml") -> tuple[str | Path, ...]:
    """Return the command that runs a playbook with these arguments."""
    return Path(sys.executable).with_name("ansible-playbook"), ROOT / playbook, *arguments


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


@functools.cache
def machine() -> dict[str, str | int]:
    """Return what the figures were measured on; the tree as the run found it, for the first row changes its page."""
    return {
        "processor": _processor(),
        "processors": os.cpu_count() or 1,
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 1_000_000,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "tree": said("git", "describe", "--always", "--dirty").strip(),
    }
