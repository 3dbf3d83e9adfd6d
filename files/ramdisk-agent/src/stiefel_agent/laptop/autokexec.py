"""autokexec, in the laptop's normal system: a desktop that has the key calls, the laptop moves into the server.

Nothing happens without the key's fresh proof, and by default not without the chance to say no.
"""

from __future__ import annotations

import json
import os
import pwd
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import NoReturn

from stiefel_agent import config
from stiefel_agent.config import AutokexecConfig, Method
from stiefel_agent.errors import LoaderRefused, NotNow, StiefelError
from stiefel_agent.face.console import complain, event, say
from stiefel_agent.laptop import boot, command_line, loader
from stiefel_agent.laptop.command_line import QUICK, TargetLine
from stiefel_agent.laptop.consent import Act, Decider, Event, Forget, Go, Prepare, Reply, Tell
from stiefel_agent.laptop.preparation import Preparation
from stiefel_agent.machine import disk, firmware, guest, kexec, link, netdev, rtc
from stiefel_agent.protocol import session
from stiefel_agent.protocol.discovery import Answerer, Datagram, OtherVersion, Proven
from stiefel_agent.protocol.keys import unlocked
from stiefel_agent.protocol.messages import Challenge, Stage, displayable
from stiefel_agent.protocol.over import Witness

RAMDISK = Path("/var/lib/stiefel/ramdisk")
TERMINAL_SECONDS = 1.0
CONTROL = Path("/run/stiefel/autokexec.sock")
LOGIND = ("org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager")
LIST_INHIBITORS = (*LOGIND, "ListInhibitors")


_OTHER_VERSION = (
    "a desktop here speaks another version of Stiefelsystem, so it gets no answer. Run `ansible-playbook site.yml` "
    "for this laptop and write the stick anew (--tags usbdrive)"
)


class Command(Enum):
    """What the person at the laptop says."""

    ALLOW = "allow"
    CANCEL = "cancel"
    PLUGGED = "plugged"
    """Said by udev: the network adapter that was set as a trigger has appeared."""


@contextmanager
def server_system(settings: AutokexecConfig) -> Iterator[kexec.System]:
    """Give the ramdisk as server, with key and bundle appended. Raises StiefelError."""
    version = boot.kernel_for_target()
    chosen = chosen_disk(settings)
    disk.refuse_hibernated(chosen.path)
    server = config.ServerConfig(
        disk=chosen.path,
        laptop=settings.laptop or socket.gethostname(),
        encryption=settings.encryption,
        connections=settings.connections,
        mtu=settings.mtu,
        takeover_seconds=settings.takeover_seconds,
        after_session=settings.after_session,
        beeps=settings.beeps,
        clock_ahead=rtc.ahead(),
    )
    folder = str(config.BUNDLE_FOLDER).lstrip("/")
    with ExitStack() as stack:
        files = {
            name: stack.enter_context(path.open("rb"))
            for name, path in (
                ("kernel", RAMDISK / "vmlinuz"),
                ("initrd", RAMDISK / "server.img"),
                (f"{folder}/vmlinuz", Path("/boot") / f"vmlinuz-{version}"),
                (f"{folder}/initrd.img", boot.TARGETS / f"initrd.img-{version}"),
            )
        }
        texts = {
            str(config.KEY_FILE).lstrip("/"): config.KEY_FILE.read_bytes(),
            str(config.SERVER_FILE).lstrip("/"): json.dumps(asdict(server)).encode(),
            f"{folder}/cmdline": target_line(version, settings).text.encode(),
            f"{folder}/kernel-version": version.encode(),
        }
        kernel, initrd = files.pop("kernel"), files.pop("initrd")
        arguments = f"stiefel.role=server quiet loglevel=3 panic=30 {QUICK} {settings.kernel_args}".strip()
        yield kexec.System(kernel, initrd, arguments, {**texts, **files})


def identity(settings: AutokexecConfig) -> str:
    """Return what tells this laptop and its disk from others; without a disk to give away there is nothing to tell."""
    try:
        return firmware.laptop(chosen_disk(settings).path)
    except (StiefelError, OSError) as error:
        say(f"a desktop whose session was cut off cannot be told so: {error}")
        return ""


