"""The fault bench: a laptop, a cable and a desktop, each in a namespace of its own, with the real agent in them.

    laptop                        cable                         desktop
    pid1.py with the real units   a bridge that can be cut      the real client, then the real attach
    agent on a terminal           or made to swallow            nbd_kernel.py instead of the kernel's nbd
    nbdkit, a loop device, nft
            |                                                             |
            +--- wireguard-go ------------------------ wireguard-go ------+

docs/testing.md says how to write a test. Everything ends with the test, whatever became of it.
"""

import ctypes
import functools
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import PIPE

from nbd_kernel import Disk, Driver
from waiting import SECONDS, wait_for

from stiefel_agent.machine import netdev
from stiefel_agent.protocol.keys import Key, serialise
from stiefel_agent.protocol.session import IN_INITRD, parse
from stiefel_agent.server import memory
from stiefel_agent.target import nbd, notes

HERE = Path(__file__).parent
SOURCE = HERE.parents[1] / "src"
FIREWALL = HERE.parents[3] / "roles/ramdisk/files/nftables.conf"
DISK_BYTES = 16 << 20
LONGEST = 1518
"""Bytes of an Ethernet frame."""
SEGMENT = 1220
"""Bytes of a TCP segment that gets through everywhere."""
CLONE_NEWNET = 0x40000000
SERVER, EXPORT = "stiefel-server.service", "stiefel-export.service"
PAGE, END_OF_PAGE = "\x1b[H", "\x1b[J"
COLOUR = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
NEEDED = ("nbdkit", "nft", "unshare", "losetup", "wg", "wireguard-go")
"""Programs, as the packages for `test` (entry/ground.py) bring them."""


@functools.cache
def nursery():
    """Return the socket of the nursery, which ends when we do."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        subprocess.Popen([sys.executable, str(HERE / "nursery.py")], stdin=theirs, env=environment())
    return ours


def environment():
    """Return what every program in a machine has around it."""
    return {
        **os.environ, "PATH": f"{HERE / 'stand_ins'}:{os.environ['PATH']}:/usr/sbin:/sbin",
        "PYTHONPATH": f"{SOURCE}:{HERE}", "PYTHONUNBUFFERED": "1", "STIEFEL_PYTHON": sys.executable,
    }  # fmt: skip


class Role:
    """One of the agent's programs, as it runs in a machine."""

    def __init__(self, machine, connection):
        self._machine = machine
        connection.settimeout(SECONDS)
        self._told = connection.makefile()
        connection.close()  # when the file is
        self._pid = json.loads(self._told.readline())

    def wait(self):
        """Return its exit code when it has ended."""
        with self._told:
            return json.loads(self._told.readline())

    def kill(self):
        self._machine.run("kill", "-KILL", str(self._pid))


