"""WireGuard over generic netlink: what the keeper changes without a program. Numbers: linux/wireguard.h."""

import base64
import socket
import struct

from stiefel_agent.machine.genl import GenericNetlink
from stiefel_agent.machine.netlink import NLA_F_NESTED, attribute

WG_CMD_SET_DEVICE = 1
WGDEVICE_A_IFNAME, WGDEVICE_A_PEERS = 2, 8
WGPEER_A_PUBLIC_KEY, WGPEER_A_FLAGS, WGPEER_A_ENDPOINT = 1, 3, 4
WGPEER_F_UPDATE_ONLY = 1 << 2
STALE_SECONDS = 45.0
"""After so long without a word from the other end its keys may be too old. They are renewed when they are 120 s old and
refused when they are 180 s old (wireguard/messages.h), and it takes up to 13 s to notice a silence."""


def endpoint_attributes(interface: str, peer: str, endpoint: tuple[str, int, int, int]) -> bytes:
    """Return what gives a peer (public key, base64) another endpoint: IPv6 address, port, flow, scope."""
    host, port, flow, scope = endpoint
    address = struct.pack("=H", socket.AF_INET6) + struct.pack(">H", port) + struct.pack("=I", flow)
    address += socket.inet_pton(socket.AF_INET6, host.partition("%")[0]) + struct.pack("=I", scope)
    item = b"".join(
        (
            attribute(WGPEER_A_PUBLIC_KEY, base64.b64decode(peer)),
            attribute(WGPEER_A_FLAGS, struct.pack("=I", WGPEER_F_UPDATE_ONLY)),
            attribute(WGPEER_A_ENDPOINT, address),
        )
    )
    peers = attribute(NLA_F_NESTED, item)
    name = attribute(WGDEVICE_A_IFNAME, interface.encode() + b"\0")
    return name + attribute(WGDEVICE_A_PEERS | NLA_F_NESTED, peers)


def set_endpoint(netlink: GenericNetlink, interface: str, peer: str, endpoint: tuple[str, int, int, int]) -> None:
    """Give a peer of a WireGuard interface another endpoint. Raises OSError."""
    payload = endpoint_attributes(interface, peer, endpoint)
    netlink.ask(netlink.family("wireguard"), WG_CMD_SET_DEVICE, payload)
