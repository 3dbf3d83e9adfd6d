"""PID 1 of a machine of the bench: as much of systemd as the ramdisk's own unit files ask for.

It runs in namespaces of its own (mounts, network, processes): when it ends, everything in the machine ends, and with
the last process the network goes, too. It ends when its standard input does, so a dead test leaves nothing behind.
nursery.py forks it, with the agent loaded; so the agent's programs are forked from it, and everything else is executed.

The units are the project's real ones. Honoured: Type (simple, notify, forking, oneshot), Requires, EnvironmentFile,
RuntimeDirectory, ExecStart, PIDFile, StandardInput=tty-force, TTYReset, Restart (at once, whatever RestartSec says:
waiting proves nothing), KillSignal, TimeoutStopSec, a control group's list of processes. Not: how a unit is confined.
"""

import ctypes
import fcntl
import json
import os
import select
import shlex
import shutil
import signal
import socket
import string
import subprocess
import sys
import termios
import time
import traceback
import tty
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import roles

from stiefel_agent.machine import rtnl

AGENT = Path(__file__).parents[2]
UNITS = AGENT / "units"
INSTALLED = "/usr/lib/stiefel/"
"""Where the ramdisk has the agent's source."""
SOCKET = Path("/run/pid1.sock")
JOURNAL = Path("/run/journal")
TERMINAL = "/dev/tty1"
REFUSALS = Path("/run/refusals")
"""Lines "VERB UNIT": each is refused once, for tests of what happens then; after "hang " it is never answered, after
"ignore " it is answered as if it had been done."""

MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18  # linux/mount.h
DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "ptmx")
SHARED_ETC = ("alternatives", "group", "iproute2", "ld.so.cache", "localtime", "nsswitch.conf", "passwd", "protocols",
              "services")  # fmt: skip
"""What of the host's /etc its programs need."""
EXECUTED = "STIEFEL_EXECUTED"
"""In the environment: the agent's programs are executed, and load what they need, as figures want it."""
PLAY = "import sys, roles; sys.exit(roles.play(sys.argv[1:]))"
_libc = ctypes.CDLL(None, use_errno=True)


def mount(source, target, kind="", flags=0):
    if _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, None):
        raise OSError(ctypes.get_errno(), f"mount {source} on {target}: {os.strerror(ctypes.get_errno())}")


def bind(source, target, flags=0):
    """Let a file be seen at another place, too."""
    Path(target).touch()
    mount(source, target, flags=MS_BIND | flags)


def furnish(folder, terminal, disk):
    """Make the machine's own /run, /dev, /etc, /proc and /sys; `disk` may be empty.

    The host's are out of sight, and of the kernel's settings only the network's can be written: nothing in here can
    reach the host's systemd, devices or settings.
    """
    mount("none", "/", flags=MS_REC | MS_PRIVATE)
    mount(folder / "run", "/run", flags=MS_BIND)
    mount("none", "/mnt", "tmpfs")
    furnish_dev(folder, terminal, disk)
    furnish_etc(folder)
    mount("none", "/proc", "proc")
    mount("/proc/sys", "/proc/sys", flags=MS_BIND)
    mount("/proc/sys/net", "/proc/sys/net", flags=MS_BIND)
    mount("none", "/proc/sys", flags=MS_REMOUNT | MS_BIND | MS_RDONLY)
    mount("none", "/sys", "sysfs")
    for tree in ("/sys/block", "/sys/fs/cgroup"):
        mount("none", tree, "tmpfs")
    if disk:
        Path("/sys/block", disk.name).symlink_to(f"/sys/devices/virtual/block/{disk.name}")


