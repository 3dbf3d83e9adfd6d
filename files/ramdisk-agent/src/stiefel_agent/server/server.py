"""The server, on the laptop: hold the disk, answer the desktop, give it bundle and disk, go home when it is done.

One loop, one thread: discovery, handshakes and the release are all answered while a bundle is on its way.
"""

from __future__ import annotations

import hmac
import os
import selectors
import socket
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import NoReturn

from stiefel_agent import config
from stiefel_agent.errors import ExportFailed, HandshakeError, StiefelError
from stiefel_agent.face import screen, status
from stiefel_agent.face.console import event, say
from stiefel_agent.machine import disk, link, netdev, tunnel
from stiefel_agent.protocol.bundle import Encoder, Manifest, describe
from stiefel_agent.protocol.discovery import PORT, Answerer, Datagram
from stiefel_agent.protocol.handshake import (
    CONNECTIONS_LIMIT,
    HELLO_SECONDS,
    Asked,
    Received,
    Secrets,
    Send,
    ServerHandshake,
)
from stiefel_agent.protocol.keys import Key, unlocked
from stiefel_agent.protocol.messages import Busy, Challenge, Facts, Grant, Stage, Tunnel, displayable
from stiefel_agent.server import export

RELEASE_PORT = 61571
BUNDLE_SECONDS = 900.0
"""How long a bundle may take: 100 MB at a tenth of a slow cable's speed."""
RELEASE_SECONDS = 5.0
SILENCE_SECONDS = 10
"""After so long a desktop that neither acknowledges nor answers has gone away; only until it has its system."""
TICK_SECONDS = 1.0
DISK_SECONDS = 0.25
TOKEN_LINE = 128
"""More than a release line is long; who sends more is not our target."""


@dataclass(slots=True)
class Connection:
    """One TCP connection: a handshake under way, and what is still to be sent."""

    socket: socket.socket
    source: str
    handshake: ServerHandshake
    deadline: float
    frames: Iterator[bytes]
    """What is still to be sent: the bundle."""
    output: bytes | memoryview = b""
    """What is to be sent before it."""
    last: bool = False
    """Close when all is sent."""

    def pending(self) -> bool:
        """Say whether there is anything to send now."""
        if not self.output:
            self.output = next(self.frames, b"")
        return bool(self.output)


@dataclass(slots=True)
class Session:
    """The one session: whose it is, since when, and what ends it."""

    facts: Facts
    secrets: Secrets
    private_key: str = field(repr=False)
    connection: Connection
    since: float
    exported: bool = False
    heard: tuple[int, int] = (0, 0)
    heard_at: float = 0.0


class Steps:
    """The lines on the laptop's screen."""

    def __init__(self) -> None:
        self.wait = screen.Step("Wait for the desktop")
        self.give = screen.Step("Give it the system")
        self.serve = screen.Step("Serve the disk")
        self.home = screen.Step("Return to the normal system")
        self.all = (self.wait, self.give, self.serve, self.home)


