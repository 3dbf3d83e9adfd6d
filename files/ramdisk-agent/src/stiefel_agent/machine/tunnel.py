"""The WireGuard tunnel under a session's block traffic: the same three steps on laptop and target."""

from __future__ import annotations

import base64
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from stiefel_agent.errors import LinkFailed, TunnelFailed
from stiefel_agent.machine import genl, netdev, program, rtnl, wireguard
from stiefel_agent.protocol.session import TUNNEL
from stiefel_agent.protocol.sizes import USUAL, tunnel_mtu
from stiefel_agent.protocol.supply import PORT as EAR

PORT = 61572
"""UDP port that the server's end listens on."""
SERVER_ADDRESS = "fd73:7469:6566:656c::1"
CLIENT_ADDRESS = "fd73:7469:6566:656c::2"
"""Addresses inside the tunnel: unique local (RFC 4193), the prefix spells "stiefel"."""
KEY_SECONDS = 5.0
"""Drawing a key and its public half is arithmetic: it waits for nobody."""
KEEPALIVE_SECONDS = 10
"""How often each end is heard although it has nothing to say. Both ends: when one clock is set back, WireGuard takes no
handshake of that end until its time has come again (its TAI64N stamps must grow), so the other one has to begin it."""


def new_private_key() -> str:
    """Return a fresh private key, base64 (wg(8), genkey)."""
    return _wg("genkey")


def public_key(private_key: str) -> bytes:
    """Return the 32 bytes of a private key's public half."""
    return base64.b64decode(_wg("pubkey", private_key))


def _wg(command: str, text: str | None = None) -> str:
    done = program.run("wg", command, text=text, seconds=KEY_SECONDS)
    if done.returncode:
        raise TunnelFailed(f"wg {command}: {done.stderr.strip()}")
    return done.stdout.strip()


def encode(key: bytes) -> str:
    """Return a key as wg(8) and session.json write it: base64."""
    return base64.b64encode(key).decode()


def server_configuration(private_key: str, peer: bytes, preshared_key: bytes) -> str:
    """Return what `wg setconf` reads on the laptop: exactly one peer, the target, with nothing but its address."""
    return f"""[Interface]
PrivateKey = {private_key}
ListenPort = {PORT}
[Peer]
PublicKey = {encode(peer)}
PresharedKey = {encode(preshared_key)}
AllowedIPs = {CLIENT_ADDRESS}/128
PersistentKeepalive = {KEEPALIVE_SECONDS}
"""


def create(configuration: str, address: str, peer_address: str, size: int = USUAL) -> None:
    """Make `stiefeltunnel` anew with one peer, over a cable that takes packets of this size.

    A tunnel of an earlier session, and with it that session's peer, is gone before the new one exists: a ghost that
    comes back finds nobody who knows its key.

    Raises:
        LinkFailed: with what the kernel said; TunnelFailed: with what wg said.
    """
    remove()
    with _interfaces() as kernel:
        kernel.add_wireguard(TUNNEL)
        netdev.wg_setconf(TUNNEL, configuration)
        index = socket.if_nametoindex(TUNNEL)
        kernel.set_mtu(index, tunnel_mtu(size))
        kernel.set_up(index)
        kernel.lead_to(peer_address, index, address)


@contextmanager
def _interfaces() -> Iterator[rtnl.Interfaces]:
    """Speak to the kernel about the tunnel; raises LinkFailed with what it refuses."""
    try:
        with rtnl.Interfaces() as kernel:
            yield kernel
    except OSError as error:
        raise LinkFailed(f"the tunnel {TUNNEL} cannot be set up: {error.strerror or error}") from error


def put_back(address: str, peer_address: str) -> bool:
    """Give a tunnel back what was taken from it; False if there was nothing to do. Raises LinkFailed.

    `net.ipv6.conf.all.disable_ipv6=1`, even for a second, takes address and route for good (ip-sysctl.rst).
    """
    if not exists() or netdev.has_address(TUNNEL, address):
        return False
    (netdev.IPV6_CONF / TUNNEL / "disable_ipv6").write_text("0")
    with _interfaces() as kernel:
        kernel.lead_to(peer_address, socket.if_nametoindex(TUNNEL), address)
    return True


def call(peer: str, address: str, *, anew: bool) -> None:
    """Send the target a word by way of this link-local address (`fe80::1%eth0`): from there on it answers where we are.

    WireGuard follows a peer that speaks from another address, and each end only knows where the other one was last. The
    word wakes the target's keeper, which hears it as it hears of the laptop's power; an empty one says nothing of that.
    `anew`: the keys may be too old to send it with.

    Raises:
        OSError: the interface or the tunnel is gone, or cannot send.
    """
    ends = dict(line.split("\t") for line in program.run("wg", "show", TUNNEL, "endpoints").stdout.splitlines())
    port = ends.get(peer, "").rpartition(":")[2]
    if not port.isdigit():
        return  # it has never been heard
    with genl.GenericNetlink() as netlink:
        wireguard.set_endpoint(netlink, TUNNEL, peer, netdev.socket_address(address, int(port)))
    if anew:
        with rtnl.Interfaces() as interfaces:
            interfaces.begin_anew(socket.if_nametoindex(TUNNEL), SERVER_ADDRESS, CLIENT_ADDRESS)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as word:
        word.sendto(b"", (CLIENT_ADDRESS, EAR))


def hold_back(held: bool) -> None:
    """Send nothing into the tunnel while no cable leads anywhere, so that TCP does not back off; see `rtnl`.

    Without a tunnel nothing is done. Raises OSError.
    """
    with rtnl.Interfaces() as interfaces:
        if tunnel := interfaces.find(TUNNEL):
            (interfaces.hold_back if held else interfaces.let_go)(tunnel.index)


def remove() -> None:
    """Take the tunnel down, if there is one: from then on no packet of its peer is accepted."""
    if netdev.exists(TUNNEL):
        with _interfaces() as kernel:
            kernel.delete(socket.if_nametoindex(TUNNEL))


def peers() -> list[str]:
    """Return the public keys (base64) of the tunnel's peers; none if there is no tunnel."""
    return program.run("wg", "show", TUNNEL, "peers").stdout.split()


def exists() -> bool:
    """Say whether there is a tunnel."""
    return netdev.exists(TUNNEL)


def transferred() -> tuple[int, int]:
    """Return the bytes received from and sent to the peer so far (wg(8), show transfer)."""
    done = program.run("wg", "show", TUNNEL, "transfer")
    numbers = done.stdout.split()
    return (int(numbers[1]), int(numbers[2])) if len(numbers) == 3 else (0, 0)