class Machine:
    """A machine: namespaces, a folder that holds its /run, and its PID 1."""

    def __init__(self, name, folder, files, *, terminal="/dev/null", disk="", patience=None):
        """`files`: what stands below its /etc, by path; `patience`: see roles.py."""
        self.name, self.folder = name, folder
        files = {**files, "stiefel/patience.json": json.dumps(patience or {})}
        (folder / "run").mkdir()
        for path, content in files.items():
            (folder / "etc" / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / "etc" / path).write_bytes(content if isinstance(content, bytes) else content.encode())
        self._journal = folder / "run/journal"
        self._journal.touch()
        sleep, ready = os.pipe(), os.pipe()
        with os.fdopen(sleep[0]), os.fdopen(ready[1]):
            request = json.dumps([str(folder), terminal, disk]).encode()
            socket.send_fds(nursery(), [request], [sleep[0], ready[1]])
            self.pid = int(nursery().recv(32))
        self._process, self._sleep = os.pidfd_open(self.pid), sleep[1]
        with os.fdopen(ready[0]) as said:
            assert said.readline() == "ready\n", f"{name} did not start"

    def off(self):
        """End everything in the machine at once, as a power cut does; it may be off already."""
        if self._sleep is None:
            return
        if self.runs():
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
            select.select([self._process], [], [], SECONDS)
        os.close(self._process)
        os.close(self._sleep)
        self._sleep = None

    def runs(self):
        """Say whether its PID 1 is still there: all else in it ends before that."""
        return not select.select([self._process], [], [], 0)[0]

    def popen(self, *command, **options):
        """Start a program in the machine."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--"]
        return subprocess.Popen([*enter, *command], env=environment(), **options)

    def run(self, *command, check=True):
        """Run a program in the machine, return its output."""
        process = self.popen(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        said, complaint = process.communicate(timeout=SECONDS)
        assert not (check and process.returncode), f"{self.name}: {command}: {said}{complaint}"
        return said

    def _ask(self, *call):
        """Return a connection to the machine's PID 1 on which something was said."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.folder / "run/pid1.sock"))
        connection.sendall(json.dumps(call).encode() + b"\n")
        return connection

    def role(self, name):
        """Start one of the agent's programs; what it says is in the journal."""
        return Role(self, self._ask("role", name))

    def said(self):
        """Return the journal."""
        return self._journal.read_text(errors="replace")

    def hears(self, text, times=1):
        """Wait until the journal has a text, so many times."""
        wait_for(lambda: self.said().count(text) >= times, lambda: f"{self.name} says {text!r}, but:\n{self.said()}")

    def address(self):
        """Return its address on the cable, as another machine with an adapter eth0 names it."""
        shown = self.run("ip", "-6", "-o", "address", "show", "dev", "eth0", "scope", "link")
        return shown.split()[3].partition("/")[0] + "%eth0"

    def inside(self, act, namespace="ns/net"):
        """Do something in the machine's network, for instance open a socket; or in another, by its path below /proc."""
        path = Path(f"/proc/{self.pid}", namespace)

        def enter():
            with path.open() as file:
                if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                    raise OSError(ctypes.get_errno(), "setns")

        with ThreadPoolExecutor(1, initializer=enter) as thread:
            return thread.submit(act).result(SECONDS)


class Cable:
    """What is between the machines: a bridge, and on it one port for each of their adapters."""

    def __init__(self):
        self.passes = 0
        """Bytes of the largest packet that gets through, for all that is plugged in from now on; 0: whatever comes."""
        # It ends when its standard input does: with the test.
        self._process = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=PIPE, stdout=PIPE)
        assert self._process.stdout.readline()
        self._ip("link", "add", "hub", "type", "bridge", "mcast_snooping", "0")
        self._ip("link", "set", "hub", "up")

    def _ip(self, *arguments, check=True):
        self._enter("ip", *arguments, check=check)

    def _enter(self, *command, check=True):
        enter = ["nsenter", f"--target={self._process.pid}", "--net"]
        subprocess.run([*enter, *command], check=check, capture_output=True)

    def plug(self, machine, interface="eth0", *, up=True):
        """Give a machine an adapter, and lay a cable from it."""
        self.unplug(machine, interface)  # what a power cut has left
        far_end = ["peer", "name", interface, "address", _mac(machine, interface), "netns", str(machine.pid)]
        self._ip("link", "add", _port(machine, interface), "type", "veth", *far_end)
        if self.passes:
            # A port drops what is larger than its MTU; but not what is yet to be cut, which no real cable ever sees.
            machine.run("ip", "link", "set", interface, "gso_max_segs", "1")
            self._ip("link", "set", _port(machine, interface), "mtu", str(self.passes))
        self.join(machine, interface)
        if up:  # so that nobody waits for it
            machine.run("ip", "link", "set", interface, "up")

    def unplug(self, machine, interface="eth0"):
        """Take the adapter away, if it is there."""
        self._ip("link", "delete", _port(machine, interface), check=False)

    def cut(self, machine, interface="eth0"):
        """Pull the cable: no carrier."""
        self._ip("link", "set", _port(machine, interface), "down")

    def swallow(self, machine, interface="eth0"):
        """Let the carrier be, and nothing pass."""
        self._ip("link", "set", _port(machine, interface), "nomaster")

    def swallow_sent(self, machine, interface="eth0"):
        """Let nothing pass of what a machine sends, as an adapter does that hangs in one direction."""
        hook = f'type filter hook ingress device "{_port(machine, interface)}" priority 0; policy drop;'
        self._enter("nft", f"add table netdev sent; add chain netdev sent in {{ {hook} }}")

    def swallow_long(self, machine, interface="eth0"):
        """Lose what a machine leaves to its adapter to be cut into packets, as an adapter does that cannot."""
        hook = f'type filter hook ingress device "{_port(machine, interface)}" priority 0;'
        rule = f"add rule netdev long in meta length > {LONGEST} drop"
        self._enter("nft", f"add table netdev long; add chain netdev long in {{ {hook} }}; {rule}")

    def join(self, machine, interface="eth0"):
        """Make the cable whole again, whatever was done to it."""
        self._ip("link", "set", _port(machine, interface), "master", "hub", "up")

    def off(self):
        self._process.communicate()