def furnish_dev(folder, terminal, disk):
    dev, console = Path("/mnt/dev"), folder / "run/console"
    dev.mkdir()
    console.touch()
    for name in DEVICES:
        bind(f"/dev/{name}", dev / name)
    for name in ("pts", "net"):
        (dev / name).mkdir()
        mount(f"/dev/{name}", dev / name, flags=MS_BIND | MS_REC)
    bind(terminal, dev / "tty1")
    bind(console, dev / "console")
    if disk:
        bind(disk, dev / disk.name)
    (dev / "fd").symlink_to("/proc/self/fd")
    (dev / "stdin").symlink_to("/proc/self/fd/0")
    mount(dev, "/dev", flags=MS_BIND | MS_REC)


def furnish_etc(folder):
    etc = Path("/mnt/etc")
    etc.mkdir()
    for source in (Path("/etc", name) for name in SHARED_ETC):
        if source.is_dir():
            (etc / source.name).mkdir()
            mount(source, etc / source.name, flags=MS_BIND)
        elif source.exists():
            shutil.copy(source, etc, follow_symlinks=False)
    shutil.copytree(folder / "etc", etc, dirs_exist_ok=True)
    mount(etc, "/etc", flags=MS_BIND | MS_REC)


def start_network():
    """Switch the loopback on; two machines' MACs differ, so nobody waits for duplicate addresses."""
    with rtnl.Interfaces() as interfaces:
        interfaces.set_up(1)
    for name in ("default", "all"):
        Path("/proc/sys/net/ipv6/conf", name, "accept_dad").write_text("0")


def become(program, stdin, stdout, stderr, environment=()):
    """Let this process, a fork, be a program with these descriptors as its streams, and nothing else of its parent."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, stream in enumerate((stdin, stdout, stderr)):
            os.dup2(stream, number)
        os.closerange(3, 256)
        os.environ.update(environment)
        code = program() or 0
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(code)


def agent(words, stdin, stdout, stderr, *, environment=(), terminal=False):
    """Fork one of the agent's programs; return its process id. `terminal`: it controls the one that stdin is."""
    child = os.fork()
    if not child:

        def program():
            os.setsid()
            if terminal:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            if os.environ.get(EXECUTED):
                os.execv(sys.executable, [sys.executable, "-c", PLAY, *words])
            return roles.play(words)

        become(program, stdin.fileno(), stdout.fileno(), stderr.fileno(), environment)
    return child


def tell(text):
    """Write a line of our own into the journal."""
    with JOURNAL.open("a") as journal:
        journal.write(f"pid1: {text}\n")


def parse(name):
    """Return a unit file's settings as lists, in the order they stand."""
    settings = {}
    for line in (UNITS / name).read_text().replace("\\\n", " ").splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings.setdefault(key.strip(), []).append(value.strip())
    return settings


