"""The agent in a machine of the bench, whole but for what a network namespace cannot have.

pid1.py forks it: `server`, `client` and so on are the agent's own entry, `attach` and `release` the target's programs.

Left out, and tested in the virtual lab: that an interface is hardware, the firmware's serial number, kexec (what would
be started is kept: the bundle under /run, the session where the target's initrd has it), the kernel's nbd driver (the
sockets go to the test, see nbd_kernel.py), WireGuard (wireguard-go makes the interface, wg(8) speaks to it) and that it
forgets its keys when its interface goes down, a battery (a test writes what it says), systemd's way to switch a target
off.
"""

import importlib
import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path
from subprocess import DEVNULL

from waiting import wait_for

from stiefel_agent import cli
from stiefel_agent.client import client
from stiefel_agent.machine import firmware, genl, kexec, link, netdev, power, rtnl, wireguard
from stiefel_agent.protocol.session import TUNNEL
from stiefel_agent.target import attach, cable, clock, ear, keeper, nbd, release

QUICK = {
    "client.choice.LISTEN_SECONDS": 1.0,
    "client.client.RETRY_SECONDS": 1.0,
    "server.feed.READ_SECONDS": 0.0,  # nobody announces what a test writes there
    "server.feed.WORRIED_SECONDS": 0.0,
    "server.feed.REPEAT_SECONDS": 1.0,
    "server.page.QUIET_SECONDS": 2.0,  # not three keepalives
    "server.power.GRACE_SECONDS": 1.0,
    "target.keeper.ASK_SECONDS": 1.0,
    "target.keeper.SAY_SECONDS": 1.0,
    "target.keeper.GIVE_UP_SECONDS": 1.0,
    "target.keeper.RESTART_SECONDS": 1.0,
    "target.keeper.COUNTDOWN": (1.0,),
}
"""What a person is given to read, or a slow machine to answer: nobody reads here, and all machines are one."""

PATIENCE = Path("/etc/stiefel/patience.json")
"""The same for one machine, as its test wants it."""

KERNEL = "/run/kernel.sock"
HOLD = Path("/run/hold")
"""As long as it exists, what the client received is not yet loaded."""

SLOW = Path("/run/slow-disk")
"""As long as it exists, the disk is not done with a flush."""
fsync, take_down_and_up, take_away = os.fsync, rtnl.Interfaces.begin_anew, rtnl.Interfaces.delete


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


def begin_anew(self, tunnel, address, peer_address):
    """Do what the kernel's WireGuard does by itself: wireguard-go takes no notice of an interface that goes down."""
    take_down_and_up(self, tunnel, address, peer_address)
    configuration = subprocess.run(["wg", "showconf", TUNNEL], check=True, capture_output=True).stdout
    subprocess.run(["wg", "setconf", TUNNEL, "/dev/stdin"], check=True, input=configuration)


def add_wireguard(self, name):
    """Make it by wireguard-go, in a session of its own: it is a part of the kernel, and ends with nobody's terminal."""
    subprocess.run(["wireguard-go", name], check=True, start_new_session=True, stdout=DEVNULL, stderr=DEVNULL)


def delete(self, index):
    """Take an interface away, and with it its process, which removes its socket later and would take a successor's."""
    left = Path(f"/run/wireguard/{socket.if_indextoname(index)}.sock")
    take_away(self, index)
    wait_for(lambda: not left.exists(), f"{left} is still there")


def be_patient(seconds):
    """Let the product wait so long for one thing and another, by the names of its settings."""
    for name, value in seconds.items():
        module, _, setting = name.rpartition(".")
        room = importlib.import_module(f"stiefel_agent.{module}")
        assert hasattr(room, setting), name
        setattr(room, setting, value)


def play(words):
    """Run one program of the agent, with its words, in a process that ends with it; return its exit code."""
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
    ear.shut_down = lambda: Path("/run/shut-down").touch()
    cable.HARDWARE.add("veth")
    nbd.reconfigure = lambda _netlink, _index, sockets: driver("reconfigure", sockets).close()
    genl.GenericNetlink.group = lambda *_: 0
    keeper.Announcements = Announcements
    wireguard.set_endpoint, rtnl.Interfaces.begin_anew = set_endpoint, begin_anew
    rtnl.Interfaces.add_wireguard, rtnl.Interfaces.delete = add_wireguard, delete
    release.flush = lambda disk: None
    attach.COMMAND_LINE = Path("/run/cmdline")
    clock.take_as_utc, clock.boottime = lambda: None, lambda: 0.0
    time.clock_settime = lambda _clock, seconds: Path("/run/clock").write_text(str(seconds))
    attach.FIRMWARE = attach.FIRMWARE_PATH = Path("/run/nowhere")  # so is its path for firmware
    attach.HUNG_TASKS = Path("/run/hung_task_timeout_secs")  # the kernel's own is the host's, too
    be_patient(QUICK | json.loads(PATIENCE.read_text()))
    sys.argv = ["stiefel-agent", *words]
    programs = {"attach": attach.main, "release": release.main}
    return programs.get(words[0], cli.main)()
