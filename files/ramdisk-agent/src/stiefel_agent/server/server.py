"""The server, on the laptop: hold the disk, answer the desktop, give it bundle and disk, go home when it is done.

One loop, one thread: discovery, handshakes and the release are all answered while a bundle is on its way. What may
happen when is `sessions.TABLE`, and what is done then is in `acts`; here is heard what happens: on the wire, at the
keys, to the interfaces, as time goes by. Should it die, its next life goes on where it was.
"""

from __future__ import annotations

import os
import selectors
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

from stiefel_agent import config
from stiefel_agent.config import AfterSession
from stiefel_agent.face import screen, status
from stiefel_agent.face.console import event, say
from stiefel_agent.machine import disk, link, netdev, program
from stiefel_agent.protocol.discovery import Answerer, Datagram
from stiefel_agent.protocol.keys import Key, unlocked
from stiefel_agent.protocol.meeting import PORT
from stiefel_agent.protocol.messages import Challenge, Stage, displayable
from stiefel_agent.server import ports
from stiefel_agent.server.acts import Acts
from stiefel_agent.server.errands import Errands
from stiefel_agent.server.feed import Feed
from stiefel_agent.server.page import Page
from stiefel_agent.server.person import Person
from stiefel_agent.server.sessions import State
from stiefel_agent.server.way import Way

TICK_SECONDS = 1.0
LEAVE_SECONDS = 2.0
"""How often systemd is asked to restart the laptop while it does not."""
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
        goes_off = settings.after_session is AfterSession.POWEROFF
        self._page = Page(settings.laptop, encrypted=self._way.encrypted, goes_off=goes_off)
        disk.refuse_hibernated(settings.disk)
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self._acts = Acts(settings, keyring, self._way, self._page, self._selector, look_around=self._show_links)
        challenge = Challenge(Stage.SERVER, displayable(settings.laptop), PORT)
        self._answerer = Answerer(keyring, challenge, witness=self._acts.witness, largest=self._largest)
        self._wire = stack.enter_context(link.DiscoverySocket(listen=True))
        self._changes = stack.enter_context(netdev.LinkEvents())
        self._listener = stack.enter_context(ports.listening("::", PORT))
        self._links = Errands(self._selector)
        self._interfaces, self._changed = link.wired(), False
        self._feed = Feed(self._selector, stack, self._page.warn, beeps=settings.beeps)
        self._person = Person()

    def run(self) -> str:
        """Serve until the laptop goes home; return how: what systemctl(1) calls `reboot` or `poweroff`."""
        if sys.stdin.isatty():
            screen.take_keys(sys.stdin.fileno())
            self._selector.register(sys.stdin, selectors.EVENT_READ, self._keys)
        self._find()
        self._acts.answer(self._listener, self._answerer.challenges)
        self._selector.register(self._wire, selectors.EVENT_READ, self._hear)
        self._selector.register(self._changes, selectors.EVENT_READ, self._links_changed)
        self._links_changed()
        self._advise()
        found = self._acts.disk
        event("server_ready", disk=found.path, bytes=found.size, encryption=self._settings.encryption)
        while self._acts.state is not State.HOME:
            self._turn()
            self._tick(time.monotonic())
        return "poweroff" if self._acts.goes_off else "reboot"

    def _find(self) -> None:
        """Let what an earlier life of this agent has left be dealt with, before anybody is answered."""
        self._acts.find()
        while self._acts.errands.under_way and self._acts.state is not State.HOME:
            self._turn()

    def _turn(self) -> None:
        """Hear what has come, wherever from; wait for it a little."""
        for ready, mask in self._selector.select(TICK_SECONDS):
            ready.data(mask)

    def _tick(self, now: float) -> None:
        """See to what has waited too long, and to the screen."""
        self._acts.tick(now)
        self._feed.tick(now, self._acts.target)
        self._advise()

    # The wire.

    def _links_changed(self, _: int = 0) -> None:
        """See to the interfaces, beside the loop; what changes meanwhile is seen to after that."""
        self._changes.drain()
        self._changed = True
        if not self._links.under_way:
            self._changed = False
            serving = self._acts.state is State.SERVING
            self._links.send(lambda: self._tended(serving), self._tend)

    def _tended(self, serving: bool) -> list[link.Wired]:
        """Switch on what is off, give the tunnel back what was taken from it; return the interfaces as they were."""
        interfaces = link.made_reachable(self._settings.mtu)
        if serving:
            self._way.put_back()
            self._way.hold_back(not link.carried(interfaces))
        return interfaces

    def _tend(self, interfaces: list[link.Wired]) -> None:
        """Call on what is new, and show what there is."""
        self._interfaces = interfaces
        self._wire.follow(interfaces)
        self._acts.guard.link_changed(interfaces)
        self._show_links()
        if self._changed:
            self._links_changed()

    def _largest(self, index: int) -> int:
        """Return the largest packet that an interface may be sent."""
        taken = next((one.mtu for one in self._interfaces if one.index == index), 0)
        return min(taken, self._settings.mtu)

    def _show_links(self) -> None:
        if self._acts.state is State.WAITING:
            self._page.waiting(status.interfaces(self._interfaces, "listening"))

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
            if decided := self._person.press(key, self._acts.state):
                self._acts.obey(decided)
            self._advise()

    def _advise(self) -> None:
        session = self._acts.session
        self._page.advise(self._acts.state, session.facts.desktop if session else "", sure=self._person.sure)


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
        time.sleep(LEAVE_SECONDS)


def main() -> NoReturn:
    """Run the server on the ramdisk's first console, then restart the laptop, or switch it off."""
    screen.wake_console(DARK_MINUTES)
    settings = config.ServerConfig.load(config.SERVER_FILE)
    wait_for_disk(settings.disk)
    with ExitStack() as stack:
        verb = Server(settings, unlocked(config.read_keys()), stack).run()
    leave(verb)
    sys.exit(0)
