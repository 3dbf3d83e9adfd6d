"""The server, on the laptop: hold the disk, answer the desktop, give it bundle and disk, go home when it is done.

One loop, one thread: discovery, handshakes and the release are all answered while a bundle is on its way. What may
happen when is `sessions.TABLE`; this is what carries it out. Should it die, its next life goes on where it was.
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import NoReturn

from stiefel_agent import config
from stiefel_agent.errors import HandshakeError, StiefelError
from stiefel_agent.face import screen, status
from stiefel_agent.face.console import event, say
from stiefel_agent.machine import disk, firewall, link, netdev, program, tunnel
from stiefel_agent.protocol.bundle import Encoder, Manifest, describe
from stiefel_agent.protocol.crypto import digest
from stiefel_agent.protocol.discovery import PORT, Answerer, Datagram
from stiefel_agent.protocol.handshake import CONNECTIONS_LIMIT, Asked, Secrets
from stiefel_agent.protocol.keys import Key, unlocked
from stiefel_agent.protocol.messages import Busy, Challenge, Grant, Stage, Tunnel, displayable, new_export
from stiefel_agent.server import export, fence, memory
from stiefel_agent.server.connections import Connection, Connections
from stiefel_agent.server.hearing import Hearing, bare
from stiefel_agent.server.page import Page, how_it_goes
from stiefel_agent.server.releases import Releases
from stiefel_agent.server.sessions import (
    DURABLE,
    Act,
    Event,
    Session,
    Standing,
    State,
    after,
    found,
    token_line,
)

RELEASE_PORT = 61571
BUNDLE_SECONDS = 900.0
"""How long a bundle may take: 100 MB at a tenth of a slow cable's speed."""
TICK_SECONDS = 1.0
RETRY_SECONDS = 5.0
RETURN_SECONDS = 30.0
"""So long a laptop that was given back tries to close everything before it restarts, which closes it as well."""
DISK_SECONDS = 0.25
CAN_BE_ENDED = (State.GIVING, State.SERVING)
"""When a person may end a session."""
KEYS_LIMIT = 16
"""Keys read at once: on a slow machine several come together."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a session's beginning has beside the session: it ends with the agent, as the desktop's attempt does."""

    connection: Connection
    secrets: Secrets
    private_key: str = field(repr=False)