class Server:
    """One laptop's time as a server, from its start to the way home."""

    def __init__(self, settings: config.ServerConfig, keyring: tuple[Key, ...], stack: ExitStack) -> None:
        self._settings = settings
        self._encrypted = settings.encryption is config.Encryption.WIREGUARD
        self._steps = Steps()
        title = f"laptop {settings.laptop}" + ("" if self._encrypted else "  (block traffic is NOT encrypted)")
        self._screen = screen.Screen(title, self._steps.all)
        self._descriptor = stack.enter_context(disk.held(settings.disk))
        disk.refuse_hibernated(settings.disk)
        self._disk = disk.describe(settings.disk)
        challenge = Challenge(Stage.SERVER, displayable(settings.laptop), PORT)
        self._answerer = Answerer(keyring, challenge)
        self._manifest = manifest(settings.laptop)
        self._session: Session | None = None
        self._connections: list[Connection] = []
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._wire = stack.enter_context(link.DiscoverySocket(listen=True))
        self._changes = stack.enter_context(netdev.LinkEvents())
        self._listener = stack.enter_context(_listen("::", PORT))
        self._release: socket.socket | None = None
        self._asked_to_end = False

    def run(self) -> None:
        """Serve until the target releases the disk."""
        self._watch(self._wire, self._hear)
        self._watch(self._changes, self._links_changed)
        self._watch(self._listener, self._accept)
        if sys.stdin.isatty():
            tty.setcbreak(sys.stdin)
            self._selector.register(sys.stdin, selectors.EVENT_READ, self._keys)
        self._links_changed()
        event("server_ready", disk=self._disk.path, bytes=self._disk.size, encryption=self._settings.encryption)
        while not self._steps.home.detail:
            for ready, mask in self._selector.select(TICK_SECONDS):
                ready.data(mask) if isinstance(ready.data, _Pump) else ready.data()
            self._tick(time.monotonic())

    def _watch(self, source: netdev.LinkEvents | link.DiscoverySocket | socket.socket, act: Callable[[], None]) -> None:
        self._selector.register(source, selectors.EVENT_READ, act)

    def _links_changed(self) -> None:
        """Switch on what is off, call on what is new."""
        self._changes.drain()
        interfaces = link.made_reachable()
        self._wire.follow(interfaces)
        if self._session is None:
            self._screen.start(self._steps.wait, status.interfaces(interfaces, "listening"))

    def _hear(self) -> None:
        """Answer discovery; whoever has no key hears nothing."""
        while received := self._wire.receive():
            answer = self._answerer.receive(*received, time.monotonic())
            if isinstance(answer, Datagram):
                self._wire.send(answer)

    def _accept(self) -> None:
        """Take a connection, driving out the oldest that has not come to an answer if there are too many."""
        try:
            connected, source = self._listener.accept()
        except OSError:  # it went away again before we looked
            return
        connected.setblocking(False)
        # A desktop that loses its power says no goodbye: notice within seconds (tcp(7)).
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENCE_SECONDS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE_SECONDS * 1000)
        unfinished = [one for one in self._connections if not self._owns_session(one)]
        if len(unfinished) >= CONNECTIONS_LIMIT:
            self._close(unfinished[0])
        handshake = ServerHandshake(self._answerer.challenges)
        connection = Connection(connected, source[0], handshake, time.monotonic() + HELLO_SECONDS, iter(()))
        self._connections.append(connection)
        self._selector.register(connected, selectors.EVENT_READ, _Pump(self, connection))

    def pump(self, connection: Connection, mask: int) -> None:
        """Move one connection on; whatever is wrong with it ends it without a word."""
        try:
            if mask & selectors.EVENT_READ:
                self._feed(connection, connection.socket.recv(65536))
            self._flush(connection)
        except BlockingIOError:
            return
        except (StiefelError, OSError) as error:
            if self._owns_session(connection):  # a stranger's are not worth a line: there may be thousands
                say(f"the session's beginning broke off: {error}")
            self._close(connection)

    def _feed(self, connection: Connection, data: bytes) -> None:
        match connection.handshake.feed(data, time.monotonic()):
            case Send(answer):
                self._queue(connection, answer)
            case Asked() as asked:
                self._decide(connection, asked)
            case Received():
                self._export(connection)

    def _decide(self, connection: Connection, asked: Asked) -> None:
        """Give the disk to whoever asks, unless somebody has it."""
        self._take_over_if_silent()
        if held := self._session:
            seconds = int(time.monotonic() - held.since)
            self._queue(connection, connection.handshake.refuse(Busy(held.facts.desktop, seconds)))
            connection.last = True
            return
        private_key = tunnel.new_private_key()
        now = time.monotonic()
        self._session = Session(asked.facts, asked.secrets, private_key, connection, now)
        self._screen.start(self._steps.give, f"to {asked.facts.desktop}")
        self._queue(connection, connection.handshake.grant(self._grant(private_key)))
        connection.frames = self._bundle(asked.secrets)
        connection.deadline = now + BUNDLE_SECONDS

    def _bundle(self, secrets: Secrets) -> Iterator[bytes]:
        """Yield the bundle's sealed frames; its files are closed when it ends, or when nobody wants it any more."""
        folder = config.BUNDLE_FOLDER
        with (folder / "vmlinuz").open("rb") as kernel, (folder / "initrd.img").open("rb") as initrd:
            yield from Encoder(secrets.bundle_key, self._manifest, kernel, initrd)

    def _grant(self, private_key: str) -> Grant:
        end = None
        if self._encrypted:
            public_key = tunnel.public_key(private_key)
            addresses = IPv6Address(tunnel.SERVER_ADDRESS), IPv6Address(tunnel.CLIENT_ADDRESS)
            end = Tunnel(public_key, tunnel.PORT, *addresses)
        return Grant(
            tunnel=end,
            nbd_port=export.PORT,
            export=export.NAME,
            connections=self._settings.connections,
            block_size=self._disk.logical_sector,
            release_port=RELEASE_PORT,
        )

    def _export(self, connection: Connection) -> None:
        """The client has the system: open the tunnel, offer the disk in it, and let it start."""
        held = self._session
        if held is None or not self._owns_session(connection) or connection.pending():
            raise HandshakeError("received, before it was given everything")
        held.exported = True
        try:
            address = self._open_tunnel(held) if self._encrypted else "::"
            if not self._encrypted:
                _firewall("add", held.connection.source)
            export.start(self._settings.disk, address)
            self._release = _listen(address, RELEASE_PORT)
        except (StiefelError, OSError) as error:
            say(f"the disk could not be offered: {error}")
            self._end_session()  # what was opened until now must not outlive the attempt
            self._links_changed()
            raise
        self._watch(self._release, self._hear_release)
        held.heard_at = time.monotonic()
        self._queue(connection, connection.handshake.ready())
        connection.last = True
        event("exported", desktop=held.facts.desktop, disk=self._settings.disk, address=address)
        self._screen.start(self._steps.serve, f"{self._disk.model or self._disk.path} to {held.facts.desktop}")

    def _open_tunnel(self, held: Session) -> str:
        configuration = tunnel.server_configuration(
            held.private_key, held.facts.wireguard_public_key, held.secrets.preshared_key
        )
        tunnel.create(configuration, tunnel.SERVER_ADDRESS, tunnel.CLIENT_ADDRESS)
        return tunnel.SERVER_ADDRESS

    def _hear_release(self) -> None:
        """The target says that it is done: make sure that all it wrote is on the disk, tell it so, go home."""
        assert self._release and self._session
        connected, source = self._release.accept()
        with connected:
            connected.settimeout(RELEASE_SECONDS)
            try:
                said = connected.makefile("rb").readline(TOKEN_LINE).strip()
                if not hmac.compare_digest(said, self._session.secrets.release_token.hex().encode()):
                    say(f"a release from {source[0]} with a wrong token was ignored")
                    return
                os.fsync(self._descriptor)
                connected.sendall(b"ok\n")
            except OSError as error:
                say(f"a release from {source[0]} broke off: {error}")
                return
        desktop = self._session.facts.desktop
        self._end_session()
        event("released", desktop=desktop)
        self._screen.start(self._steps.home, f"{desktop} is done; all it wrote is on the disk. Restarting")

    def _keys(self) -> None:
        """Hear the person at the laptop; on a slow machine several keys come at once."""
        for pressed in os.read(sys.stdin.fileno(), 16).decode(errors="replace").lower():
            self._key(pressed)

    def _key(self, pressed: str) -> None:
        """Do what the person decides. Ending a session takes two keys, for work may be lost."""
        if self._session is None:
            if pressed == "r":
                event("going_home", reason="asked at the laptop")
                self._screen.start(self._steps.home, "as you asked. Restarting")
        elif self._asked_to_end and pressed == "y":
            event("ended_here", desktop=self._session.facts.desktop)
            self._end_session()
            self._links_changed()
        self._asked_to_end = self._session is not None and pressed == "e"
        self._advise()

    def _advise(self) -> None:
        """Show which keys do what now."""
        if self._session is None:
            self._screen.advise("Press r to restart this laptop into its normal system.")
        elif self._asked_to_end:
            self._screen.advise(
                f"End the session of {self._session.facts.desktop}? What it has not saved is lost. "
                "Press y to end it, any other key to let it be."
            )
        else:
            self._screen.advise(
                "The desktop is using this laptop's disk. To finish, shut the desktop down. "
                "If it is lost for good: press e to end its session."
            )

    def _end_session(self) -> None:
        """Fence the target off: no export, no tunnel, no peer. Nothing of it reaches the disk after this."""
        held, self._session = self._session, None
        if self._release:
            self._selector.unregister(self._release)
            self._release.close()
            self._release = None
        if held and held.exported:
            tunnel.remove()
            export.stop()
            _firewall("delete", held.connection.source)
            os.fsync(self._descriptor)
        if held:
            self._close(held.connection)

    def _take_over_if_silent(self) -> None:
        """End a session whose target has been silent for longer than the laptop's owner allows.

        Only the tunnel's keepalives tell a silent target from an idle one: without encryption nobody is taken over.
        """
        held, allowed = self._session, self._settings.takeover_seconds if self._encrypted else 0
        if held and held.exported and allowed and time.monotonic() - held.heard_at >= allowed:
            event("taken_over", desktop=held.facts.desktop, silent=int(time.monotonic() - held.heard_at))
            self._end_session()

    def _tick(self, now: float) -> None:
        """See to what has waited too long, and to the screen."""
        for connection in list(self._connections):
            if now >= connection.deadline:
                self._close(connection)
        self._advise()
        held = self._session
        if held and held.exported:
            self._screen.start(self._steps.serve, self._how_it_goes(held, now))

    def _how_it_goes(self, held: Session, now: float) -> str:
        """Return who has the disk and for how long; with the tunnel also how much, and whether it is still there."""
        text = f"{held.facts.desktop} for {status.duration(now - held.since)}"
        if not self._encrypted:
            return text
        heard = tunnel.transferred()
        if heard != held.heard:
            held.heard, held.heard_at = heard, now
        quiet = now - held.heard_at
        text += f"; {heard[1] / 1e6:.0f} MB read, {heard[0] / 1e6:.0f} MB written"
        return text + (f"; silent for {status.duration(quiet)}: is the cable in?" if quiet > 30 else "")

    def _queue(self, connection: Connection, data: bytes) -> None:
        connection.output = bytes(connection.output) + data

    def _flush(self, connection: Connection) -> None:
        """Send what the socket takes, and ask to be called again while there is more."""
        while connection.pending():
            try:
                sent = connection.socket.send(connection.output)
            except BlockingIOError:
                both = selectors.EVENT_READ | selectors.EVENT_WRITE
                self._selector.modify(connection.socket, both, _Pump(self, connection))
                return
            connection.output = memoryview(connection.output)[sent:]
        if connection.last:
            self._close(connection)
        else:
            self._selector.modify(connection.socket, selectors.EVENT_READ, _Pump(self, connection))

    def _owns_session(self, connection: Connection) -> bool:
        return self._session is not None and self._session.connection is connection

    def _close(self, connection: Connection) -> None:
        """Forget a connection; a session that had not come to its export ends with it."""
        if connection not in self._connections:
            return
        owned = self._owns_session(connection)
        self._connections.remove(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        if owned and self._session and not self._session.exported:
            self._session = None
            self._screen.start(self._steps.wait, "the desktop went away before it had everything; it may come again")


@dataclass(frozen=True, slots=True)
class _Pump:
    """What the selector calls for a connection."""

    server: Server
    connection: Connection

    def __call__(self, mask: int) -> None:
        self.server.pump(self.connection, mask)


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening, non-blocking IPv6 TCP socket."""
    listener = socket.create_server((host, port), family=socket.AF_INET6, backlog=CONNECTIONS_LIMIT)
    listener.setblocking(False)
    return listener


def _firewall(verb: str, address: str) -> None:
    """Open disk and release to one address on the cable, or close them: only without encryption."""
    element = f"{{ {address.partition('%')[0]} }}"
    command = ["nft", verb, "element", "inet", "stiefel", "plain", element]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and verb == "add":
        raise ExportFailed(f"{' '.join(command)}: {done.stderr.strip()}")


def manifest(laptop: str) -> Manifest:
    """Return the manifest of the bundle that autokexec appended to this ramdisk."""
    folder = config.BUNDLE_FOLDER
    with (folder / "vmlinuz").open("rb") as kernel, (folder / "initrd.img").open("rb") as initrd:
        return Manifest(
            laptop=displayable(laptop),
            kernel_version=(folder / "kernel-version").read_text().strip(),
            command_line=(folder / "cmdline").read_text().strip(),
            kernel=describe(kernel),
            initrd=describe(initrd),
        )


def wait_for_disk(path: str) -> None:
    """Wait until udev has named the disk; says what for if that takes longer than usual."""
    waited = 0.0
    while not Path(path).exists():
        time.sleep(DISK_SECONDS)  # udev's own announcements would need a library that the ramdisk does not have
        waited += DISK_SECONDS
        if waited % 10 == 0:
            say(f"waiting for the disk {path}: is it there?")


def _be_patient() -> None:
    """Let connections outlive an outage of hours: with the default, nbdkit loses a target after 15 minutes (tcp(7))."""
    Path("/proc/sys/net/ipv4/tcp_retries2").write_text("255")


def main() -> NoReturn:
    """Run the server on the ramdisk's first console, then restart the laptop into its normal system."""
    screen.wake_console()
    settings = config.ServerConfig.load(config.SERVER_FILE)
    wait_for_disk(settings.disk)
    _be_patient()
    with ExitStack() as stack:
        Server(settings, unlocked(config.read_keys()), stack).run()
    subprocess.run(["systemctl", "--force", "reboot"], check=True)
    sys.exit(0)