class Unit:
    """A service, started or not."""

    def __init__(self, name):
        self.name = name
        self.settings = parse(name)
        self.main = 0
        self.state = "inactive"
        self.restarts = 0
        self._group = Path("/sys/fs/cgroup/system.slice", name)

    def get(self, key, default=""):
        return self.settings.get(key, [default])[-1]

    def start(self):
        """Return what stands in the way, or nothing; a unit that runs is left alone."""
        if self.state == "active":
            return ""
        if self.get("RuntimeDirectory"):
            Path("/run", self.get("RuntimeDirectory")).mkdir(exist_ok=True)
        kind = self.get("Type", "simple")
        with Notified(self.name if kind == "notify" else None) as notified:
            process = self._spawn(notified.environment())
            code = process.wait() if kind in ("forking", "oneshot") else notified.wait(process)
        main = {"oneshot": 0, "forking": self._pid_file()}.get(kind, process.pid)
        self._is(main if not code else 0, "failed" if code else "active")
        return f"{self.name} ended with {code}; see {JOURNAL}" if code else ""

    def _is(self, main, state):
        self.main, self.state = main, state
        self._group.mkdir(parents=True, exist_ok=True)
        (self._group / "cgroup.procs").write_text(f"{main}\n" if main else "")

    def _pid_file(self):
        try:
            return int(Path(self.get("PIDFile")).read_text())
        except (OSError, ValueError):
            return 0

    def _environment(self):
        found = dict(os.environ)
        for file in self.settings.get("EnvironmentFile", []):
            with Path(file).open() as lines:
                found |= dict(line.rstrip("\n").split("=", 1) for line in lines)
        return found

    def _spawn(self, more):
        environment = self._environment() | more
        words = self.get("ExecStart").replace(INSTALLED, f"{AGENT}/src/")
        argv = [string.Template(word).safe_substitute(environment) for word in shlex.split(words)]
        argv[0] = shutil.which(Path(argv[0]).name)  # stand-ins first
        with JOURNAL.open("ab") as journal:
            if self.get("StandardInput") != "tty-force":
                return subprocess.Popen(
                    argv, env=environment, stdin=subprocess.DEVNULL, stdout=journal, stderr=journal,
                    start_new_session=True,
                )  # fmt: skip
            with Path(TERMINAL).open("r+b", buffering=0) as terminal:
                reset_terminal(terminal)
                child = agent(argv[1:], terminal, terminal, journal, environment=environment, terminal=True)
                return SimpleNamespace(pid=child)

    def stop(self):
        """End the unit's process by its KillSignal, after its TimeoutStopSec by SIGKILL."""
        if self.main:
            self.state = "deactivating"
            self.signal(getattr(signal, self.get("KillSignal", "SIGTERM")))
            if not gone(self.main, float(self.get("TimeoutStopSec", "90"))):
                self.signal(signal.SIGKILL)
                gone(self.main, 90)
            tell(f"{self.name} was stopped")
        self._is(0, "inactive")

    def signal(self, number):
        """Send a signal to the main process, if there is one."""
        try:
            os.kill(self.main, number) if self.main else None
        except ProcessLookupError:
            tell(f"{self.name} had gone already")

    def ended(self, status):
        """Take note that the main process is gone, and do as Restart= says."""
        code = os.waitstatus_to_exitcode(status)
        clean = code in (0, -signal.SIGTERM, -signal.SIGHUP, -signal.SIGINT)  # systemd.service(5), SuccessExitStatus=
        tell(f"{self.name} ended with {code}")
        self._is(0, "inactive" if clean else "failed")
        if self.get("Restart") == "always" or (self.get("Restart") == "on-failure" and not clean):
            self.restarts += 1
            self.start()

    def show(self):
        """Return what `systemctl show` knows of the unit."""
        sub = {"active": "running", "failed": "failed"}.get(self.state, "dead")
        return {"ActiveState": self.state, "SubState": sub, "MainPID": self.main, "NRestarts": self.restarts}


class Notified:
    """The socket on which a service of Type=notify says that it is ready; for all others, nothing."""

    def __init__(self, name):
        self._path = f"/run/notify-{name}" if name else ""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def __enter__(self):
        if self._path:
            Path(self._path).unlink(missing_ok=True)
            self._socket.bind(self._path)
            self._socket.settimeout(0.01)
        return self

    def __exit__(self, *_):
        self._socket.close()

    def environment(self):
        return {"NOTIFY_SOCKET": self._path} if self._path else {}

    def wait(self, process):
        """Return the exit code of a service that ended instead of becoming ready, 0 when it is ready."""
        while self._path:
            try:
                if b"READY=1" in self._socket.recv(4096):
                    break
            except TimeoutError:
                if process.poll() is not None:
                    return process.returncode or 1
        return 0


def reset_terminal(terminal):
    """Give the terminal its usual settings, as TTYReset= does: signals, echo and flow control are on."""
    tty.setraw(terminal)
    mode = termios.tcgetattr(terminal)
    mode[tty.IFLAG] |= termios.ICRNL | termios.IXON
    mode[tty.OFLAG] |= termios.OPOST | termios.ONLCR
    mode[tty.LFLAG] |= termios.ISIG | termios.ICANON | termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, mode)


