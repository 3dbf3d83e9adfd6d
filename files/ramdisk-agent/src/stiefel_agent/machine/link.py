"""The cable as the agent sees it: which interfaces are wired, and the socket that discovery speaks through."""

from __future__ import annotations

import errno
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from stiefel_agent.machine import netdev, rtnl, sysfs
from stiefel_agent.protocol.discovery import Address, Datagram
from stiefel_agent.protocol.meeting import GROUP, PORT
from stiefel_agent.protocol.sizes import LARGEST, USUAL

_ARPHRD_ETHER = "1"  # linux/if_arp.h


@dataclass(frozen=True, slots=True)
class Wired:
    """A wired network interface as it is now."""

    name: str
    index: int
    mac: str
    up: bool
    carrier: bool
    address: str | None
    """Its usable link-local address, None while it has none."""
    used: bool = False
    """It has sent something since it appeared, so it was up."""
    port: bool = False
    """It belongs to a bond, a bridge or a team, which speaks in its stead."""
    mtu: int = USUAL
    """Bytes of the largest packet that it takes."""


def _is_wired(folder: Path) -> bool:
    """Say whether an interface is Ethernet hardware of this machine: no radio, no bridge, no tunnel."""
    if sysfs.read(folder / "type") != _ARPHRD_ETHER or not (folder / "device").exists():
        return False
    return not (folder / "wireless").exists() and not (folder / "phy80211").exists()


def wired_names(net: Path = netdev.SYS_NET) -> list[str]:
    """Return the names of the wired interfaces, in order."""
    return [folder.name for folder in sorted(net.iterdir()) if _is_wired(folder)] if net.is_dir() else []


def wired() -> list[Wired]:
    """Return the wired interfaces of this machine, by name. Raises OSError if the kernel does not say.

    In one question to the kernel for all of them: a desktop may have 64, and is asked again at each of their changes.
    """
    addresses = netdev.link_local_addresses()
    with rtnl.Interfaces() as kernel:
        there = sorted(kernel.all(), key=lambda one: one.name)
    return [
        Wired(
            one.name, one.index, one.mac, one.up, one.up and one.carrier, addresses.get(one.name),
            used=one.sent > 0, port=one.port, mtu=one.mtu,
        )
        for one in there
        if _is_wired(netdev.SYS_NET / one.name)
    ]  # fmt: skip


def carried(interfaces: list[Wired]) -> bool:
    """Say whether some cable leads somewhere."""
    return any(one.carrier for one in interfaces)


def make_reachable(*interfaces: Wired) -> None:
    """See that a desktop at these interfaces' cables can be heard and answered, whoever else manages them.

    NetworkManager takes the link-local address away again when no DHCP server answers, and at the end of a mere cable
    there is none. Another link-local address disturbs nobody. An interface that is just being renamed or taken away
    comes back as a change.
    """
    with suppress(OSError), rtnl.Interfaces() as kernel:
        for interface in interfaces:
            with suppress(OSError):
                _make_reachable(kernel, interface)


def _make_reachable(kernel: rtnl.Interfaces, interface: Wired) -> None:
    if not interface.up:
        kernel.set_up(interface.index)
    elif interface.carrier and interface.address is None:
        with suppress(OSError):
            _speak_ipv6(netdev.IPV6_CONF / interface.name)
        kernel.add_address(interface.index, netdev.eui64_address(interface.mac), 64)


def _speak_ipv6(conf: Path) -> None:
    """Switch IPv6 on for one interface, if it is off there (NetworkManager's ipv6.method=disabled, or sysctl).

    Whoever switched it off wants no address from a router: none is taken. What comes on is the link's own, and at once.
    """
    if sysfs.read(conf / "disable_ipv6") == "1":
        for setting in ("accept_ra", "autoconf", "accept_dad", "disable_ipv6"):
            (conf / setting).write_text("0")


def made_reachable(size: int = 0) -> list[Wired]:
    """Make every wired interface of this machine reachable; return them as they were found.

    What is switched on for it takes packets of this size, where its driver knows them, and what is on no larger ones;
    0: of the size that is set.
    """
    interfaces = wired()
    with suppress(OSError), rtnl.Interfaces() as kernel:
        for one in interfaces:
            if size and (one.mtu > size or not one.up):
                kernel.widen(one.index, size)
            with suppress(OSError):
                kernel.ask_often(one.index)
            with suppress(OSError):
                _make_reachable(kernel, one)
    return interfaces


def narrow(interfaces: list[Wired]) -> None:
    """Let interfaces take no more than is usual: some drivers promise larger packets, and then hear none at all."""
    if large := [one for one in interfaces if one.mtu > USUAL]:
        with suppress(OSError), rtnl.Interfaces() as kernel:
            for one in large:
                kernel.set_mtu(one.index, USUAL)


def driver(interface: str) -> str:
    """Return the name of an interface's driver, empty if it will not say."""
    link = netdev.SYS_NET / interface / "device/driver"
    return link.resolve().name if link.exists() else ""


class DiscoverySocket:
    """A UDP socket for discovery on every wired interface; it follows interfaces that come and go.

    Without `listen` it takes unicast only: what a client needs. Non-blocking.
    """

    def __init__(self, *, listen: bool, port: int = PORT) -> None:
        self._listen, self._port = listen, port
        self._joined: set[int] = set()
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # The cable is one hop long; and our own beacons are no news to us.
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 1)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
        self._socket.setsockopt(socket.IPPROTO_IPV6, netdev.IPV6_DONTFRAG, 1)  # a probe in pieces would prove nothing
        self._socket.bind(("::", port))

    def fileno(self) -> int:
        """Return the file descriptor, for select."""
        return self._socket.fileno()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def follow(self, interfaces: list[Wired]) -> None:
        """Join the group of beacons on interfaces that are new, forget those that are gone."""
        present = {interface.index for interface in interfaces}
        self._joined &= present
        for index in present - self._joined if self._listen else ():
            membership = socket.inet_pton(socket.AF_INET6, GROUP) + struct.pack("@I", index)
            try:
                self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, membership)
            except OSError as error:
                if error.errno != errno.EADDRINUSE:  # joined before, by an index that came back
                    continue
            self._joined.add(index)

    def beacon(self, data: bytes, interface: Wired) -> bool:
        """Send a beacon on one interface; False if it cannot send now."""
        return self._send(data, (GROUP, self._port, 0, interface.index))

    def send(self, datagram: Datagram) -> None:
        """Send an answer, or a probe. A datagram that cannot be sent is lost, as on any network."""
        self._send(datagram.data, datagram.to)

    def _send(self, data: bytes, to: Address) -> bool:
        try:
            self._socket.sendto(data, to)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[bytes, Address] | None:
        """Return one datagram and its source, None when there is none left."""
        with suppress(OSError):
            data, (host, port, flow, scope) = self._socket.recvfrom(LARGEST)
            return data, (host.partition("%")[0], port, flow, scope)
        return None