def chosen_disk(settings: AutokexecConfig) -> disk.Disk:
    """Return the disk that is given away. Raises NoSuchDisk."""
    return disk.describe(settings.disk) if settings.disk else disk.disk_below("/")


def target_line(version: str, settings: AutokexecConfig, root: Path = Path("/")) -> TargetLine:
    """Return what the target will be started with, from what this laptop runs with now."""
    running = (root / "proc/cmdline").read_text()
    firmware = boot.has_built_in("efivarfs", version, root)
    return command_line.target_line(running, settings, boot.cable_modules_of(version, root), without_firmware=firmware)


def inhibitor() -> str:
    """Return who asks that the system is not shut down now (systemd-inhibit(1)), or nothing.

    Where logind does not answer, nobody can have asked.
    """
    done = subprocess.run(["busctl", "--json=short", "call", *LIST_INHIBITORS], capture_output=True, check=False)
    return held_up_by(done.stdout) if done.returncode == 0 else ""


def held_up_by(inhibitors: bytes) -> str:
    """Return the first lock that blocks a shutdown, as "who: why"; `inhibitors` is what busctl(1) says in JSON.

    Each is [what, who, why, mode, uid, pid] (org.freedesktop.login1(5)); the modes: block, block-weak, delay.
    """
    for what, who, why, mode, *_ in json.loads(inhibitors)["data"][0]:
        if mode.startswith("block") and "shutdown" in what.split(":"):
            return f"{who}: {why}"
    return ""


def terminals(dev: Path = Path("/dev")) -> Iterator[tuple[Path, int]]:
    """Yield the terminals that somebody uses, and the user id of their owners.

    wall(1) would ask logind, which in Debian 13 knows no terminal of an ssh login and none in a window.
    """
    for path in (*dev.glob("tty[0-9]*"), *dev.glob("pts/[0-9]*")):
        try:
            owner = path.stat().st_uid
        except FileNotFoundError:  # it was closed just now
            continue
        if owner or path.parent != dev:  # a console that nobody is logged in at is root's
            yield path, owner


def tell_users(text: str) -> None:
    """Tell everybody who is logged in, on terminals and on desktops. Nobody being there is no error."""
    displayed = "".join(character for character in text if character.isprintable())
    line = f"\r\n\aStiefelsystem: {displayed}\r\n".encode()
    for terminal, owner in terminals():
        # As its owner, who may write to it whatever mesg(1) says; a terminal that takes nothing is left alone.
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                ["tee", terminal], user=owner, input=line, capture_output=True, check=False, timeout=TERMINAL_SECONDS
            )
    for bus in Path("/run/user").glob("*/bus"):
        with suppress(FileNotFoundError, KeyError):
            user = pwd.getpwuid(int(bus.parent.name)).pw_name
            command = ["runuser", "-u", user, "--", "env", f"DBUS_SESSION_BUS_ADDRESS=unix:path={bus}"]
            subprocess.Popen([*command, "notify-send", "--urgency=critical", "Stiefelsystem", text])


