"""The list is tried with Debian's own Python, as the initrd's hooks do, not with the one that runs the tests."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_house import ROOMS, uses

PYTHON = "/usr/bin/python3"
SOURCE = Path(__file__).parents[1] / "src"
PRINT_LIST = (
    f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from stiefel_agent.target.initrd_files import main; main()"
)
USE = f"""
import sys
sys.path.insert(0, {str(SOURCE)!r})
from stiefel_agent.machine import netdev
from stiefel_agent.target import attach, nbd
print(netdev.socket_address("fd73::1", 10809)[0])
try:
    nbd.dial("::1", 1, "disk", 1220)
except attach.StiefelError as error:
    print(type(error).__name__)
"""

pytestmark = pytest.mark.skipif(not Path(PYTHON).exists(), reason="there is no Debian Python")


def listed(*options):
    said = subprocess.check_output([PYTHON, "-I", "-S", "-c", PRINT_LIST, *options], text=True)
    return [Path(line) for line in said.splitlines()]


@pytest.fixture(scope="module")
def files():
    return listed()


def loader():
    """What the kernel starts for the interpreter: no library, so it is not among them."""
    said = subprocess.check_output(["ldd", PYTHON], text=True)
    return Path(re.findall(r"^\s*(/\S+) \(0x", said, re.MULTILINE)[0])


def test_every_listed_file_exists_once(files):
    assert all(path.is_file() for path in files)
    assert len(files) == len(set(files))


def test_every_room_that_the_attach_program_leads_to_is_listed(files):
    """Also one that is only imported later, when it is needed: there is no other chance in an initrd."""
    below, waiting = set(), {"stiefel_agent.target.attach"}
    while waiting:
        name = waiting.pop()
        below.add(name)
        waiting |= uses(name) - below
    assert {ROOMS[name] for name in below} <= set(files)


def test_the_list_stays_small(files):
    modules = {path.stem for path in files}
    assert not modules & {"asyncio", "ssl", "site", "idna", "Cryptodome", "Crypto", "crypto", "initrd_files", "cli"}
    real = {path.resolve() for path in files}
    assert sum(path.stat().st_size for path in real) < 15_000_000


@pytest.mark.skipif(os.geteuid() != 0, reason="chroot needs root")
def test_the_listed_files_and_their_libraries_are_enough(files, tmp_path):
    for path in {*files, *listed("--libraries"), loader()}:
        copy = tmp_path / str(path)[1:]
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    command = [shutil.which("chroot"), tmp_path, PYTHON, "-I", "-S", "-B", "-c", USE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    assert (done.stdout, done.stderr) == ("fd73::1\nDiskUnreachable\n", "")
