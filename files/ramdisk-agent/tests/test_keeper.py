"""The keeper with real interfaces in namespaces, and real connections; nbd itself needs the virtual machines."""

import errno
import itertools
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from machines import LAPTOP, run

from stiefel_agent.machine import genl, wireguard
from stiefel_agent.protocol.session import Nbd, Release, Session
from stiefel_agent.target import keeper, nbd

needs_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="namespaces need root and iproute2")
SOURCE = Path(keeper.__file__).parents[2]
DEADLINE_SECONDS = 90
"""Twenty times what the slowest of these takes."""
counter = itertools.count()

KEEP = f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(SOURCE)!r})
from stiefel_agent.machine.genl import Announcements
from stiefel_agent.protocol.session import Nbd, Release, Session
from stiefel_agent.target import attach, cable, keeper
cable.HARDWARE = {{"veth"}}
keeper.PATIENCE = 2
keeper.SILENT_SECONDS = keeper.TRIED_SECONDS = 1.0
keeper.ASK_SECONDS = 0.5
session = Session("52:54:00:00:00:02", "fe80::1", None, Nbd(10809, "disk", 4, 512), Release(61571, "ab" * 32))

class Voice:
    def event(self, name, **facts):
        print(name, facts.get("interface", ""), flush=True)

    def note(self, text):
        print("note", text, flush=True)

    def tell(self, text, *, all_is_well=False):
        print("told", text, flush=True)

class Notebook:
    def write(self):
        pass

    moved_to = failed = lambda *_: None

class Rebinding:
    def busy(self):
        return False

    def begin(self, link):
        print("rebound", link.name, flush=True)

class Keeper(keeper.Keeper):
    def _shake(self):
        print("shaken", flush=True)
        super()._shake()

keeper.Voice, keeper.Notebook, keeper.Rebinding = Voice, Notebook, Rebinding
attach.load_modules = lambda session: None
keeper.halting.restart = keeper.halting.power_off = lambda: print("off", flush=True)
way = cable.Cable(session, Path(sys.argv[1]))
attach.insist(lambda: attach.find_laptop(session, way), way.wait, debug=False)
with way.outdoors():
    deaths = Announcements(way.outside.group("nlctrl", "notify"))
kept = Keeper(session, way, keeper.Connections(session, way.outside, 0, []), deaths, restarts=False)
print("keeping", flush=True)
kept.run()
"""


@pytest.fixture
def machines():
    """A desktop and a laptop, each a namespace; nothing is plugged in."""
    names = [f"stiefel-test-{os.getpid()}-keeper-{next(counter)}" for _ in range(2)]
    for name in names:
        run("ip", "netns", "add", name)
    try:
        yield names
    finally:
        for name in names:
            run("ip", "netns", "delete", name)


def plug_in(desktop, name, laptop, end, mac):
    run("ip", "-n", laptop, "link", "add", end, "type", "veth", "peer", "name", name, "address", mac, "netns", desktop)
    power(laptop, end)


def power(laptop, end):
    """Give the cable's far end a signal, and its address, which the kernel takes away with the signal."""
    run("ip", "-n", laptop, "link", "set", end, "up")
    run("ip", "-n", laptop, "address", "replace", "fe80::1/64", "dev", end, "nodad")


def hear(process, word):
    """Wait for the keeper to say something; return the line."""
    for line in iter(process.stdout.readline, ""):
        if line.startswith(word):
            return line
    pytest.fail(f"the keeper ended before it said {word!r}")