class Autokexec:
    """The service: answers beacons, and when a desktop has proven the key, asks for consent and moves."""

    def __init__(self, settings: AutokexecConfig, stack: ExitStack) -> None:
        self._settings = settings
        name = displayable(settings.laptop or socket.gethostname())
        keyring = unlocked(config.read_keys())
        witness = Witness(keyring, identity(settings), is_on=lambda _: False)
        self._answerer = Answerer(keyring, Challenge(Stage.AUTOKEXEC, name), witness=witness)
        self._decider = Decider(settings, inhibitor)
        self._wire = stack.enter_context(link.DiscoverySocket(listen=True))
        self._changes = stack.enter_context(netdev.LinkEvents())
        self._control = stack.enter_context(_control_socket())
        self._guest = guest.Guest()
        self._server = preparation(settings)
        stack.callback(self._server.close)
        self._moving = False

    def run(self) -> None:
        """Wait for desktops until one is followed."""
        self._follow_links()
        event("listening", interfaces=",".join(one.name for one in link.wired()) or "none")
        while not self._moving:
            self._step()

    def _follow_links(self) -> None:
        """Listen on every wired interface there is now."""
        self._changes.drain()
        self._wire.follow(guest.made_reachable(self._guest, time.monotonic()))

    def _step(self) -> None:
        """Wait for one thing to happen and see to it."""
        sources = [self._wire.fileno(), self._changes.fileno(), self._control.fileno()]
        settling = self._guest.wait(time.monotonic())
        readable, _, _ = select.select(sources, [], [], 1.0 if self._decider.busy else settling)
        if self._changes.fileno() in readable or settling is not None:
            self._follow_links()
        while self._wire.fileno() in readable and (received := self._wire.receive()):
            answer = self._answerer.receive(*received, time.monotonic())
            if isinstance(answer, Datagram):
                self._wire.send(answer)
            elif isinstance(answer, Proven):
                self._do(self._decider.proven(answer, time.monotonic()))
            elif isinstance(answer, OtherVersion):
                say(_OTHER_VERSION)
        if self._control.fileno() in readable:
            self._obey(self._control.recv(16).decode(errors="replace"))
        self._do(self._decider.tick(time.monotonic()))

    def _obey(self, word: str) -> None:
        """Do what the person at the laptop, or udev, says."""
        match word:
            case Command.ALLOW.value:
                self._do(self._decider.allow())
            case Command.CANCEL.value:
                self._do(self._decider.cancel(time.monotonic()))
            case Command.PLUGGED.value:
                self._do(self._decider.plugged(time.monotonic()))

    def _do(self, acts: list[Act]) -> None:
        """Do what was decided."""
        for act in acts:
            match act:
                case Event(name, facts):
                    event(name, **facts)
                case Tell(text):
                    tell_users(text)
                case Reply(proven, notice):
                    self._wire.send(self._answerer.notice(proven, notice))
                case Prepare() if self._settings.method is Method.KEXEC:
                    self._server.begin()
                case Forget():
                    self._server.forget()
                case Go(who):
                    self._move(who)

    def _move(self, who: str) -> None:
        try:
            move(self._settings, who, self._server)
        except (StiefelError, OSError) as error:
            complain(str(error))
            self._do(self._decider.failed(str(error), time.monotonic()))
        else:
            self._moving = True
            self._do(self._decider.moving())


def preparation(settings: AutokexecConfig) -> Preparation:
    """Return what loads the server for the kernel's own way into it."""

    def load() -> None:
        with server_system(settings) as system:
            kexec.load(system)

    return Preparation(load, kexec.unload)


def move(settings: AutokexecConfig, who: str, server: Preparation) -> None:
    """Shut down cleanly into the server, as far as it is loaded. Raises StiefelError when that is not possible."""
    if session.IN_TARGET.exists():
        raise NotNow("this system is a target itself: its disk is not here")
    event("triggered", by=who)
    by = loader.loader() if settings.method is Method.BOOTLOADER else None
    if by:
        with server_system(settings) as system:
            loader.arrange(system, by)
    else:
        server.finish()
    verb = by.restart if by else ("kexec",)
    done = subprocess.run(["systemctl", *verb, "--no-block"], capture_output=True, text=True, check=False)
    if done.returncode:
        loader.forget(by) if by else kexec.unload()
        raise NotNow(f"systemctl {verb[0]}: {done.stderr.strip()}")


def _control_socket() -> socket.socket:
    """Return the socket that `allow` and `cancel` come in on; root's only."""
    CONTROL.parent.mkdir(mode=0o755, exist_ok=True)
    CONTROL.unlink(missing_ok=True)
    control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    control.bind(str(CONTROL))
    os.chmod(CONTROL, 0o600)  # noqa: PTH101 - a socket is no file that Path could open
    return control


def tell(command: Command) -> None:
    """Say allow or cancel to the running service. Raises NotNow when there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
        try:
            control.sendto(command.value.encode(), str(CONTROL))
        except OSError as error:
            raise NotNow(f"stiefel-autokexec is not running, or you are not root: {error.strerror}") from error


def main() -> NoReturn:
    """Run the service until the laptop is on its way; systemd ends it with the rest of the system."""
    settings = AutokexecConfig.load(config.AUTOKEXEC_FILE)
    if settings.method is Method.BOOTLOADER:
        with suppress(LoaderRefused):
            loader.forget(loader.loader())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # whoever stops the service leaves nothing loaded
    with ExitStack() as stack:
        Autokexec(settings, stack).run()
    raise SystemExit(0)
