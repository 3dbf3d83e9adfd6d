"""The keeper: a process of the target, from the initrd to the machine's end, that sees to it that the disk stays.

It keeps the cable's namespace alive, follows interfaces and connections, takes whichever wired interface leads to the
laptop, and replaces connections that died. While root itself stands still it must not need a byte of the disk: it is
forked from the attach program with everything loaded, starts no program, opens no file but the kernel's own (by way of
PROC: after switch_root its `/` is the empty initramfs), and its memory is locked.
"""

import ctypes
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator

from stiefel_agent.errors import StiefelError
from stiefel_agent.machine import halting, netdev, storage_daemon
from stiefel_agent.machine.genl import Announcements, GenericNetlink
from stiefel_agent.machine.losses import WORDS, Losses
from stiefel_agent.machine.rebind import Rebinding
from stiefel_agent.machine.rtnl import Interface
from stiefel_agent.protocol.session import KEEPER, Session
from stiefel_agent.protocol.sizes import words
from stiefel_agent.protocol.supply import Level, Supply
from stiefel_agent.target import ear, nbd
from stiefel_agent.target.asking import Asking
from stiefel_agent.target.cable import Cable, answers
from stiefel_agent.target.conduit import Conduit
from stiefel_agent.target.links import OVER, Act, Event, State, after
from stiefel_agent.target.notes import Notebook
from stiefel_agent.target.running import Running
from stiefel_agent.target.voice import Voice

NAME = "stiefel-keeper"
TICK_SECONDS = 1.0
"""How often at most it asks and dials."""
ANSWER_SECONDS, SOON_SECONDS = 1.5, 0.5
"""A first packet that is lost is sent again after 1 s; asking anew is quicker than TCP's own third try after 3 s. The
first question has less time, the second a little more: a laptop that is just back answers at once or not at all."""
DIAL_SECONDS = 3.0
"""How long one connection may take to be made and agreed upon."""
PATIENCE = 6
"""So many questions in vain, and another interface has its turn."""
TRIED_SECONDS = 10.0
"""How long an interface on which nobody answered is left alone."""
SILENT_SECONDS = 12.0
"""How long nothing may come in by a cable with a carrier, for the laptop keeps the tunnel alive every 10 s; and how
long TCP may send the same again without an answer, for an adapter can hang in one direction."""
_AGAIN = 2
"""Where linux/tcp.h, struct tcp_info, has tcpi_retransmits: how often in a row TCP has sent the same."""
REBIND_SECONDS = 300.0
"""How often at most one device is taken from its driver: nobody may be there for hours."""
HANDSHAKES = 3
"""How often in a row a tunnel whose keys are old begins anew, before it is left to WireGuard, which asks every 5 s. Two
ends that begin at the same moment do not understand each other; so it is the end whose cable is back that begins."""
ASK_SECONDS = 5.0
"""How often it asks whether the session is over while all seems well: a laptop behind a switch dies without a sign."""
RESTART_SECONDS = 60.0
"""How long a person can read that the session is over before the desktop restarts ..."""
COUNTDOWN = (60.0, 30.0, 10.0)
"""... and when they are told so; the first is RESTART_SECONDS."""
GIVE_UP_SECONDS = 25.0
"""How long a shutdown waits for a laptop that is not reached. With ASK_SECONDS, for it to be noticed, that is 30 s."""
SAY_SECONDS, REMIND_SECONDS = 3.0, 60.0
"""When the person at the desktop hears that the laptop is not reached, and how often again."""

_libc = ctypes.CDLL(None, use_errno=True)


class Connections:
    """The kernel's connections to the laptop's disk, of which the keeper holds its own descriptors."""

    def __init__(self, session: Session, netlink: GenericNetlink, index: int, sockets: list[socket.socket]) -> None:
        self._session, self._netlink, self._index = session, netlink, index
        self._sockets = sockets
        self.dead = 0
        """How many the kernel has given up and not got back."""

    def replace(self, segment: int) -> None:
        """Dial anew as many as are dead, with TCP segments of at most so many bytes, and give them to the kernel.

        What an old connection has not sent yet must not follow on a new one's heels: the kernel has sent, or will send,
        the same request again, and an old write could overwrite a newer one. So it is thrown away first.

        Raises:
            DiskUnreachable, DiskWithheld, DiskRefused: see nbd.dial(); OSError: the kernel's refusal.
        """
        self._forget_dead()
        wanted, host = self._session.nbd, self._session.server_host
        while self.dead:
            connection, _ = nbd.dial(host, wanted.port, wanted.export or "", segment, DIAL_SECONDS)
            nbd.reconfigure(self._netlink, self._index, [connection.fileno()])
            self._sockets.append(connection)
            self.dead -= 1

    def living(self) -> list[socket.socket]:
        """Return those that are not closed yet."""
        return list(self._sockets)

    def unanswered(self) -> bool:
        """Say whether one of them has to send the same again."""
        infos = (one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _AGAIN + 1) for one in self._sockets)
        return any(info[_AGAIN] for info in infos)

    def drop(self) -> None:
        """End those that live, for their packets do not get through: the kernel will say of each that it is dead."""
        for one in self._sockets:
            abort(one)

    def _forget_dead(self) -> None:
        living = []
        for one in self._sockets:
            if one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == nbd.TCP_ESTABLISHED:
                living.append(one)
                continue
            abort(one)
            one.close()
        self._sockets = living


