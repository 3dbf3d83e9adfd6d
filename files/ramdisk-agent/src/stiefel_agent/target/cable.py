"""The cable, seen from the target: a wired interface in a network namespace of its own, whichever leads to the laptop.

Everything that reaches the disk (interface, tunnel, connections) is in the namespace `stiefel`, so that nothing in the
target's own network can reach, filter, rename or take it: no user's process, firewall, network manager, or sysctl.
"""

import os
import select
import socket
import time
from contextlib import AbstractContextManager, ExitStack, suppress
from pathlib import Path
from typing import Self

from stiefel_agent.errors import LaptopSilent, LinkFailed
from stiefel_agent.machine import netdev, netns
from stiefel_agent.machine.genl import GenericNetlink
from stiefel_agent.machine.rtnl import Interface, Interfaces
from stiefel_agent.protocol.session import LINK, TUNNEL, Session
from stiefel_agent.protocol.sizes import SMALLEST, segment, tunnel_mtu
from stiefel_agent.target import fitting

CARRIER_SECONDS = 5.0
"""How long an interface that was just switched on may take to find its cable's other end."""
ANSWER_SECONDS = 6.0
"""How long the laptop may take to answer: WireGuard asks again after 5 s."""
HARDWARE = {""}
"""Kinds of interface (rtnl.Interface.kind) that a cable can be plugged into; tests add veth."""

DEFAULTS = {"disable_ipv6": 0, "addr_gen_mode": 1, "accept_dad": 0, "accept_ra": 0}
"""What an interface gets that comes into the namespace (ip-sysctl): only the addresses that we give it, at once."""


