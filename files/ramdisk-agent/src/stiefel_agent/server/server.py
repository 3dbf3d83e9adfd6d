"""The server, on the laptop: hold the disk, answer the desktop, give it bundle and disk, go home when it is done.

One loop, one thread: discovery, handshakes and the release are all answered while a bundle is on its way. What may
happen when is `sessions.TABLE`; this is what carries it out. Should it die, its next life goes on where it was.
"""

from __future__ import annotations

import os
import selectors
import sys
import time
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from stiefel_agent import config
from stiefel_agent.config import AfterSession
from stiefel_agent.errors import HandshakeError, StiefelError
from stiefel_agent.face import screen, status
from stiefel_agent.face.console import event, say
from stiefel_agent.machine import disk, firmware, link, netdev, program, tunnel
from stiefel_agent.protocol.crypto import digest
from stiefel_agent.protocol.discovery import Answerer, Datagram
from stiefel_agent.protocol.handshake import Asked
from stiefel_agent.protocol.keys import Key, unlocked
from stiefel_agent.protocol.meeting import PORT
from stiefel_agent.protocol.messages import Busy, Challenge, Stage, displayable, new_export
from stiefel_agent.protocol.over import Witness
from stiefel_agent.server import beginning, export, memory, ports, releases
from stiefel_agent.server.beginning import Beginning, Request
from stiefel_agent.server.connections import Connection, Connections
from stiefel_agent.server.errands import Errands
from stiefel_agent.server.feed import Feed
from stiefel_agent.server.hearing import Hearing
from stiefel_agent.server.page import Page, how_it_goes
from stiefel_agent.server.person import Person
from stiefel_agent.server.releases import Releases, Verdict
from stiefel_agent.server.sessions import DURABLE, Act, Event, Session, Standing, State, after, found, token_line
from stiefel_agent.server.way import Way

BUNDLE_SECONDS = 900.0
"""How long a bundle may take: 100 MB at a tenth of a slow cable's speed."""
TICK_SECONDS = 1.0
RETRY_SECONDS = 2.0
UNFENCED = (State.STARTING, State.REPLACING, State.FENCING)
"""Something of an earlier session may be open: nobody is told yet that it is over."""
RETURN_SECONDS = 30.0
"""So long a laptop that was given back tries to close everything before it restarts, which closes it as well."""
DISK_SECONDS = 0.25
DARK_MINUTES = 10
"""After so long without a key the screen goes dark; any key, and whatever is new, lights it again."""
KEYS_LIMIT = 16
"""Keys read at once: on a slow machine several come together."""