def abort(connection: socket.socket) -> None:
    """End a connection at once and for all its owners: what was not sent is thrown away (connect(2), AF_UNSPEC)."""
    nobody = struct.pack("=H14x", socket.AF_UNSPEC)
    _libc.connect(connection.fileno(), nobody, len(nobody))


class Keeper:
    """The edge of links.py: sees what happens, and does what is to be done."""

    def __init__(
        self, session: Session, way: Cable, connections: Connections, deaths: Announcements, *, restarts: bool
    ) -> None:
        """`restarts`: whether the desktop restarts by itself when the session is over."""
        self._session, self._way, self._connections, self._deaths = session, way, connections, deaths
        self._restarts = restarts
        self._asking, self._running = Asking(session.over), Running()
        self._down_since: float | None = None
        self._voice, self._notebook = Voice(), Notebook()
        self._ear = ear.Ear(session)
        self._supply: Supply | None = None
        self.state = State.WELL
        self._since = time.monotonic()
        self._said_at = self._ticked = self._asked_at = self._called_at = 0.0
        self._in_vain = 0
        self._countdown = list(COUNTDOWN)
        self._known = {one.index for one in way.candidates()}
        self._tried: dict[int, float] = {}
        self._shaken: set[int] = set()
        self._rebinding, self._rebound = Rebinding(), dict[str, float]()
        self._losses, self._spared = Losses(), 0
        self._received = (0, 0)
        self._received_at = self._answered_at = time.monotonic()
        self._newcomer: Interface | None = None
        self._conduit = Conduit(session, way)
        self._do: dict[Act, Callable[[], Event | None]] = {
            Act.HOLD_BACK: self._conduit.hold_back,
            Act.LET_GO: self._let_go,
            Act.PLUG_OVER: self._plug_over,
            Act.SHAKE: self._shake,
            Act.REBIND: self._rebind,
            Act.PROVE: self._prove,
            Act.DIAL: self._dial,
        }

    def run(self) -> None:
        """Keep the disk for as long as the machine runs."""
        self._notebook.write()
        while True:
            self._wait()
            for event in self._seen():
                self._happen(event)
            self._listen()
            self._spare()
            self._speak()
            self._end_in_vain()

    def _wait(self) -> None:
        """Wait for something to happen; not longer than a tick while the laptop is not reached."""
        sources: list[netdev.LinkEvents | Announcements | ear.Ear | Asking]
        sources = [*self._way.events, self._deaths, self._ear, self._asking]
        select.select(sources, [], [], self._patience())
        for source in self._way.events:
            source.drain()

    def _patience(self) -> float:
        """Return for how long nothing need be done; also how often the laptop is asked whether all is over."""
        return ASK_SECONDS if self.state is State.WELL else TICK_SECONDS

    def _seen(self) -> Iterator[Event]:
        """Yield what has happened; each is looked at when those before it are dealt with."""
        for command, _ in self._deaths.read():
            if command == nbd.NBD_CMD_LINK_DEAD:
                self._connections.dead += 1
                yield Event.CONNECTION_LOST
        if self._asking.heard():
            yield Event.OVER
        if called := self._ear.hears():
            self._called_at = time.monotonic()
        link = self._way.link()
        self._ask(link)
        carried = bool(link and link.up and link.carrier)
        if not carried:
            yield Event.CARRIER_LOST
        elif called:
            yield Event.CALLED
        elif link and not self._lately(link):
            yield Event.CARRIER
        if link and self._silent(link):
            yield Event.SILENT
        if self.state is State.CUT and self._look_around():
            yield Event.NEWCOMER
        if time.monotonic() - self._ticked >= TICK_SECONDS:
            self._ticked = time.monotonic()
            yield Event.TICK

    def _ask(self, link: Interface | None) -> None:
        now = time.monotonic()
        if link and link.carrier and self.state is not State.OVER and now - self._asked_at >= self._patience():
            self._asked_at = now
            self._asking.ask(link.index)

    def _happen(self, event: Event) -> None:
        """Go through the table; what an act leads to comes after it."""
        waiting = [event]
        while waiting:
            before = self.state
            step = after(before, waiting.pop(0))
            self.state = step.state
            if self.state is not before and {before, self.state} & {State.WELL, State.OVER}:
                self._changed()
            self._notebook.moved_to(self.state)
            for act in step.acts:
                try:
                    result = self._do[act]()
                except (StiefelError, OSError) as error:
                    self._voice.note(f"{act}: {error}")
                    self._notebook.failed(f"{act}: {error}")
                    continue
                waiting += [result] if result else []

    def _changed(self) -> None:
        """The laptop is not reached any more, or is again, or has said that all is over."""
        now = time.monotonic()
        if self.state is State.OVER:
            self._voice.event("session_over", seconds=round(now - self._since, 1), restarts=self._restarts)
        elif self.state is State.WELL:
            self._voice.event("link_back", seconds=round(now - self._since, 1))
            if self._said_at:
                reached = f"the laptop is reached again after {duration(now - self._since)}: your work goes on"
                self._voice.tell(reached, all_is_well=True)
        else:
            self._voice.event("link_lost", carrier=self.state is not State.CUT)
        self._since, self._said_at, self._in_vain = now, 0.0, 0

    def _listen(self) -> None:
        """Heed what the laptop says of its power: note it, say what is new, end this system when asked to."""
        supply, before = self._ear.supply, self._supply
        if supply is None or supply == before:
            return
        self._supply = supply
        self._notebook.fed(ear.power(supply))
        if text := ear.news(before, supply):
            self._voice.tell(text, all_is_well=supply.level is Level.WELL)
        if supply.shut_down and not (before and before.shut_down):
            self._voice.event("laptop_battery_empty", percent=supply.percent)
            ear.shut_down()

    def _spare(self) -> None:
        """Let an adapter that loses long segments have packets only; WireGuard never gives it anything else."""
        if self._session.wireguard:
            return
        link, connections = self._way.link(), self._connections.living()
        if not link or self.state is not State.WELL:
            self._losses.forget(connections)
        elif self._losses.heavy(connections) and link.index != self._spared:
            self._spared = link.index
            self._way.inner.cut_in_software(link.index)
            self._voice.event("offload_off", interface=link.name)
            self._voice.tell(WORDS)

    def _speak(self) -> None:
        """Tell the person at the desktop that the laptop is not reached: soon, then every minute."""
        now = time.monotonic()
        if self.state is State.OVER:
            self._part(now)
        elif (
            self.state is not State.WELL and now - self._since >= SAY_SECONDS and now - self._said_at >= REMIND_SECONDS
        ):
            missing = "Is the cable in?" if self.state is State.CUT else "Is the laptop still on?"
            self._voice.tell(
                f"the laptop is not reached since {duration(now - self._since)}: your work waits. {missing}"
            )
            self._said_at = now

    def _end_in_vain(self) -> None:
        """Switch the machine off when it is being shut down and cannot get on, for its root stands still (F12)."""
        now = time.monotonic()
        if not self._running.going_down() or self.state is State.WELL:
            self._down_since = None
        elif self._down_since is None:
            self._down_since = now
            self._voice.tell(
                "this desktop is being shut down, and the laptop is not reached. "
                f"It waits {GIVE_UP_SECONDS:.0f} s for the cable"
            )
        elif now - self._down_since >= GIVE_UP_SECONDS:
            self._voice.event("given_up", seconds=round(now - self._down_since, 1))
            self._voice.tell("the laptop was not reached: this desktop goes off now. What was not yet saved is lost")
            halting.power_off()

    def _part(self, now: float) -> None:
        """Say that there is no way back, and what comes now: a restart, or whatever the person does."""
        if not self._restarts:
            if not self._said_at or now - self._said_at >= REMIND_SECONDS:
                self._said_at = now
                self._voice.tell(f"{OVER} Switch this desktop off, and start it from the stick again")
            return
        left = self._since + RESTART_SECONDS - now
        if self._countdown and left <= self._countdown[0]:
            seconds = self._countdown.pop(0)
            self._voice.tell(f"{OVER} This desktop restarts in {seconds:.0f} s; start it from the stick again")
        elif left <= 0:
            halting.restart()

    def _lately(self, interface: Interface) -> bool:
        """Say whether nobody answered on an interface a moment ago."""
        tried = self._tried.get(interface.index)
        return tried is not None and time.monotonic() - tried < TRIED_SECONDS

    def _silent(self, link: Interface) -> bool:
        """Say whether nothing has come in for a while, or nothing of what was sent was answered."""
        now = time.monotonic()
        if self._received != (link.index, link.received):
            self._received, self._received_at = (link.index, link.received), now
        if not self._connections.unanswered():
            self._answered_at = now
        return now - min(self._received_at, self._answered_at) >= SILENT_SECONDS

    def _look_around(self) -> Interface | None:
        """Look for another interface with a carrier: a new one, or one that nobody uses."""
        outer = self._way.outer
        used = outer.addressed()
        found = [one for one in self._way.candidates() if one.index not in used and not self._lately(one)]
        for one in found:
            if not one.up and one.index not in self._known:
                outer.set_up(one.index)
        self._newcomer = next((one for one in found if one.up and one.carrier), None)
        return self._newcomer

    def _quiet(self) -> float:
        """Return for how long the laptop has not been reached, and has not called either."""
        return 0.0 if self.state is State.WELL else time.monotonic() - max(self._since, self._called_at)

    def _let_go(self) -> None:
        self._conduit.let_go(self._quiet())

    def _plug_over(self) -> None:
        """Let the newcomer be the cable; the one before it goes back outside."""
        assert self._newcomer
        self._way.unplug("wired%d")
        self._way.plug_in(self._newcomer)
        self._voice.event("plugged_over", interface=self._newcomer.name)
        self._way.has_carrier()

    def _shake(self) -> None:
        """Take an interface on which nobody answers down and up, and leave it alone for a while."""
        if link := self._way.link():
            self._tried[link.index] = time.monotonic()
            self._shaken.add(link.index)
            self._way.shake(link)

    def _rebind(self) -> None:
        """Take the link's device from its driver and give it back; too soon again, only take it down and up."""
        link, now = self._way.link(), time.monotonic()
        if not link or self._rebinding.busy() or now - self._rebound.get(link.device, -REBIND_SECONDS) < REBIND_SECONDS:
            self._shake()
            return
        self._rebound[link.device] = self._tried[link.index] = now
        self._voice.event("rebinding", bus=link.bus or "none", device=link.device or "none")
        self._rebinding.begin(link)
        self._voice.tell("nothing comes through the network adapter though its cable has a signal: it is started anew")

    def _prove(self) -> Event:
        if answers(self._session, min(ANSWER_SECONDS, SOON_SECONDS * (1 + self._in_vain))):
            self._in_vain = 0
            self._shaken.clear()
            return Event.ANSWERED
        event, link = self._nobody(), self._way.link()
        if self._in_vain in range(1, HANDSHAKES):
            self._conduit.begin_anew(self._quiet())
        again = event is Event.NOBODY and link and link.index in self._shaken
        return Event.NOBODY_AGAIN if again else event

    def _dial(self) -> Event:
        try:
            self._fit()
            self._connections.replace(self._way.segment)
        except (StiefelError, OSError):
            return self._nobody()
        return Event.CONNECTED

    def _fit(self) -> None:
        """See that no connection sends packets that the cable, which may be another one now, does not let through."""
        before = self._way.packet
        packet = self._way.fit()
        if packet != before:
            self._voice.event("packet_size", bytes=packet)
        if packet < before:
            self._connections.drop()
            if text := words(packet):
                self._voice.tell(text)

    def _nobody(self) -> Event:
        self._in_vain += 1
        if self._in_vain < PATIENCE:
            return Event.UNANSWERED
        self._in_vain = 0
        return Event.NOBODY


def duration(seconds: float) -> str:
    """Return a length of time in words: no clock, for the desktop's may be in another zone or wrong."""
    minutes, rest = divmod(int(seconds), 60)
    return (
        f"{minutes // 60} h {minutes % 60} min"
        if minutes >= 60
        else f"{minutes} min {rest} s"
        if minutes
        else f"{rest} s"
    )


def start(session: Session, way: Cable, index: int, sockets: list[socket.socket], *, restarts: bool) -> None:
    """Start the keeper of /dev/nbd<index>, in the namespace that the caller is in; KEEPER says its number.

    restarts: whether the desktop restarts by itself when the session is over.
    """
    connections = Connections(session.without_keys(), way.outside, index, sockets)
    with way.outdoors():
        deaths = Announcements(way.outside.group("nbd", "nbd_mc_group"))
    keeper = Keeper(session.without_keys(), way, connections, deaths, restarts=restarts)
    child = os.fork()
    if child == 0:
        try:
            storage_daemon.become(NAME)
            keeper.run()
        finally:
            os._exit(1)
    KEEPER.write_text(f"{child}\n")
