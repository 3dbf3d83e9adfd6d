"""Network interfaces by rtnetlink(7): the target's keeper has no disk to start `ip` from, and an initrd none to carry.

Numbers: linux/rtnetlink.h, if_link.h, if_addr.h, neighbour.h, pkt_sched.h.
"""

import errno
import socket
import struct
import sys
from dataclasses import dataclass

from stiefel_agent.machine.netlink import (
    NLA_F_NESTED,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Netlink,
    attribute,
    attributes,
)
from stiefel_agent.protocol.sizes import SIZES, USUAL

NETLINK_ROUTE = 0
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWADDR, RTM_GETADDR = 16, 17, 18, 20, 22
RTM_NEWROUTE, RTM_NEWQDISC, RTM_DELQDISC, RTM_SETNEIGHTBL = 24, 36, 37, 67
IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_MASTER, IFLA_LINKINFO = 1, 3, 4, 10, 18
IFLA_NET_NS_FD, IFLA_CARRIER, IFLA_INFO_KIND = 28, 33, 1
IFLA_STATS64, IFLA_GSO_MAX_SEGS, IFLA_PARENT_DEV_NAME, IFLA_PARENT_DEV_BUS_NAME = 23, 40, 56, 57
IFA_ADDRESS, IFA_LOCAL, IFA_F_NODAD = 1, 2, 0x02
RTA_DST, RTA_OIF, TCA_KIND, TCA_OPTIONS = 1, 4, 1, 2
NDTA_NAME, NDTA_PARMS, NDTPA_IFINDEX, NDTPA_RETRANS_TIME = 1, 6, 1, 5
IFF_UP, ARPHRD_ETHER = 1, 1
RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RTN_UNICAST = 254, 4, 0, 253, 1
TC_H_ROOT = 0xFFFFFFFF
SOLICIT_MS = 100
"""How often a neighbour on the cable that does not answer is asked for; the kernel's own is 1000."""


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface as it is now; kind is empty for hardware, `wireguard`, `veth` ... for the others."""

    index: int
    name: str
    mac: str
    up: bool
    carrier: bool
    ethernet: bool
    kind: str
    mtu: int = USUAL
    """Bytes of the largest packet that it takes now."""
    received: int = 0
    """Packets, since it is there."""
    sent: int = 0
    port: bool = False
    """It belongs to a bond, a bridge or a team."""
    bus: str = ""
    """Where its hardware is found below /sys/bus: `usb`, `pci` ..."""
    device: str = ""
    """... and its name there: `1-2:1.0`, `0000:02:00.0`."""


def decode(body: bytes) -> Interface:
    """Return the interface of an RTM_NEWLINK message."""
    _family, kind, index, flags, _change = struct.unpack_from("=BxHiII", body)
    found = attributes(body[16:])
    info = attributes(found.get(IFLA_LINKINFO, b""))
    return Interface(
        index=index,
        name=_text(found, IFLA_IFNAME),
        mac=found.get(IFLA_ADDRESS, b"").hex(":"),
        up=bool(flags & IFF_UP),
        carrier=found.get(IFLA_CARRIER, b"\0") != b"\0",
        ethernet=kind == ARPHRD_ETHER,
        kind=_text(info, IFLA_INFO_KIND),
        mtu=int.from_bytes(found.get(IFLA_MTU, b""), sys.byteorder),
        received=int.from_bytes(found.get(IFLA_STATS64, b"")[:8], sys.byteorder),
        sent=int.from_bytes(found.get(IFLA_STATS64, b"")[8:16], sys.byteorder),
        port=IFLA_MASTER in found,
        bus=_text(found, IFLA_PARENT_DEV_BUS_NAME),
        device=_text(found, IFLA_PARENT_DEV_NAME),
    )


def _text(found: dict[int, bytes], kind: int) -> str:
    return found.get(kind, b"").rstrip(b"\0").decode(errors="replace")


def _link(index: int, flags: int = 0, change: int = 0) -> bytes:
    return struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, flags, change)


def _name(name: str) -> bytes:
    return attribute(IFLA_IFNAME, name.encode() + b"\0")


class Interfaces(Netlink):
    """The interfaces of the network namespace in which this was opened: a context manager. All raise OSError."""

    def __init__(self) -> None:
        super().__init__(NETLINK_ROUTE)

    def all(self) -> list[Interface]:
        """Return every interface, by index."""
        return [decode(body) for body in self.call(RTM_GETLINK, _link(0), NLM_F_DUMP)]

    def find(self, name: str) -> Interface | None:
        """Return the interface of this name, if there is one."""
        return next((one for one in self.all() if one.name == name), None)

    def addressed(self) -> set[int]:
        """Return the indexes of interfaces with an address, IPv4 or IPv6, that is good beyond its cable."""
        bodies = self.call(RTM_GETADDR, struct.pack("=BxxxI", socket.AF_UNSPEC, 0), NLM_F_DUMP)
        headers = (struct.unpack_from("=BBBBI", body) for body in bodies)
        return {index for _family, _prefix, _flags, scope, index in headers if scope == RT_SCOPE_UNIVERSE}

    def add_wireguard(self, name: str) -> None:
        """Make a WireGuard interface, which is off and has no key; the kernel loads its module."""
        kind = attribute(IFLA_LINKINFO, attribute(IFLA_INFO_KIND, b"wireguard"))
        self.call(RTM_NEWLINK, _link(0) + _name(name) + kind, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL)

    def delete(self, index: int) -> None:
        """Take an interface that is no hardware away."""
        self.call(RTM_DELLINK, _link(index))

    def set_up(self, index: int) -> None:
        """Switch an interface on."""
        self.call(RTM_NEWLINK, _link(index, IFF_UP, IFF_UP))

    def set_down(self, index: int) -> None:
        """Switch an interface off."""
        self.call(RTM_NEWLINK, _link(index, 0, IFF_UP))

    def widen(self, index: int, size: int) -> None:
        """Let an interface take packets of this size, or of the largest of SIZES that its driver knows.

        While it is off: many drivers start their hardware anew for it, and its cable is without a signal for seconds.
        """
        for possible in (one for one in SIZES if one <= size):
            try:
                self.set_mtu(index, possible)
            except OSError:
                continue
            return

    def set_mtu(self, index: int, size: int) -> None:
        """Let an interface take packets of this size, in bytes."""
        self.call(RTM_NEWLINK, _link(index) + attribute(IFLA_MTU, struct.pack("=I", size)))

    def cut_in_software(self, index: int) -> None:
        """Give an interface packets only, and nothing that it is to cut itself (net/core/dev.c, gso_features_check)."""
        self.call(RTM_NEWLINK, _link(index) + attribute(IFLA_GSO_MAX_SEGS, struct.pack("=I", 1)))

    def move(self, index: int, namespace: int, name: str) -> None:
        """Give an interface to another network namespace (a descriptor), where it has another name; it is off there."""
        self.call(RTM_NEWLINK, _link(index) + attribute(IFLA_NET_NS_FD, struct.pack("=I", namespace)) + _name(name))

    def add_address(self, index: int, address: str, prefix: int) -> None:
        """Give an interface an IPv6 address, usable at once; it may be there already."""
        packed = socket.inet_pton(socket.AF_INET6, address)
        scope = RT_SCOPE_LINK if packed[0] == 0xFE else RT_SCOPE_UNIVERSE
        header = struct.pack("=BBBBi", socket.AF_INET6, prefix, IFA_F_NODAD, scope, index)
        payload = header + attribute(IFA_LOCAL, packed) + attribute(IFA_ADDRESS, packed)
        self.call(RTM_NEWADDR, payload, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)

    def ask_often(self, index: int) -> None:
        """Ask for neighbours on an interface every SOLICIT_MS, three times, as before (RFC 4861, section 7.2.2).

        Whoever asked in vain while the cable was out waits for its next question when it is back; and what waits with
        it (a handshake's first message) goes out in the same instant as the other end's, and WireGuard answers neither.
        """
        parameters = attribute(NDTPA_IFINDEX, struct.pack("=I", index))
        parameters += attribute(NDTPA_RETRANS_TIME, struct.pack("=Q", SOLICIT_MS))
        table = attribute(NDTA_NAME, b"ndisc_cache\0") + attribute(NDTA_PARMS | NLA_F_NESTED, parameters)
        self.call(RTM_SETNEIGHTBL, struct.pack("=Bxxx", socket.AF_INET6) + table)

    def begin_anew(self, tunnel: int, address: str, peer_address: str) -> None:
        """Take a WireGuard tunnel down and up, so that it begins a new handshake at once, with the endpoint it has.

        It forgets its keys and when it last began one (wireguard/device.c, wg_stop), which it does every 5 s at most
        (REKEY_TIMEOUT), heard or not. The kernel takes address and route away with it; connections stay.
        """
        self.set_down(tunnel)
        self.set_up(tunnel)
        self.lead_to(peer_address, tunnel, address)

    def lead_to(self, peer_address: str, tunnel: int, address: str) -> None:
        """Give a tunnel its address, and the route to the one peer that it has."""
        self.add_address(tunnel, address, 128)
        self.add_route(tunnel, peer_address)

    def add_route(self, index: int, destination: str) -> None:
        """Reach one IPv6 address by an interface."""
        header = struct.pack(
            "=BBBBBBBBI",
            *(socket.AF_INET6, 128, 0, 0, RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, RTN_UNICAST, 0),
        )
        packed = socket.inet_pton(socket.AF_INET6, destination)
        payload = header + attribute(RTA_DST, packed) + attribute(RTA_OIF, struct.pack("=i", index))
        self.call(RTM_NEWROUTE, payload, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)

    def hold_back(self, index: int) -> None:
        """Refuse whatever is to be sent by an interface, to the sender's face: a pfifo(8) of no packets.

        TCP takes that for a busy machine, not for a lost packet: it tries again every half second and does not back off
        (tcp_timer.c, tcp_retransmit_timer: TCP_RESOURCE_PROBE_INTERVAL), however long it takes.
        """
        header = struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, 0, TC_H_ROOT, 0)
        options = attribute(TCA_KIND, b"pfifo\0") + attribute(TCA_OPTIONS, struct.pack("=I", 0))
        self.call(RTM_NEWQDISC, header + options, NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE)

    def let_go(self, index: int) -> None:
        """Send again what comes; nothing to do if nothing was held back."""
        header = struct.pack("=BxxxiIII", socket.AF_UNSPEC, index, 0, TC_H_ROOT, 0)
        try:
            self.call(RTM_DELQDISC, header)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL):
                raise