class Server:
    """One laptop's time as a server, from its start to the way home."""

    def __init__(self, settings: config.ServerConfig, keyring: tuple[Key, ...], stack: ExitStack) -> None:
        self._settings = settings
        self._encrypted = settings.encryption is config.Encryption.WIREGUARD
        # Without encryption no tunnel says who is silent and who is idle: nobody else follows by time.
        self._takeover_seconds = settings.takeover_seconds if self._encrypted else 0
        self._page = Page(settings.laptop, encrypted=self._encrypted)
        self._descriptor = stack.enter_context(disk.held(settings.disk))
        disk.refuse_hibernated(settings.disk)
        self._disk = disk.describe(settings.disk)
        challenge = Challenge(Stage.SERVER, displayable(settings.laptop), PORT)
        self._answerer = Answerer(keyring, challenge)
        self._manifest = manifest(settings.laptop)
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._wire = stack.enter_context(link.DiscoverySocket(listen=True))
        self._changes = stack.enter_context(netdev.LinkEvents())
        self._listener = stack.enter_context(_listen("::", PORT))
        self._connections: Connections
        self._state = State.STARTING
        self._session: Session | None = None
        self._beginning: Beginning | None = None
        self._asking: tuple[Connection, Asked] | None = None
        self._releases: Releases | None = None
        self._hearing = Hearing(encrypted=self._encrypted)
        self._nbdkit: int | None = None
        self._restarts = 0
        self._wrong: list[str] = []
        self._retry_at = self._home_by = 0.0
        self._asked_to_end = False
        self._ended_by = ""
        self._left = False
        self._sent_home = False
        self._acts: dict[Act, Callable[[], Event | None]] = {
            Act.RESUME: self._resume,
            Act.GRANT: self._grant,
            Act.REFUSE: self._refuse,
            Act.DROP: self._drop,
            Act.OPEN: self._open,
            Act.ADMIT: self._admit,
            Act.EXPORT_AGAIN: self._export_again,
            Act.FENCE: self._fence,
            Act.TELL: self._tell,
            Act.WAIT: self._wait,
            Act.GO_HOME: self._go_home,
        }

    def run(self) -> None:
        """Serve until the laptop goes home."""
        self._find()
        self._connections = Connections(self._selector, self._listener, self._answerer.challenges, self)
        self._selector.register(self._wire, selectors.EVENT_READ, self._hear)
        self._selector.register(self._changes, selectors.EVENT_READ, self._links_changed)
        if sys.stdin.isatty():
            screen.take_keys(sys.stdin.fileno())
            self._selector.register(sys.stdin, selectors.EVENT_READ, self._keys)
        self._links_changed()
        self._advise()
        event("server_ready", disk=self._disk.path, bytes=self._disk.size, encryption=self._settings.encryption)
        while self._state is not State.HOME:
            for ready, mask in self._selector.select(TICK_SECONDS):
                ready.data(mask)
            self._tick(time.monotonic())

    def _happen(self, what: Event) -> None:
        """Do what the table says, and what it says to what comes of that."""
        events = deque([what])
        while events:
            step = after(self._state, events.popleft())
            self._state = step.state
            self._remember()
            for act in step.acts:
                if outcome := self._acts[act]():
                    events.append(outcome)

    def _remember(self) -> None:
        """Keep the record up to date; `_open` makes it, before there is anything to lose."""
        if self._session and self._state in DURABLE - {State.OPENING}:
            try:
                memory.remember(self._state, self._session)
            except OSError as error:
                say(f"the session's record could not be written: {error}")

    def _find(self) -> None:
        """Look for what an earlier life of this agent has left, before anybody is answered."""
        state, self._session = memory.recall() or (None, None)
        what = found(state, self._is_whole)
        if self._session and what is Event.FOUND_OTHER:
            event("given_up", desktop=self._session.facts.desktop, state=state)
        self._home_by = time.monotonic() + RETURN_SECONDS
        self._happen(what)

    def _is_whole(self) -> bool:
        """Say whether the recorded session's way to the disk is open for it and for nobody else."""
        held = self._session
        if held is None:
            return False
        try:
            if self._encrypted:
                return tunnel.peers() == [tunnel.encode(held.facts.wireguard_public_key)]
            return firewall.allowed() == {bare(held.source)}
        except StiefelError:
            return False

    # What the table lets happen.

    def _resume(self) -> Event | None:
        assert self._session
        self._put_back()
        self._hear_releases(self._session.address)
        self._listen_anew()
        event("adopted", desktop=self._session.facts.desktop)
        return None if self._nbdkit else Event.EXPORT_GONE

    def _grant(self) -> Event | None:
        assert self._asking
        connection, asked = self._asking
        address = tunnel.SERVER_ADDRESS if self._encrypted else "::"
        token_hash = digest(token_line(asked.secrets.release_token))
        name, since = new_export(), time.clock_gettime(time.CLOCK_BOOTTIME)
        source = connection.source
        self._session = Session(asked.facts, asked.key_name, source, address, name, token_hash, since)
        try:
            private_key = tunnel.new_private_key() if self._encrypted else ""
            connection.queue(connection.handshake.grant(self._granted(private_key, name)))
        except StiefelError as error:
            say(f"a desktop could not be given its system: {error}")
            self._connections.close(connection)
            return Event.LEFT
        self._beginning = Beginning(connection, asked.secrets, private_key)
        connection.frames = self._bundle(asked.secrets)
        connection.deadline = time.monotonic() + BUNDLE_SECONDS
        self._page.giving(asked.facts.desktop)
        return None

    def _refuse(self) -> None:
        assert self._asking
        connection, _ = self._asking
        held = self._session
        seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - held.since if held else 0
        busy = Busy(held.facts.desktop if held else "another desktop", max(0, int(seconds)))
        connection.queue(connection.handshake.refuse(busy), last=True)

    def _drop(self) -> None:
        self._end_beginning()
        self._session = None
        memory.forget()

    def _open(self) -> Event:
        """The client has the system: open the tunnel, offer the disk in it. What will be open is on record first."""
        assert self._session and self._beginning
        held, beginning = self._session, self._beginning
        try:
            held = self._session = self._measured(held)
            memory.remember(State.OPENING, held)
            if self._encrypted:
                key, peer = beginning.private_key, held.facts.wireguard_public_key
                configuration = tunnel.server_configuration(key, peer, beginning.secrets.preshared_key)
                tunnel.create(configuration, tunnel.SERVER_ADDRESS, tunnel.CLIENT_ADDRESS)
            else:
                firewall.allow(held.source)
            export.start(self._settings.disk, held.address, held.export, self._settings.connections)
            self._hear_releases(held.address)
        except (StiefelError, OSError) as error:
            say(f"the disk could not be offered: {error}")
            return Event.FAILED
        return Event.EXPORTED

    def _measured(self, held: Session) -> Session:
        """Return the session with what had been written to the disk before it."""
        os.fsync(self._descriptor)
        return held.measured(disk.sectors_written(self._settings.disk))

    def _admit(self) -> None:
        assert self._session and self._beginning
        connection = self._beginning.connection
        connection.queue(connection.handshake.ready(), last=True)
        self._listen_anew()
        desktop = self._session.facts.desktop
        event("exported", desktop=desktop, disk=self._settings.disk, address=self._session.address)
        self._page.serving(f"{self._disk.model or self._disk.path} to {desktop}")

    def _export_again(self) -> None:
        """Start nbdkit again; systemd does so by itself, unless it has been told to stop it."""
        assert self._session
        held = self._session
        try:
            export.start(self._settings.disk, held.address, held.export, self._settings.connections)
        except (StiefelError, OSError) as error:
            say(f"the disk could not be offered again: {error}")
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def _fence(self) -> Event:
        """Close all that a target could reach the disk through, and what it wrote goes onto the disk."""
        if self._releases:
            self._releases.close()
            self._releases = None
        self._end_beginning()
        self._wrong = fence.shut()
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            self._wrong.append(f"disk: {error.strerror}")
        self._retry_at = time.monotonic() + RETRY_SECONDS
        return Event.UNFENCED if self._wrong else Event.FENCED

    def _tell(self) -> None:
        event("not_fenced", what="; ".join(self._wrong))
        self._page.not_fenced(self._wrong)

    def _wait(self) -> None:
        if self._ended_by:
            event(self._ended_by)
            self._ended_by = ""
        self._show_links(link.made_reachable())
        if self._left:
            self._page.waiting("the desktop went away before it had everything; it may come again")
            self._left = False

    def _go_home(self) -> None:
        if self._session and not self._sent_home:
            self._page.home(f"{self._session.facts.desktop} is done; all it wrote is on the disk. Restarting")
        else:
            self._page.home("as you asked. Restarting")

    # Desktops.

    def decide(self, connection: Connection, asked: Asked) -> None:
        """Give the disk to whoever asks, unless somebody has it."""
        self._asking = (connection, asked)
        held, silent = self._session, self._hearing.silent(time.monotonic())
        standing = Standing(self._state, silent, self._is_unwritten(asked), self._takeover_seconds)
        how = standing.asks(held, asked)
        if held and how is Event.CLAIMED and self._state is State.SERVING:
            event("taken_over", desktop=held.facts.desktop, by=asked.facts.desktop, silent=int(silent))
        self._happen(how)
        self._asking = None

    def _is_unwritten(self, asked: Asked) -> bool:
        """Say whether nothing has been written in this session; only looked at when that can matter."""
        held = self._session
        if held is None or held.sectors is None or self._state is not State.SERVING or not held.is_of(asked):
            return False
        if disk.sectors_written(self._settings.disk) != held.sectors:
            return False  # no need to wait for a flush
        os.fsync(self._descriptor)
        return disk.sectors_written(self._settings.disk) == held.sectors

    def received(self, connection: Connection) -> None:
        """The client has the system, if it was given all of it."""
        if not self.owns(connection) or connection.pending():
            raise HandshakeError("received, before it was given everything")
        self._happen(Event.RECEIVED)

    def owns(self, connection: Connection) -> bool:
        """Say whether this is the connection of the desktop that was granted the disk."""
        return self._beginning is not None and self._beginning.connection is connection

    def closed(self, connection: Connection) -> None:
        """A desktop that leaves before it has everything may come again."""
        if self.owns(connection):
            self._beginning = None
            self._left = self._state is State.GIVING
            self._happen(Event.LEFT)

    def _end_beginning(self) -> None:
        if self._beginning:
            connection, self._beginning = self._beginning.connection, None
            self._connections.close(connection)

    def _bundle(self, secrets: Secrets) -> Iterator[bytes]:
        """Yield the bundle's sealed frames; its files are closed when it ends, or when nobody wants it any more."""
        folder = config.BUNDLE_FOLDER
        with (folder / "vmlinuz").open("rb") as kernel, (folder / "initrd.img").open("rb") as initrd:
            yield from Encoder(secrets.bundle_key, self._manifest, kernel, initrd)

    def _granted(self, private_key: str, name: str) -> Grant:
        end = None
        if self._encrypted:
            public_key = tunnel.public_key(private_key)
            addresses = IPv6Address(tunnel.SERVER_ADDRESS), IPv6Address(tunnel.CLIENT_ADDRESS)
            end = Tunnel(public_key, tunnel.PORT, *addresses)
        return Grant(
            tunnel=end,
            nbd_port=export.PORT,
            export=name,
            connections=self._settings.connections,
            block_size=self._disk.logical_sector,
            release_port=RELEASE_PORT,
        )

    # The release.

    def _hear_releases(self, address: str) -> None:
        confirmed = lambda: self._happen(Event.CONFIRMED)  # noqa: E731
        self._releases = Releases(self._selector, _listen(address, RELEASE_PORT), self._judge, confirmed)

    def _judge(self, line: bytes, source: str) -> bool:
        """Hear that the target is done: make sure that all it wrote is on the disk, and never forget it again."""
        held = self._session
        if held is None or self._state is not State.SERVING:
            return False
        if not held.is_released_by(line):
            say(f"a release from {source} with a wrong token was ignored")
            return False
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            say(f"a release could not be confirmed, for the disk did not take all that was written: {error.strerror}")
            return False
        self._home_by = time.monotonic() + RETURN_SECONDS
        self._happen(Event.RELEASED)
        self._go_home()
        event("released", desktop=held.facts.desktop)
        return True

    # The wire.

    def _links_changed(self, _: int = 0) -> None:
        """Switch on what is off, call on what is new, give the tunnel back what was taken from it."""
        self._changes.drain()
        interfaces = link.made_reachable()
        self._wire.follow(interfaces)
        self._hearing.link_changed()
        self._put_back()
        self._show_links(interfaces)

    def _show_links(self, interfaces: list[link.Wired]) -> None:
        if self._state is State.WAITING:
            self._page.waiting(status.interfaces(interfaces, "listening"))

    def _put_back(self) -> None:
        if self._encrypted and self._state is State.SERVING:
            try:
                if tunnel.put_back(tunnel.SERVER_ADDRESS, tunnel.CLIENT_ADDRESS):
                    event("tunnel_put_back")
            except (StiefelError, OSError) as error:
                say(f"the tunnel's address was taken away and cannot be given back yet: {error}")

    def _hear(self, _: int) -> None:
        """Answer discovery; whoever has no key hears nothing."""
        while received := self._wire.receive():
            answer = self._answerer.receive(*received, time.monotonic())
            if isinstance(answer, Datagram):
                self._wire.send(answer)

    # The person.

    def _keys(self, _: int) -> None:
        """Hear the person at the laptop."""
        try:
            pressed = os.read(sys.stdin.fileno(), KEYS_LIMIT)
        except OSError:
            pressed = b""
        if not pressed:  # the terminal has been hung up
            self._selector.unregister(sys.stdin)
        for key in pressed.decode(errors="replace").lower():
            self._key(key)

    def _key(self, pressed: str) -> None:
        """Do what the person decides. Ending a session takes two keys, for work may be lost."""
        if pressed == "r" and self._state in (State.WAITING, State.FENCING):
            event("going_home", reason="asked at the laptop")
            self._sent_home = True
            self._happen(Event.SENT_HOME)
        elif self._asked_to_end and pressed == "y" and self._session and self._state in CAN_BE_ENDED:
            self._ended_by = f"ended_here desktop={self._session.facts.desktop}"
            self._happen(Event.ENDED)
        self._asked_to_end = pressed == "e" and self._state in CAN_BE_ENDED
        self._advise()

    def _advise(self) -> None:
        desktop = self._session.facts.desktop if self._session else ""
        self._page.advise(self._state, desktop, sure=self._asked_to_end)

    # The clock.

    def _tick(self, now: float) -> None:
        """See to what has waited too long, and to the screen."""
        self._connections.tick(now)
        if self._releases:
            self._releases.tick(now)
        if self._wrong and now >= self._retry_at:
            overdue = self._state is State.RETURNING and now >= self._home_by
            self._happen(Event.OVERDUE if overdue else Event.RETRY)
        if self._state is State.SERVING:
            self._watch_session(now)
        self._advise()

    def _listen_anew(self) -> None:
        """Watch a session from now on."""
        self._hearing.begin()
        self._nbdkit, self._restarts = export.process(), 0

    def _watch_session(self, now: float) -> None:
        """Look whether the target is still heard, and whether nbdkit runs."""
        assert self._session
        running = export.process()
        if running is None and now >= self._retry_at:
            self._happen(Event.EXPORT_GONE)
        if running not in (None, self._nbdkit):
            self._nbdkit, self._restarts = running, self._restarts + 1
            event("export_restarted", desktop=self._session.facts.desktop)
        moved = self._hearing.moved()
        self._hearing.listen(self._session, moved, now)
        lasted = time.clock_gettime(time.CLOCK_BOOTTIME) - self._session.since
        desktop, quiet = self._session.facts.desktop, self._hearing.silent(now)
        self._page.serving(how_it_goes(desktop, lasted, moved, quiet, self._restarts))


def _listen(host: str, port: int) -> socket.socket:
    """Return a listening, non-blocking IPv6 TCP socket."""
    listener = socket.create_server((host, port), family=socket.AF_INET6, backlog=CONNECTIONS_LIMIT)
    listener.setblocking(False)
    return listener


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


def restart() -> None:
    """Restart the laptop; until systemd agrees, ask again: whoever is here can also switch it off."""
    while (asked := program.run("systemctl", "--force", "reboot")).returncode:
        say(f"the laptop does not restart yet: {asked.stderr.strip()}. Trying again; you may also switch it off.")
        time.sleep(RETRY_SECONDS)


def main() -> NoReturn:
    """Run the server on the ramdisk's first console, then restart the laptop into its normal system."""
    screen.wake_console()
    settings = config.ServerConfig.load(config.SERVER_FILE)
    wait_for_disk(settings.disk)
    with ExitStack() as stack:
        Server(settings, unlocked(config.read_keys()), stack).run()
    restart()
    sys.exit(0)