def gone(pid, seconds):
    """Wait until a process has ended; ours are reaped here, too."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return True
        except ChildProcessError:
            return True
        select.select([], [], [], 0.005)
    return False


class Manager:
    """What systemctl speaks to, and what starts the agent's programs for the test."""

    def __init__(self):
        self.units = {}
        self.playing = {}
        """The connections that wait for a program's end, by its process id."""
        self.unanswered = []

    def take(self, connection):
        """Answer one connection: now, later (a program's end) or never."""
        call = json.loads(connection.makefile().readline())
        if call[0] == "role":
            with JOURNAL.open("ab") as journal, Path(os.devnull).open("r+b") as null:
                child = agent(call[1:], null, null, journal)
            self.playing[child] = connection
            connection.sendall(f"{child}\n".encode())
        elif answer := self.call(call):
            reply(connection, answer)
        else:
            self.unanswered.append(connection)

    def unit(self, name):
        if name not in self.units:
            self.units[name] = Unit(name)
        return self.units[name]

    def call(self, arguments):
        """Do what one call of systemctl asks for; return its exit code, output and complaint, None to never answer."""
        verb, *names = [word for word in arguments if not word.startswith("-")]
        call = " ".join([verb, *names])
        if refused(f"hang {call}"):
            return None
        if refused(f"ignore {call}"):
            return 0, "", ""
        if refused(call):
            return 1, "", f"Job for {' '.join(names)} failed: the test wants it so.\n"
        if verb in ("reboot", "poweroff"):
            return self._leave(verb)
        unit = self.unit(names[-1])
        return {"start": self._start, "stop": self._stop, "show": self._show}[verb](unit, arguments)

    def _start(self, unit, _arguments):
        complaints = [self.unit(name).start() for name in unit.get("Requires").split()]
        complaint = "".join(complaints) or unit.start()
        return int(bool(complaint)), "", complaint

    def _stop(self, unit, _arguments):
        unit.stop()
        return 0, "", ""

    def _show(self, unit, arguments):
        """One property: `show -p NAME --value UNIT`."""
        wanted = arguments[arguments.index("-p") + 1]
        return 0, f"{unit.show()[wanted]}\n", ""

    def _leave(self, verb):
        tell(f"the machine does: {verb}")
        for unit in self.units.values():
            unit.settings["Restart"] = ["no"]
        return 0, "", ""

    def reap(self):
        """Collect every process that has ended; a unit's main process among them has consequences."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if pid in self.playing:
                reply(self.playing.pop(pid), os.waitstatus_to_exitcode(status))
            for unit in self.units.values():
                if unit.main == pid and unit.state == "active":
                    unit.ended(status)


def refused(call):
    """Whether a test wants this call to fail, once."""
    wanted = REFUSALS.read_text().splitlines() if REFUSALS.exists() else []
    if call not in wanted:
        return False
    wanted.remove(call)
    tell(f"as the test wants it: {call}")
    REFUSALS.write_text("".join(line + "\n" for line in wanted))
    return True


def reply(connection, answer):
    """Send an answer, and hang up; whoever asked may have gone."""
    with connection, suppress(OSError):
        connection.sendall(json.dumps(answer).encode() + b"\n")


def main(folder, terminal, disk):
    """Set the machine up, say "ready", then serve systemctl until standard input ends."""
    furnish(Path(folder), terminal, Path(disk) if disk else None)
    start_network()
    wake, child_ended = os.pipe2(os.O_NONBLOCK)
    signal.set_wakeup_fd(child_ended)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(SOCKET))
    listener.listen(16)
    manager = Manager()
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([listener, wake, sys.stdin], [], [])
        if sys.stdin in ready and not os.read(sys.stdin.fileno(), 1):
            return
        if listener in ready:
            manager.take(listener.accept()[0])
        if wake in ready:
            os.read(wake, 4096)
        manager.reap()
