"""What is done about the one session: each act of `sessions.TABLE`, and what the table says to what comes of it.

The loop tells `Acts` what has happened; what takes long is sent on errands, and is an event when it is done.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections import deque
from collections.abc import Callable

from stiefel_agent.config import AfterSession, ServerConfig
from stiefel_agent.errors import HandshakeError, StiefelError
from stiefel_agent.face.console import event, say
from stiefel_agent.machine import disk, firmware, rtnl, tunnel
from stiefel_agent.machine.losses import WORDS
from stiefel_agent.protocol.crypto import digest
from stiefel_agent.protocol.discovery import Challenges
from stiefel_agent.protocol.handshake import Asked
from stiefel_agent.protocol.keys import Key
from stiefel_agent.protocol.messages import Busy, new_export
from stiefel_agent.protocol.over import Witness
from stiefel_agent.server import beginning, memory, ports, releases
from stiefel_agent.server.beginning import Beginning, Request
from stiefel_agent.server.connections import Connection, Connections
from stiefel_agent.server.errands import Errands
from stiefel_agent.server.guard import Guard
from stiefel_agent.server.page import Page
from stiefel_agent.server.releases import Releases, Verdict
from stiefel_agent.server.sessions import DURABLE, Act, Event, Session, Standing, State, after, found, token_line
from stiefel_agent.server.way import Way

BUNDLE_SECONDS = 900.0
"""How long a bundle may take: 100 MB at a tenth of a slow cable's speed."""
RETRY_SECONDS = 2.0
RETURN_SECONDS = 30.0
"""So long a laptop that was given back tries to close everything before it restarts, which closes it as well."""
UNFENCED = (State.STARTING, State.REPLACING, State.FENCING)
"""Something of an earlier session may be open: nobody is told yet that it is over."""