class Cable:
    """The namespace with what is plugged into it, and the one outside, where interfaces come from.

    Made outside, it enters the namespace: whoever made it stays there. `outside` is where the kernel's nbd driver
    listens, for it knows the first namespace only (it is not `netnsok`, linux/genetlink.h).
    """

    def __init__(self, session: Session, home: Path = netns.HOME) -> None:
        self._session = session
        self._lit: set[int] = set()
        self._before: int | None = None
        """What the interface that is plugged in took outside, in bytes."""
        self._usual: set[int] = set()
        """Interfaces on which nobody answered when they took more: some drivers promise it, and hear nothing then. The
        next try is without, the one after that with it again."""
        self.packet = SMALLEST
        """The largest packet that is known to get through the cable."""
        self._stack = ExitStack()
        self._wireless = os.open(netdev.SYS_NET, os.O_PATH | os.O_CLOEXEC)
        self._own = os.open(netns.OWN, os.O_RDONLY | os.O_CLOEXEC)
        self._namespace = netns.create(home)
        self.outside = self._stack.enter_context(GenericNetlink())
        self.outer = self._stack.enter_context(Interfaces())
        self.events = [self._stack.enter_context(netdev.LinkEvents())]
        netns.enter(self._namespace)
        self.inner = self._stack.enter_context(Interfaces())
        self.events.append(self._stack.enter_context(netdev.LinkEvents()))
        for name, value in DEFAULTS.items():
            (netdev.IPV6_CONF / "default" / name).write_text(str(value))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for descriptor in (self._wireless, self._own, self._namespace):
            os.close(descriptor)

    def outdoors(self) -> AbstractContextManager[None]:
        """Be outside for a while, as long as /proc is where it was."""
        return netns.inside(self._own)

    def wait(self, seconds: float) -> bool:
        """Wait for a change of any interface, inside or outside; False when there was none within the time."""
        ready, _, _ = select.select(self.events, [], [], seconds)
        for events in ready:
            events.drain()
        return bool(ready)

    def link(self) -> Interface | None:
        """Return the interface that is plugged in, if there is one."""
        return self.inner.find(LINK)

    def candidates(self) -> list[Interface]:
        """Return the wired interfaces outside, the one that the session came over first: its MAC is only a hint."""
        found = [one for one in self.outer.all() if one.ethernet and one.kind in HARDWARE and not self._radio(one)]
        return sorted(found, key=lambda one: (one.mac != self._session.mac, one.index))

    def _radio(self, interface: Interface) -> bool:
        for sign in ("wireless", "phy80211"):
            try:
                os.stat(f"{interface.name}/{sign}", dir_fd=self._wireless)
            except OSError:
                continue
            return True
        return False

    def light_up(self) -> list[Interface]:
        """Switch on what is off outside, for a carrier to be seen; return the candidates as they are then.

        What the session came over is plugged in whatever its carrier: to switch it on here, and again there, would only
        take the time of its hardware.
        """
        for one in self.candidates():
            if not one.up and one.mac != self._session.mac:
                self.outer.set_up(one.index)
                self._lit.add(one.index)
        return self.candidates()

    def leave_dark(self) -> None:
        """Switch off again what was only switched on to be looked at.

        NetworkManager takes an interface that is up for somebody else's ("connected (externally)") and asks for no
        address there: the target would have no network but the cable.
        """
        for one in self.candidates():
            if one.index in self._lit:
                self.outer.set_down(one.index)

    def plug_in(self, interface: Interface) -> None:
        """Take an interface into the namespace, with the session's address. Raises LinkFailed."""
        try:
            self.outer.move(interface.index, self._namespace, LINK)
            link = self.link()
            if link is None:
                raise LinkFailed(f"{interface.name} vanished")
            self._before = link.mtu
            if link.index in self._usual:
                self._usual.discard(link.index)
            elif link.mtu < self._session.packet:
                self.inner.widen(link.index, self._session.packet)
            self._switch_on(link)
        except OSError as error:
            raise LinkFailed(f"{interface.name}: {error.strerror}") from error

    def _switch_on(self, link: Interface) -> None:
        """Switch the interface on, with the session's own address: without encryption the laptop lets in no other."""
        self.inner.set_up(link.index)
        self.inner.ask_often(link.index)
        self.inner.add_address(link.index, netdev.eui64_address(self._session.mac), 64)

    def shake(self, link: Interface) -> None:
        """Switch the interface off and on, as it was outside.

        Its address goes with it: `keep_addr_on_down` keeps global ones only.
        """
        self.inner.set_down(link.index)
        self._narrow(link)
        self._switch_on(link)

    def unplug(self, name: str) -> None:
        """Give the interface back to those outside, under its old name; it may be gone. Raises LinkFailed."""
        if link := self.link():
            try:
                self._narrow(link)
                self.inner.move(link.index, self._own, name)
            except OSError as error:
                raise LinkFailed(f"{name}: {error.strerror}") from error

    def _narrow(self, link: Interface) -> None:
        """Take back what was done for larger packets."""
        if self._before is not None and self._before != link.mtu:
            self.inner.set_mtu(link.index, self._before)
            if link.carrier:
                self._usual.add(link.index)

    def has_carrier(self, seconds: float = CARRIER_SECONDS) -> bool:
        """Say whether there is a signal on the cable, now or within so many seconds."""
        deadline = time.monotonic() + seconds
        while not ((link := self.link()) and link.up and link.carrier):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self.wait(left)
        return True

    def fit(self) -> int:
        """Find out how large a packet gets to the laptop and back; tunnel and new connections use that from now on.

        If nothing comes back, it stays as it was.
        """
        with suppress(OSError):
            link, tunnel = self.link(), self.inner.find(TUNNEL)
            most = min(self._session.packet, link.mtu) if link else self._session.packet
            if tunnel:
                self.inner.set_mtu(tunnel.index, tunnel_mtu(most))
            self.packet = fitting.passing(self._session, most) or self.packet
            if tunnel:
                self.inner.set_mtu(tunnel.index, tunnel_mtu(self.packet))
        return self.packet

    @property
    def segment(self) -> int:
        """Bytes of the largest TCP segment on the way to the disk."""
        return segment(self.packet, tunnel=self._session.wireguard is not None)


def answers(session: Session, seconds: float) -> bool:
    """Say whether the laptop is at the other end: only it knows the tunnel's keys. A refusal is an answer, too."""
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as connection:
        connection.settimeout(seconds)
        try:
            connection.connect(netdev.socket_address(session.server_host, session.nbd.port))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return True


def silent(interfaces: list[Interface], answered: bool) -> LaptopSilent:
    """Return what is wrong, in words: no adapter, no carrier, or nobody there."""
    names = ", ".join(one.name for one in interfaces)
    if not names:
        return LaptopSilent("no wired network adapter is there yet")
    return LaptopSilent(f"nobody answers on {names}" if answered else f"no carrier on {names}")