@pytest.fixture
def kept(machines, tmp_path):
    desktop, laptop = machines
    plug_in(desktop, "eth0", laptop, "lap0", "52:54:00:00:00:02")
    listen = ["ip", "netns", "exec", laptop, sys.executable, "-c", LAPTOP]
    keep = ["ip", "netns", "exec", desktop, sys.executable, "-c", KEEP, str(tmp_path / "netns")]
    with (
        subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as listener,
        subprocess.Popen(keep, stdout=subprocess.PIPE, text=True) as process,
    ):
        # Whoever waits for a word in vain is told by the end of its pipe.
        watchdog = threading.Timer(DEADLINE_SECONDS, process.kill)
        watchdog.start()
        try:
            hear(listener, "listening")
            hear(process, "keeping")
            yield process
        finally:
            watchdog.cancel()
            process.kill()
            listener.kill()


@pytest.mark.fault("F35")
@needs_root
def test_a_cable_that_comes_out_and_in_again_is_noticed(machines, kept):
    _, laptop = machines
    run("ip", "-n", laptop, "link", "set", "lap0", "down")
    hear(kept, "link_lost")
    assert "Is the cable in?" in hear(kept, "told")
    power(laptop, "lap0")
    hear(kept, "link_back")
    assert "your work goes on" in hear(kept, "told")


@pytest.mark.fault("F9", "F34")
@needs_root
def test_an_adapter_that_is_plugged_in_again_carries_on_under_any_name_and_mac(machines, kept):
    desktop, laptop = machines
    run("ip", "-n", laptop, "link", "delete", "lap0")
    hear(kept, "link_lost")
    plug_in(desktop, "enp1s0", laptop, "lap1", "62:e9:00:00:00:07")
    assert "enp1s0" in hear(kept, "plugged_over")
    hear(kept, "link_back")


@pytest.mark.fault("F41")
@needs_root
def test_an_adapter_that_hangs_with_a_carrier_is_rebound_once_and_goes_on_when_something_comes_through(machines, kept):
    _, laptop = machines
    run("ip", "-n", laptop, "address", "flush", "dev", "lap0")
    hear(kept, "link_lost")
    hear(kept, "rebound")
    assert "though its cable has a signal" in hear(kept, "told")
    for line in iter(kept.stdout.readline, ""):
        assert not line.startswith("rebound")
        if line.startswith("shaken"):  # its next turn, which is too soon for more than that
            power(laptop, "lap0")
        if line.startswith("link_back"):
            return
    pytest.fail("the keeper ended before the link was back")


@needs_root
def test_an_interface_that_somebody_uses_is_left_alone(machines, kept):
    desktop, laptop = machines
    plug_in(desktop, "eth5", laptop, "lap5", "62:e9:00:00:00:05")
    run("ip", "-n", desktop, "address", "add", "192.0.2.1/24", "dev", "eth5")
    run("ip", "-n", desktop, "link", "set", "eth5", "up")
    run("ip", "-n", laptop, "link", "delete", "lap0")
    hear(kept, "told")
    assert "eth5" in run("ip", "-n", desktop, "-o", "link")
    run("ip", "-n", desktop, "address", "flush", "dev", "eth5", "scope", "global")
    assert "eth5" in hear(kept, "plugged_over")


@pytest.fixture
def pair():
    """A connection over loopback: ours, and the laptop's end."""
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        ours = socket.create_connection(listener.getsockname()[:2])
        theirs, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


def test_what_a_dead_connection_has_not_sent_never_arrives(pair):
    ours, theirs = pair
    ours.setblocking(False)
    written = 0
    try:
        while True:
            written += ours.send(bytes(65536))
    except BlockingIOError:
        pass
    ours.shutdown(socket.SHUT_RDWR)  # as nbd.c marks it dead
    keeper.abort(ours)
    arrived = 0
    with pytest.raises(ConnectionResetError):
        while data := theirs.recv(1 << 20):
            arrived += len(data)
    assert arrived < written


class Kernel:
    """Takes sockets as the nbd driver would."""

    def __init__(self):
        self.reconfigured = 0

    def family(self, name):
        assert name == "nbd"
        return 33

    def ask(self, family, command, payload):
        assert (family, command) == (33, nbd.NBD_CMD_RECONFIGURE)
        self.reconfigured += 1
        return {}