class Acts:
    """One session after the other, from the first desktop that asks to the way home.

    `connections.Owner` is how desktops come here. `look_around` shows that a desktop may come, and by which interfaces.
    """

    def __init__(
        self,
        settings: ServerConfig,
        keyring: tuple[Key, ...],
        way: Way,
        page: Page,
        selector: selectors.BaseSelector,
        *,
        look_around: Callable[[], None],
    ) -> None:
        self._settings, self._way, self._page, self._selector = settings, way, page, selector
        self._look_around = look_around
        # Without encryption no tunnel says who is silent and who is idle: nobody else follows by time.
        self._takeover_seconds = settings.takeover_seconds if way.encrypted else 0
        self.disk = disk.describe(settings.disk)
        self.witness = Witness(keyring, firmware.laptop(settings.disk), self._may_go_on)
        self.guard = Guard(page, Errands(selector), encrypted=way.encrypted, mtu=settings.mtu)
        self.errands = Errands(selector)
        self.state = State.STARTING
        self.session: Session | None = None
        self._manifest = beginning.manifest(settings.laptop)
        self._connections: Connections
        self._beginning: Beginning | None = None
        self._asking: Request | None = None
        """Who asks right now."""
        self._next: Request | None = None
        """Who gets the disk when the one before is fenced off."""
        self._releases: Releases | None = None
        self._wrong: list[str] = []
        self._retry_at = self._home_by = 0.0
        self._ended_by = ""
        self._left = self._sent_home = False
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

    def find(self) -> None:
        """Look for what an earlier life of this agent has left; its errands are under way then."""
        state, self.session = memory.recall() or (None, None)
        held = self.session
        what = found(state, lambda: held is not None and self._way.is_whole(held))
        if held and what is Event.FOUND_OTHER:
            event("given_up", desktop=held.facts.desktop, state=state)
        self._home_by = time.monotonic() + RETURN_SECONDS
        self.happen(what)

    def answer(self, listener: socket.socket, challenges: Challenges) -> None:
        """Let desktops connect from now on."""
        self._connections = Connections(self._selector, listener, challenges, self)

    def happen(self, what: Event) -> None:
        """Do what the table says, and what it says to what comes of that."""
        events = deque([what])
        while events:
            step = after(self.state, events.popleft())
            self.state = step.state
            self._remember()
            for act in step.acts:
                if outcome := self._acts[act]():
                    events.append(outcome)

    def tick(self, now: float) -> None:
        """See to what has waited too long, and to the session; `now` is monotonic, in seconds."""
        self._connections.tick(now)
        if self._releases:
            self._releases.tick(now)
        if self.state is State.RETURNING and now >= self._home_by:
            self.happen(Event.OVERDUE)
        elif self._wrong and now >= self._retry_at:
            self.happen(Event.RETRY)
        if self.state is State.SERVING and self.session:
            runs = self.guard.look(self.session, now)
            if not runs and now >= self._retry_at and not self.errands.under_way:
                self.happen(Event.EXPORT_GONE)

    def obey(self, decided: Event) -> None:
        """Do what the person at the laptop has decided."""
        if decided is Event.SENT_HOME:
            event("going_home", reason="asked at the laptop")
            self._sent_home = True
        elif decided is Event.ENDED and self.session:
            self._ended_by = f"ended_here desktop={self.session.facts.desktop}"
        self.happen(decided)

    @property
    def target(self) -> str | None:
        """The running target's address, None while there is none."""
        if self.session is None or self.state is not State.SERVING:
            return None
        return tunnel.CLIENT_ADDRESS if self._way.encrypted else self.session.source

    @property
    def goes_off(self) -> bool:
        """Whether the laptop goes off at the end; a person who sends it home wants its normal system."""
        return self._settings.after_session is AfterSession.POWEROFF and not self._sent_home

    def _may_go_on(self, over_hash: bytes) -> bool:
        """Say whether the target that asks may be the one on record; all others are fenced off for good."""
        known = self.session is not None and self.session.over_hash == over_hash
        return known or self.state in UNFENCED

    def _remember(self) -> None:
        """Keep the record up to date; `_open` makes it, before there is anything to lose."""
        if self.session and self.state in DURABLE - {State.OPENING}:
            try:
                memory.remember(self.state, self.session)
            except OSError as error:
                say(f"the session's record could not be written: {error}")

    # What the table lets happen.

    def _resume(self) -> Event | None:
        assert self.session
        self._way.put_back()
        self._hear_releases(self.session.address)
        runs = self.guard.begin(self.session)
        event("adopted", desktop=self.session.facts.desktop)
        return None if runs else Event.EXPORT_GONE

    def _request(self) -> Request:
        """Return the desktop that an act is about."""
        request = self._asking or self._next
        assert request
        return request

    def _grant(self) -> Event | None:
        request, self._next = self._request(), None
        connection, asked = request.connection, request.asked
        self.session = self._granted(connection, asked)
        if connection not in self._connections:  # it went away while the one before was fenced off
            return Event.LEFT
        try:
            private_key = tunnel.new_private_key() if self._way.encrypted else ""
            connections, sector = self._settings.connections, self.disk.logical_sector
            laptop = self.witness.laptop(asked.key_name)
            promise = beginning.promise(private_key, self.session.export, connections, sector, laptop)
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

    def _granted(self, connection: Connection, asked: Asked) -> Session:
        """Return the session of a desktop that is given the disk now."""
        return Session(
            asked.facts,
            asked.key_name,
            connection.source,
            self._way.address,
            new_export(),
            digest(token_line(asked.secrets.release_token)),
            time.clock_gettime(time.CLOCK_BOOTTIME),
            digest(connection.handshake.over_key(self.witness.laptop(asked.key_name))),
        )

    def _refuse(self) -> None:
        connection = self._request().connection
        if connection not in self._connections:
            return
        held = self.session
        seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - held.since if held else 0
        busy = Busy(held.facts.desktop if held else "another desktop", max(0, int(seconds)))
        connection.queue(connection.handshake.refuse(busy), last=True)
        self._connections.send(connection)

    def _drop(self) -> None:
        self._end_beginning()
        self.session = None
        memory.forget()

    def _open(self) -> None:
        """The client has the system: open the tunnel, offer the disk in it."""
        assert self.session and self._beginning
        held, private_key, preshared = (
            self.session,
            self._beginning.private_key,
            self._beginning.secrets.preshared_key,
        )
        self.errands.send(lambda: self._way.open(held, private_key, preshared), self._opened)

    def _opened(self, held: Session | None) -> None:
        try:
            if held:
                self.session = held
                self._hear_releases(held.address)
        except OSError as error:
            say(f"no release could be heard: {error}")
            held = None
        self.happen(Event.EXPORTED if held else Event.FAILED)

    def _admit(self) -> None:
        assert self.session
        if self._beginning:  # or it has gone away meanwhile, and begins again
            connection = self._beginning.connection
            connection.queue(connection.handshake.ready(), last=True)
            self._connections.send(connection)
        self.guard.begin(self.session)
        desktop = self.session.facts.desktop
        event("exported", desktop=desktop, disk=self._settings.disk, address=self.session.address)
        self._page.serving(f"{self.disk.model or self.disk.path} to {desktop}")

    def _export_again(self) -> None:
        assert self.session
        held = self.session
        self.errands.send(lambda: self._way.offer_again(held), self._offered_again)

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
        self.errands.send(self._way.shut, self._fenced)

    def _fenced(self, wrong: list[str]) -> None:
        self._wrong = wrong
        self._retry_at = time.monotonic() + RETRY_SECONDS
        stays = self.state is State.RETURNING and self._settings.after_session is AfterSession.WAIT
        self.happen(Event.UNFENCED if wrong else Event.FENCED_TO_WAIT if stays else Event.FENCED)

    def _tell(self) -> None:
        event("not_fenced", what="; ".join(self._wrong))
        self._page.not_fenced(self._wrong)

    def _wait(self) -> None:
        if self._ended_by:
            event(self._ended_by)
            self._ended_by = ""
        self._look_around()
        if self._left:
            self._page.waiting("the desktop went away before it had everything; it may come again")
            self._left = False

    def _go_home(self) -> None:
        now = "Switching off" if self.goes_off else "Restarting"
        if self.session and not self._sent_home:
            self._page.home(f"{self.session.facts.desktop} is done; all it wrote is on the disk. {now}")
        else:
            self._page.home(f"as you asked. {now}")

    # Desktops.

    def decide(self, connection: Connection, asked: Asked) -> None:
        """Give the disk to whoever asks, unless somebody has it."""
        held, request = self.session, Request(connection, asked)
        if held and self.state is State.SERVING and held.is_of(asked):  # whether it wrote can matter: look
            self.errands.send(
                lambda: self._way.is_unwritten(held),
                lambda unwritten: self._ask(request, unwritten=unwritten and self.session is held),
            )
        else:
            self._ask(request, unwritten=False)

    def _ask(self, request: Request, *, unwritten: bool) -> None:
        held, silent = self.session, self.guard.silent()
        how = Standing(self.state, silent, unwritten, self._takeover_seconds).asks(held, request.asked)
        if held and how is Event.CLAIMED and self.state is State.SERVING:
            desktop, heir = held.facts.desktop, request.asked.facts.desktop
            event("taken_over", desktop=desktop, by=heir, silent=int(silent))
            self._next = request
        self._asking = request
        self.happen(how)
        self._asking = None

    def received(self, connection: Connection) -> None:
        """The client has the system, if it was given all of it."""
        if not self.owns(connection) or connection.pending():
            raise HandshakeError("received, before it was given everything")
        self.happen(Event.RECEIVED)

    def loses(self, connection: Connection) -> None:
        """The system that a desktop is given is the first long thing on this cable: mend an adapter that loses it."""
        assert self.session
        try:
            with rtnl.Interfaces() as kernel:
                kernel.cut_in_software(connection.socket.getsockname()[3])
        except OSError as error:
            say(f"an adapter that loses much cannot be spared: {error.strerror}")
            return
        event("offload_off")
        say(WORDS)
        self._page.giving(f"{self.session.facts.desktop}. {WORDS}")

    def owns(self, connection: Connection) -> bool:
        """Say whether this is the connection of the desktop that was granted the disk."""
        return self._beginning is not None and self._beginning.connection is connection

    def closed(self, connection: Connection) -> None:
        """A desktop that leaves before it has everything may come again."""
        if self.owns(connection):
            self._beginning = None
            self._left = self.state is State.GIVING
            self.happen(Event.LEFT)

    def _end_beginning(self) -> None:
        if self._beginning:
            connection, self._beginning = self._beginning.connection, None
            self._connections.close(connection)

    # The release.

    def _hear_releases(self, address: str) -> None:
        confirmed = lambda: self.happen(Event.CONFIRMED)  # noqa: E731
        self._releases = Releases(self._selector, ports.listening(address, releases.PORT), self._judge, confirmed)

    def _judge(self, line: bytes, source: str, verdict: Verdict) -> None:
        """Hear that the target is done: make sure that all it wrote is on the disk, and never forget it again."""
        held = self.session
        if held is None or self.state is not State.SERVING:
            verdict(False)
        elif not held.is_released_by(line):
            say(f"a release from {source} with a wrong token was ignored")
            verdict(False)
        else:
            self.errands.send(self._way.flush, lambda wrong: verdict(self._is_given_back(held, wrong)))

    def _is_given_back(self, held: Session, wrong: str) -> bool:
        """Let the session end, now that its disk has been flushed, if nothing was wrong and nobody was faster."""
        if wrong:
            say(f"a release could not be confirmed, for the disk did not take all that was written: {wrong}")
        if wrong or self.session is not held or self.state is not State.SERVING:
            return False
        self._home_by = time.monotonic() + RETURN_SECONDS
        self.happen(Event.RELEASED)
        if self._settings.after_session is not AfterSession.WAIT:
            self._go_home()
        event("released", desktop=held.facts.desktop)
        return True