def _port(machine, interface):
    """Return the name of the cable's end of an adapter."""
    return f"{machine.name}-{interface}"[-15:]


def _mac(machine, interface):
    """Return the same MAC for the same adapter of the same machine, after a power cut, too."""
    return "52:54:" + zlib.crc32(_port(machine, interface).encode()).to_bytes(4).hex(":")


class Terminal:
    """The laptop's console: a pseudo-terminal with a person in front of it."""

    def __init__(self):
        self._hand, self._end = os.openpty()
        self.path = os.ttyname(self._end)
        self._text = ""
        self._looking = threading.Event()
        self._looking.set()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while self._looking.wait():
            try:
                self._text += os.read(self._hand, 65536).decode(errors="replace")
            except OSError:  # the other end is closed
                os.close(self._hand)
                return

    def look_away(self):
        """Take nothing more from the terminal: what is written to it piles up until it is full."""
        self._looking.clear()

    def fill(self):
        """Write to the terminal until it takes nothing more."""
        end = os.open(self.path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            while os.write(end, b" " * 512):
                pass
        except BlockingIOError:
            os.close(end)

    def press(self, keys):
        os.write(self._hand, keys.encode())

    def page(self):
        """Return the page that is shown, without its colours, as one line."""
        end = self._text.rfind(END_OF_PAGE)
        begin = self._text.rfind(PAGE, 0, max(end, 0))
        return "" if begin < 0 else " ".join(COLOUR.sub("", self._text[begin + len(PAGE) : end]).split())

    def shows(self, text):
        wait_for(lambda: text in self.page(), lambda: f"the laptop shows {text!r}, but: {self.page()}")

    def close(self):
        self._looking.set()
        os.close(self._end)


class Laptop(Machine):
    """The laptop in server mode: a disk, a bundle, keys, and the server agent as its unit starts it."""

    def __init__(self, folder, name, keys, *, sector=512, words="", patience=None, **settings):
        """`sector`: bytes of a logical sector of its disk; `words`: on its targets' command line; `patience`: see
        roles.py; `settings`: what autokexec tells the server.
        """
        self.terminal = Terminal()
        self.keys = keys
        self.file = folder / "disk"
        with self.file.open("wb") as file:
            file.truncate(DISK_BYTES)
        self.disk, held = _attached(self.file, sector)
        self._held = ExitStack()  # a machine may be switched off twice
        self._held.callback(os.close, held)
        self._held.callback(self.terminal.close)
        document = {"disk": self.disk, "laptop": "anna", "connections": 2, **settings}
        files = {
            "nftables.conf": FIREWALL.read_text(),
            "stiefel/key.json": serialise(keys),
            "stiefel/serial": f"{document['laptop']}'s own",
            "stiefel/server.json": json.dumps(document),
            "stiefel/bundle/vmlinuz": os.urandom(100_001),
            "stiefel/bundle/initrd.img": os.urandom(400_000),
            "stiefel/bundle/cmdline": f"root=UUID=1 stiefel.role=target {words}\n",
            "stiefel/bundle/kernel-version": "6.12\n",
        }
        super().__init__(name, folder, files, terminal=self.terminal.path, disk=self.disk, patience=patience)

    @property
    def record(self):
        """The file that holds the session, for the agent's next life."""
        return self.folder / "run" / memory.RECORD.relative_to("/run")

    def off(self):
        super().off()
        self._held.close()

    def main_pid(self, unit):
        """Return the process of a unit as the laptop numbers it; 0 when it does not run."""
        return int(self.run("systemctl", "show", "-p", "MainPID", "--value", unit))

    def kill(self, unit, number):
        """Send a signal to a unit's process."""
        self.run("kill", f"-{int(number)}", str(self.main_pid(unit)))

    @contextmanager
    def stands_still(self, then=signal.SIGCONT):
        """Stop the server's agent within the block: what happens meanwhile comes to it all at once.

        With SIGKILL for `then` it comes to the agent's next life, which finds what the block has left.
        """
        self.kill(SERVER, signal.SIGSTOP)
        yield
        self.kill(SERVER, then)

    def refuse(self, call):
        """Let one call of systemctl fail; with "hang " before it never end, with "ignore " only seem to work."""
        with (self.folder / "run/refusals").open("a") as file:
            file.write(call + "\n")

    @contextmanager
    def refuses(self, call):
        """Do the same to every such call within the block."""
        refusals = self.folder / "run/refusals"
        refusals.write_text(f"{call}\n" * 1000)
        yield
        refusals.unlink()

    @contextmanager
    def hangs(self, program):
        """Let no call of a program (nft, wg) that begins within the block come to its end."""
        hang = self.folder / "run" / f"hang-{program}"
        hang.touch()
        try:
            yield
        finally:
            hang.unlink()

    @contextmanager
    def slow_disk(self):
        """Let no flush of the disk come to its end within the block."""
        slow = self.folder / "run/slow-disk"
        slow.touch()
        try:
            yield
        finally:
            slow.unlink()

    def content(self, offset, length):
        """Return what stands on the disk."""
        with Path(self.disk).open("rb") as disk:
            return os.pread(disk.fileno(), length, offset)


class Home(Machine):
    """The laptop in its own system: autokexec waits for desktops. Nothing of a server's kernel is left."""

    def __init__(self, folder, laptop, serial):
        """`laptop`: the one that was cut off; `serial`: by which it is known, or takes itself for another one."""
        self.disk, self._held = _attached(laptop.file)
        files = {
            "stiefel/key.json": serialise(laptop.keys),
            "stiefel/serial": serial,
            "stiefel/autokexec.json": json.dumps({"disk": self.disk, "laptop": "anna"}),
        }
        super().__init__(laptop.name, folder, files, disk=self.disk)

    def off(self):
        super().off()
        os.close(self._held)


class Desktop(Machine):
    """A desktop: the client from its stick, then the target."""

    def __init__(self, folder, name, key, patience):
        files = {"stiefel/key.json": serialise([key.for_stick()]), "stiefel/desktop": name}
        super().__init__(name, folder, files, patience=patience)
        self._driver = Driver(folder / "run/kernel.sock")

    def off(self):
        super().off()
        self._driver.close()

    def hold(self):
        """Let the next client stop before it says that it has received everything."""
        (self.folder / "run/hold").touch()

    def receives(self):
        """Run the client to its end: bundle received, disk promised, about to start the target."""
        client = self.role("client")
        assert client.wait() == 0, self.said()

    def attaches(self):
        """Run the target's attach, return the disk that it made."""
        assert self.role("attach").wait() == 0, self.said()
        return self._driver.disk

    def boots(self):
        """Go all the way from the stick to the running target; return its disk."""
        self.receives()
        return self.attaches()

    def session(self):
        """Return the session as the target's initrd has it."""
        return parse((Path(f"/proc/{self.pid}/root") / IN_INITRD.relative_to("/")).read_bytes())

    def _cable(self):
        """Return the network that the target's cable is in, once it has made one of its own."""
        own = "root/run/netns/stiefel"
        return own if Path(f"/proc/{self.pid}", own).exists() else "ns/net"

    def dial(self, export=None):
        """Return one more disk with one connection, as the target dials it; to another export if named."""
        session = self.session()
        there = session.server_host, session.nbd.port, session.nbd.export if export is None else export
        connection, offered = self.inside(lambda: nbd.dial(*there, SEGMENT), self._cable())
        return Disk(offered.size, offered.flags, [connection])

    def connect(self, port):
        """Return a connection to a port of the laptop, from where the target's own would come."""
        host = self.session().server_host
        return self.inside(lambda: connected(host, port), self._cable())

    def restarted(self):
        """Wait until it has done what reboot(2) asks for: in a namespace of processes, that is the end of its PID 1."""
        wait_for(lambda: not self.runs(), lambda: f"{self.name} restarts, but:\n{self.said()}")

    def console(self):
        """Return what its console was told, without colours, as one line."""
        return " ".join(COLOUR.sub("", (self.folder / "run/console").read_text(errors="replace")).split())

    def tells(self, text):
        """Wait until the person at its console has been told a text."""
        wait_for(lambda: text in self.console(), lambda: f"{self.name} tells {text!r}, but:\n{self.console()}")

    def notes(self):
        """Return what its keeper has left for `status`, None before it has: to look there costs no program."""
        left = self.folder / "run" / notes.NOTES.relative_to("/run")
        return notes.parse(left.read_text()) if left.exists() else None

    def releases(self):
        """Run the target's release; return its exit code."""
        return self.role("release").wait()


def connected(host, port, seconds=SECONDS, own_port=0):
    """Return a connection from the network of whoever calls; 0: from any port of its own."""
    connection = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    connection.settimeout(seconds)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    connection.bind(("::", own_port))
    connection.connect(netdev.socket_address(host, port))
    return connection


def _attached(file, sector=512):
    """Return a loop device on a file, and our own descriptor of it.

    It is detached while in use, so it is only marked: it goes away with the last who has it open, test or machine.
    """
    disk = _output("losetup", f"--sector-size={sector}", "--find", "--show", str(file))
    held = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
    subprocess.run(["losetup", "--detach", disk], check=True)
    return disk, held


def _output(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


class Bench:
    """One cable, and on it as many laptops and desktops as a test wants. A context manager."""

    def __init__(self):
        self.key = Key.generate("stick")
        self._stack = ExitStack()

    def __enter__(self):
        # Short, for the names of UNIX sockets are (unix(7): 108 bytes).
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="stiefel-")))
        self.cable = Cable()
        self._stack.callback(self.cable.off)
        return self

    def __exit__(self, *_):
        self._stack.close()

    def laptop(self, name="laptop", *, up=True, **settings):
        """Start a laptop, and wait until its server listens. `up`: its adapter is on before the server looks."""
        laptop = Laptop(Path(tempfile.mkdtemp(dir=self._folder)), name, [self.key], **settings)
        self._stack.callback(laptop.off)
        self.cable.plug(laptop, up=up)
        laptop.run("systemctl", "start", SERVER)
        laptop.hears("event=server_ready")
        return laptop

    def goes_home(self, laptop, serial="anna's own"):
        """Cut a laptop off, and start its own system; return that. `serial`: another one makes it another laptop."""
        laptop.off()
        home = Home(Path(tempfile.mkdtemp(dir=self._folder)), laptop, serial)
        self._stack.callback(home.off)
        self.cable.plug(home)
        home.role("autokexec")
        home.hears("event=listening")
        return home

    def desktop(self, name="tower", key=None, patience=None, *, up=True):
        """Switch a desktop on, for the first time or again; its stick's client is started by the test.

        `patience`: see roles.py; `up`: its adapter is on before the client looks.
        """
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        desktop = Desktop(folder, name, key or self.key, patience)
        self._stack.callback(desktop.off)
        self.cable.plug(desktop, up=up)
        return desktop