class Server:
    """One laptop's time as a server, from its start to the way home."""

    def __init__(self, settings: config.ServerConfig, keyring: tuple[Key, ...], stack: ExitStack) -> None:
        self._settings = settings
        self._way = Way(settings, stack.enter_context(disk.held(settings.disk)))
        # Without encryption no tunnel says who is silent and who is idle: nobody else follows by time.
        self._takeover_seconds = settings.takeover_seconds if self._way.encrypted else 0
        goes_off = settings.after_session is AfterSession.POWEROFF
        self._page = Page(settings.laptop, encrypted=self._way.encrypted, goes_off=goes_off)
        disk.refuse_hibernated(settings.disk)
        self._disk = disk.describe(settings.disk)
        challenge = Challenge(Stage.SERVER, displayable(settings.laptop), PORT)
        self._witness = Witness(keyring, firmware.laptop(settings.disk), self._may_go_on)
        self._answerer = Answerer(keyring, challenge, witness=self._witness)
        self._manifest = beginning.manifest(settings.laptop)
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._wire = stack.enter_context(link.DiscoverySocket(listen=True))
        self._changes = stack.enter_context(netdev.LinkEvents())
        self._listener = stack.enter_context(ports.listening("::", PORT))
        self._errands = Errands(self._selector)
        self._feed = Feed(self._selector, stack, self._page.warn, beeps=settings.beeps)
        self._connections: Connections
        self._state = State.STARTING
        self._session: Session | None = None
        self._beginning: Beginning | None = None
        self._asking: Request | None = None
        """Who asks right now."""
        self._next: Request | None = None
        """Who gets the disk when the one before is fenced off."""
        self._releases: Releases | None = None
        self._hearing = Hearing(encrypted=self._way.encrypted)
        self._carrier = True
        """Some cable leads somewhere."""
        self._nbdkit: int | None = None
        self._restarts = 0
        self._wrong: list[str] = []
        self._retry_at = self._home_by = 0.0
        self._person = Person()
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

    def run(self) -> str:
        """Serve until the laptop goes home; return how: what systemctl(1) calls `reboot` or `poweroff`."""
        if sys.stdin.isatty():
            screen.take_keys(sys.stdin.fileno())
            self._selector.register(sys.stdin, selectors.EVENT_READ, self._keys)
        self._find()
        self._connections = Connections(self._selector, self._listener, self._answerer.challenges, self)
        self._selector.register(self._wire, selectors.EVENT_READ, self._hear)
        self._selector.register(self._changes, selectors.EVENT_READ, self._links_changed)
        self._links_changed()
        self._advise()
        event("server_ready", disk=self._disk.path, bytes=self._disk.size, encryption=self._settings.encryption)
        while self._state is not State.HOME:
            self._turn()
            self._tick(time.monotonic())
        return "poweroff" if self._goes_off() else "reboot"

    def _turn(self) -> None:
        """Hear what has come, wherever from; wait for it a little."""
        for ready, mask in self._selector.select(TICK_SECONDS):
            ready.data(mask)

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

    def _may_go_on(self, over_hash: bytes) -> bool:
        """Say whether the target that asks may be the one on record; all others are fenced off for good."""
        known = self._session is not None and self._session.over_hash == over_hash
        return known or self._state in UNFENCED

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
        held = self._session
        what = found(state, lambda: held is not None and self._way.is_whole(held))
        if held and what is Event.FOUND_OTHER:
            event("given_up", desktop=held.facts.desktop, state=state)
        self._home_by = time.monotonic() + RETURN_SECONDS
        self._happen(what)
        while self._errands.under_way and self._state is not State.HOME:
            self._turn()

    # What the table lets happen.

    def _resume(self) -> Event | None:
        assert self._session
        self._way.put_back()
        self._hear_releases(self._session.address)
        self._listen_anew()
        event("adopted", desktop=self._session.facts.desktop)
        return None if self._nbdkit else Event.EXPORT_GONE

    def _request(self) -> Request:
        """Return the desktop that an act is about."""
        request = self._asking or self._next
        assert request
        return request

    def _grant(self) -> Event | None:
        request, self._next = self._request(), None
        connection, asked = request.connection, request.asked
        name, since = new_export(), time.clock_gettime(time.CLOCK_BOOTTIME)
        token_hash = digest(token_line(asked.secrets.release_token))
        source, address = connection.source, self._way.address
        laptop = self._witness.laptop(asked.key_name)
        over_hash = digest(connection.handshake.over_key(laptop))
        self._session = Session(asked.facts, asked.key_name, source, address, name, token_hash, since, over_hash)
        if connection not in self._connections:  # it went away while the one before was fenced off
            return Event.LEFT
        try:
            private_key = tunnel.new_private_key() if self._way.encrypted else ""
            connections, sector = self._settings.connections, self._disk.logical_sector
            promise = beginning.promise(private_key, name, connections, sector, laptop)
            connection.queue(connection.handshake.grant(promise))
        except StiefelError as error:
            say(f"a desktop could not be given its system: {error}")
            self._connections.close(connection)
            return Event.LEFT
        self._beginning = Beginning(connection, asked.secrets, private_key)
        now = time.time() - self._settings.clock_ahead
        connection.frames = beginning.bundle(asked.secrets, beginning.timed(self._manifest, now))
        connection.deadline = time.monotonic() + BUNDLE_SECONDS
        self._page.giving(asked.facts.desktop)
        self._connections.send(connection)
        return None

    def _refuse(self) -> None:
        connection = self._request().connection
        if connection not in self._connections:
            return
        held = self._session
        seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - held.since if held else 0
        busy = Busy(held.facts.desktop if held else "another desktop", max(0, int(seconds)))
        connection.queue(connection.handshake.refuse(busy), last=True)
        self._connections.send(connection)

    def _drop(self) -> None:
        self._end_beginning()
        self._session = None
        memory.forget()

    def _open(self) -> None:
        """The client has the system: open the tunnel, offer the disk in it."""
        assert self._session and self._beginning
        held, private_key, preshared = (
            self._session,
            self._beginning.private_key,
            self._beginning.secrets.preshared_key,
        )
        self._errands.send(lambda: self._way.open(held, private_key, preshared), self._opened)

    def _opened(self, held: Session | None) -> None:
        try:
            if held:
                self._session = held
                self._hear_releases(held.address)
        except OSError as error:
            say(f"no release could be heard: {error}")
            held = None
        self._happen(Event.EXPORTED if held else Event.FAILED)

    def _admit(self) -> None:
        assert self._session
        if self._beginning:  # or it has gone away meanwhile, and begins again
            connection = self._beginning.connection
            connection.queue(connection.handshake.ready(), last=True)
            self._connections.send(connection)
        self._listen_anew()
        desktop = self._session.facts.desktop
        event("exported", desktop=desktop, disk=self._settings.disk, address=self._session.address)
        self._page.serving(f"{self._disk.model or self._disk.path} to {desktop}")

    def _export_again(self) -> None:
        assert self._session
        held = self._session
        self._errands.send(lambda: self._way.offer_again(held), self._offered_again)

    def _offered_again(self, done: bool) -> None:
        if not done:
            self._retry_at = time.monotonic() + RETRY_SECONDS

    def _fence(self) -> None:
        """Close all that a target could reach the disk through."""
        if self._releases:
            self._releases.close()
            self._releases = None
        self._end_beginning()
        self._wrong = []
        self._errands.send(self._way.shut, self._fenced)

    def _fenced(self, wrong: list[str]) -> None:
        self._wrong = wrong
        self._retry_at = time.monotonic() + RETRY_SECONDS
        stays = self._state is State.RETURNING and self._settings.after_session is AfterSession.WAIT
        self._happen(Event.UNFENCED if wrong else Event.FENCED_TO_WAIT if stays else Event.FENCED)

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
        now = "Switching off" if self._goes_off() else "Restarting"
        if self._session and not self._sent_home:
            self._page.home(f"{self._session.facts.desktop} is done; all it wrote is on the disk. {now}")
        else:
            self._page.home(f"as you asked. {now}")

    def _goes_off(self) -> bool:
        """Say whether the laptop goes off at the end; a person who sends it home wants its normal system."""
        return self._settings.after_session is AfterSession.POWEROFF and not self._sent_home

    # Desktops.

    def decide(self, connection: Connection, asked: Asked) -> None:
        """Give the disk to whoever asks, unless somebody has it."""
        held, request = self._session, Request(connection, asked)
        if held and self._state is State.SERVING and held.is_of(asked):  # whether it wrote can matter: look
            self._errands.send(
                lambda: self._way.is_unwritten(held),
                lambda unwritten: self._ask(request, unwritten=unwritten and self._session is held),
            )
        else:
            self._ask(request, unwritten=False)

    def _ask(self, request: Request, *, unwritten: bool) -> None:
        held, silent = self._session, self._hearing.silent(time.monotonic())
        how = Standing(self._state, silent, unwritten, self._takeover_seconds).asks(held, request.asked)
        if held and how is Event.CLAIMED and self._state is State.SERVING:
            desktop, heir = held.facts.desktop, request.asked.facts.desktop
            event("taken_over", desktop=desktop, by=heir, silent=int(silent))
            self._next = request
        self._asking = request
        self._happen(how)
        self._asking = None

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

    # The release.

    def _hear_releases(self, address: str) -> None:
        confirmed = lambda: self._happen(Event.CONFIRMED)  # noqa: E731
        self._releases = Releases(self._selector, ports.listening(address, releases.PORT), self._judge, confirmed)

    def _judge(self, line: bytes, source: str, verdict: Verdict) -> None:
        """Hear that the target is done: make sure that all it wrote is on the disk, and never forget it again."""
        held = self._session
        if held is None or self._state is not State.SERVING:
            verdict(False)
        elif not held.is_released_by(line):
            say(f"a release from {source} with a wrong token was ignored")
            verdict(False)
        else:
            self._errands.send(self._way.flush, lambda wrong: verdict(self._is_given_back(held, wrong)))

    def _is_given_back(self, held: Session, wrong: str) -> bool:
        """Let the session end, now that its disk has been flushed, if nothing was wrong and nobody was faster."""
        if wrong:
            say(f"a release could not be confirmed, for the disk did not take all that was written: {wrong}")
        if wrong or self._session is not held or self._state is not State.SERVING:
            return False
        self._home_by = time.monotonic() + RETURN_SECONDS
        self._happen(Event.RELEASED)
        if self._settings.after_session is not AfterSession.WAIT:
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
        self._carrier = any(one.carrier for one in interfaces)
        if self._state is State.SERVING:
            self._way.put_back()
            self._way.hold_back(not self._carrier)
        self._show_links(interfaces)

    def _show_links(self, interfaces: list[link.Wired]) -> None:
        if self._state is State.WAITING:
            self._page.waiting(status.interfaces(interfaces, "listening"))

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
        """Do what the person decides."""
        decided = self._person.press(pressed, self._state)
        if decided is Event.SENT_HOME:
            event("going_home", reason="asked at the laptop")
            self._sent_home = True
        elif decided is Event.ENDED and self._session:
            self._ended_by = f"ended_here desktop={self._session.facts.desktop}"
        if decided:
            self._happen(decided)
        self._advise()

    def _advise(self) -> None:
        desktop = self._session.facts.desktop if self._session else ""
        self._page.advise(self._state, desktop, sure=self._person.sure)

    # The clock.

    def _tick(self, now: float) -> None:
        """See to what has waited too long, and to the screen."""
        self._connections.tick(now)
        if self._releases:
            self._releases.tick(now)
        if self._state is State.RETURNING and now >= self._home_by:
            self._happen(Event.OVERDUE)
        elif self._wrong and now >= self._retry_at:
            self._happen(Event.RETRY)
        if self._state is State.SERVING:
            self._watch_session(now)
        self._feed.tick(now, self._target())
        self._advise()

    def _target(self) -> str | None:
        """Return the running target's address, None while there is none."""
        if self._session is None or self._state is not State.SERVING:
            return None
        return tunnel.CLIENT_ADDRESS if self._way.encrypted else self._session.source

    def _listen_anew(self) -> None:
        """Watch a session from now on."""
        self._hearing.begin()
        self._nbdkit, self._restarts = export.process(), 0

    def _watch_session(self, now: float) -> None:
        """Look whether the target is still heard, and whether nbdkit runs."""
        assert self._session
        running = export.process()
        if running is None and now >= self._retry_at and not self._errands.under_way:
            self._happen(Event.EXPORT_GONE)
        if running not in (None, self._nbdkit):
            self._nbdkit, self._restarts = running, self._restarts + 1
            event("export_restarted", desktop=self._session.facts.desktop)
        moved = self._hearing.moved()
        self._hearing.listen(self._session, moved, now)
        lasted = time.clock_gettime(time.CLOCK_BOOTTIME) - self._session.since
        desktop, quiet = self._session.facts.desktop, self._hearing.silent(now)
        self._page.serving(how_it_goes(desktop, lasted, moved, quiet, self._restarts, cable=self._carrier))


def wait_for_disk(path: str) -> None:
    """Wait until udev has named the disk; says what for if that takes longer than usual."""
    waited = 0.0
    while not Path(path).exists():
        time.sleep(DISK_SECONDS)  # udev's own announcements would need a library that the ramdisk does not have
        waited += DISK_SECONDS
        if waited % 10 == 0:
            say(f"waiting for the disk {path}: is it there?")


def leave(verb: str) -> None:
    """Restart the laptop or switch it off; until systemd agrees, ask again: whoever is here can also press its key."""
    while (asked := program.run("systemctl", "--force", verb)).returncode:
        say(f"systemctl {verb} does not work yet: {asked.stderr.strip()}. Trying again; you may also switch it off.")
        time.sleep(RETRY_SECONDS)


def main() -> NoReturn:
    """Run the server on the ramdisk's first console, then restart the laptop, or switch it off."""
    screen.wake_console(DARK_MINUTES)
    settings = config.ServerConfig.load(config.SERVER_FILE)
    wait_for_disk(settings.disk)
    with ExitStack() as stack:
        verb = Server(settings, unlocked(config.read_keys()), stack).run()
    leave(verb)
    sys.exit(0)
