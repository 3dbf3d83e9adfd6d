"""What the keeper becomes, seen from outside, as systemd would."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stiefel_agent.machine import storage_daemon

BECOME = f"""
import os, sys
sys.path.insert(0, {str(Path(storage_daemon.__file__).parents[2])!r})
from stiefel_agent.machine import storage_daemon
told, tell = os.pipe()
child = os.fork()
if child == 0:
    os.close(told)
    storage_daemon.CGROUP_ROOT = storage_daemon.Path("/nonexistent/cgroup.procs")
    storage_daemon.become("stiefel-keeper")
    helper = os.fork()
    if helper == 0:
        os._exit(0)
    try:
        os.waitid(os.P_PID, helper, os.WEXITED | os.WNOWAIT)  # returns, and the child is there, or says that it is gone
        os._exit(1)
    except ChildProcessError:
        os.write(tell, b"x")
    os.read(0, 1)
    import signal
    signal.pause()
os.close(tell)
assert os.read(told, 1) == b"x", "a child that has ended is there still"
print(child, flush=True)
"""


@pytest.mark.fault("F1")
@pytest.mark.fault("F10")
@pytest.mark.skipif(os.geteuid() != 0, reason="locked memory needs root")
def test_systemd_spares_it_and_it_has_all_it_needs_in_memory():
    output = subprocess.run([sys.executable, "-c", BECOME], stdout=subprocess.PIPE, text=True, check=True, timeout=60)
    keeper = Path("/proc") / output.stdout.strip()
    try:
        assert (keeper / "cmdline").read_bytes().rstrip(b"\0") == b"@stiefel-keeper"
        assert (keeper / "comm").read_text() == "stiefel-keeper\n"
        status = dict(line.split(":\t") for line in (keeper / "status").read_text().splitlines())
        assert int(status["VmLck"].split()[0]) >= int(status["VmRSS"].split()[0]) // 2
        assert {str((keeper / "fd" / str(stream)).readlink()) for stream in range(3)} == {"/dev/null"}
        assert os.getsid(int(keeper.name)) == int(keeper.name)
    finally:
        os.kill(int(keeper.name), 9)
