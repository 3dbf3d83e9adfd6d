"""The agent in a machine of the bench, whole but for what a network namespace cannot have.

Usage: roles.py server|client (the agent's own entry), roles.py attach|release (the target's programs)

Left out, and tested in the virtual lab: that an interface is hardware, the firmware's serial number, kexec (what would
be started is kept: the bundle under /run, the session where the target's initrd has it), the kernel's nbd driver (the
sockets go to the test, see nbd_kernel.py), WireGuard's own netlink (wg(8) speaks to wireguard-go), a battery (a test
writes what it says), systemd's way to switch a target off.
"""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

from stiefel_agent import cli
from stiefel_agent.client import client
from stiefel_agent.machine import firmware, genl, kexec, link, netdev, power, wireguard
from stiefel_agent.server import feed, page
from stiefel_agent.server import power as judge
from stiefel_agent.target import attach, cable, clock, ear, keeper, nbd, release

KERNEL = "/run/kernel.sock"
HOLD = Path("/run/hold")
"""As long as it exists, what the client received is not yet loaded."""

SLOW = Path("/run/slow-disk")
"""As long as it exists, the disk is not done with a flush."""
fsync = os.fsync


def slow_fsync(descriptor):
    """Flush a disk as slowly as the test wants it."""
    while SLOW.exists() and stat.S_ISBLK(os.fstat(descriptor).st_mode):
        time.sleep(0.01)
    fsync(descriptor)


def start_target(system):
    """Keep what kexec would load."""
    for name, stream in (("kernel", system.kernel), ("initrd", system.initrd)):
        stream.seek(0)
        with Path("/run", name).open("wb") as copy:
            shutil.copyfileobj(stream, copy)
    Path("/run/cmdline").write_text(system.command_line)
    while HOLD.exists():
        time.sleep(0.01)
    for name, content in system.extra.items():
        Path("/", name).parent.mkdir(parents=True, exist_ok=True)
        Path("/", name).write_bytes(content)


def leave():
    """Stand in for the jump into the target's kernel."""
    sys.exit(0)


def driver(command, sockets=(), **facts):
    """Say something to the stand-in for the kernel's nbd driver; return the connection to it."""
    kernel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernel.connect(KERNEL)
    socket.send_fds(kernel, [json.dumps({"command": command, **facts}).encode()], list(sockets))
    assert kernel.recv(1)
    return kernel


def connect(_netlink, index, offered, _block_size, sockets):
    """Hand the negotiated sockets over, and make what the driver would show."""
    device, shown = Path(f"/dev/nbd{index}"), Path(f"/sys/block/nbd{index}")
    device.touch()
    shown.mkdir(exist_ok=True)
    (shown / "size").write_text(str(offered.size // 512))
    driver("connect", sockets, size=offered.size, flags=offered.flags).close()


class Announcements:
    """The driver's announcements of connections that have ended."""

    def __init__(self, _group):
        self._driver = driver("announce")
        self._driver.setblocking(False)

    def fileno(self):
        return self._driver.fileno()

    def read(self):
        try:
            return [(nbd.NBD_CMD_LINK_DEAD, {})] * len(self._driver.recv(1))
        except BlockingIOError:
            return []


def set_endpoint(_netlink, interface, peer, endpoint):
    host, port, _flow, scope = endpoint
    command = ["wg", "set", interface, "peer", peer, "endpoint", f"[{host}%{scope}]:{port}"]
    subprocess.run(command, check=True)


def main():
    # A veth is no hardware: here everything but `lo` and the tunnel is the cable.
    link._is_wired = lambda folder: folder.name != "lo" and not (folder / "tun_flags").exists()
    netdev.udev_settle = lambda: None
    client.desktop_name = lambda: Path("/etc/stiefel/desktop").read_text()
    firmware.identity = lambda: f"product_serial={client.desktop_name()}"
    firmware.laptop = lambda _disk: Path("/etc/stiefel/serial").read_text()
    kexec.load, kexec.execute = start_target, leave
    nbd.connect = connect
    os.fsync = slow_fsync
    power.SYS_POWER = Path("/run/power_supply")
    feed.READ_SECONDS = feed.WORRIED_SECONDS = 0.0  # nobody announces what a test writes there
    judge.GRACE_SECONDS = 2.0
    page.QUIET_SECONDS = 2.0  # not three keepalives
    ear.shut_down = lambda: Path("/run/shut-down").touch()
    cable.HARDWARE.add("veth")
    nbd.reconfigure = lambda _netlink, _index, sockets: driver("reconfigure", sockets).close()
    genl.GenericNetlink.group = lambda *_: 0
    keeper.Announcements = Announcements
    wireguard.set_endpoint = set_endpoint
    keeper.GIVE_UP_SECONDS = 1.0
    keeper.COUNTDOWN, keeper.RESTART_SECONDS = (3.0, 2.0, 1.0), 3.0  # nobody reads it here
    release.flush = lambda disk: None
    attach.COMMAND_LINE = Path("/run/cmdline")
    clock.take_as_utc, clock.boottime = lambda: None, lambda: 0.0
    time.clock_settime = lambda _clock, seconds: Path("/run/clock").write_text(str(seconds))
    attach.HUNG_TASKS = Path("/run/hung_task_timeout_secs")  # the kernel's own is the host's, too
    programs = {"attach": attach.main, "release": release.main}
    return programs.get(sys.argv[1], cli.main)()


sys.exit(main())