@pytest.mark.fault("F2", "F6")
@pytest.mark.skipif(not shutil.which("nbdkit"), reason="nbdkit is not installed")
def test_as_many_connections_are_replaced_as_the_kernel_has_found_dead(pair, monkeypatch):
    monkeypatch.setattr(Session, "server_host", "::1")
    dead, _ = pair
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        launch = 'exec 3<&"$0"; LISTEN_FDS=1 LISTEN_PID=$$ exec nbdkit -f memory 1M'
        command = ["bash", "-c", launch, str(listener.fileno())]
        with subprocess.Popen(command, pass_fds=[listener.fileno()]) as server:
            port = listener.getsockname()[1]
            session = Session("52:54:00:00:00:02", "fe80::1", None, Nbd(port, "disk", 2, 512), Release(1, "ab" * 32))
            living, _ = nbd.dial("::1", port, "disk", 1220)
            kernel = Kernel()
            connections = keeper.Connections(session, kernel, 0, [living, dead])
            connections.replace(1220)
            assert kernel.reconfigured == 0
            connections.dead = 1
            dead.shutdown(socket.SHUT_RDWR)
            connections.replace(1220)
            assert (kernel.reconfigured, connections.dead) == (1, 0)
            assert living.fileno() >= 0
            with pytest.raises(OSError) as closed:
                os.fstat(dead.fileno())
            assert closed.value.errno == errno.EBADF
            server.kill()


@pytest.mark.fault("F35")
def test_questions_in_vain_get_more_time_each_and_the_first_ones_begin_the_tunnel_anew(monkeypatch):
    """Two ends that began a handshake at the same moment would else wait for each other for five seconds."""
    asked, anew = [], []
    monkeypatch.setattr(keeper, "answers", lambda _session, seconds: asked.append(seconds))
    kept = object.__new__(keeper.Keeper)  # it is made of sockets and namespaces, of which none is needed here
    kept._session, kept._way, kept._shaken = None, SimpleNamespace(link=lambda: None), set()
    kept._conduit = SimpleNamespace(begin_anew=anew.append)
    now = time.monotonic()  # of a machine that may just have started
    kept.state, kept._since, kept._called_at, kept._in_vain = keeper.State.PROVING, now - 1000, now - 2000, 0
    events = [kept._prove() for _ in range(keeper.PATIENCE)]
    assert events == [keeper.Event.UNANSWERED] * (keeper.PATIENCE - 1) + [keeper.Event.NOBODY]
    assert asked == [0.5, 1.0, 1.5, 1.5, 1.5, 1.5]
    assert [quiet >= 1000 for quiet in anew] == [True, True]
    kept._called_at = time.monotonic()
    kept._prove()
    kept.state = keeper.State.WELL
    kept._prove()
    assert [quiet < 100 for quiet in anew[2:]] == [True, True]


@pytest.mark.parametrize(("seconds", "words"), [(7.9, "7 s"), (61, "1 min 1 s"), (3700, "1 h 1 min")])
def test_lengths_of_time_are_said_without_a_clock(seconds, words):
    assert keeper.duration(seconds) == words


def test_a_peers_new_endpoint_is_the_kernels_message():
    payload = wireguard.endpoint_attributes("stiefeltunnel", "A" * 43 + "=", ("fe80::1", 61572, 0, 7))
    assert (
        genl.command(wireguard.WG_CMD_SET_DEVICE, payload).hex()
        == (
            "01010000"
            "12000200" + b"stiefeltunnel\0".hex() + "0000"  # IFNAME, padded
            "54000880"
            "50000080"  # PEERS of one nested peer
            "24000100" + "00" * 32 + "08000300"
            "04000000"  # PUBLIC_KEY; FLAGS: UPDATE_ONLY
            "20000400"
            "0a00"
            "f084"
            "00000000"
            "fe80" + "00" * 13 + "01"
            "07000000"  # ENDPOINT: sockaddr_in6
        )
    )
