"""The WireGuard tunnel under a session's block traffic: the same three steps on laptop and target."""

from __future__ import annotations

import base64
import subprocess

from stiefel_agent.errors import TunnelFailed
from stiefel_agent.machine import netdev
from stiefel_agent.protocol.session import TUNNEL

PORT = 61572
"""UDP port that the server's end listens on."""
SERVER_ADDRESS = "fd73:7469:6566:656c::1"
CLIENT_ADDRESS = "fd73:7469:6566:656c::2"
"""Addresses inside the tunnel: unique local (RFC 4193), the prefix spells "stiefel"."""
MTU = 1420
"""1500 less IPv6 (40), UDP (8) and WireGuard (32) headers."""


def new_private_key() -> str:
    """Return a fresh private key, base64 (wg(8), genkey)."""
    return _wg("genkey")


def public_key(private_key: str) -> bytes:
    """Return the 32 bytes of a private key's public half."""
    return base64.b64decode(_wg("pubkey", private_key))


def _wg(command: str, text: str | None = None) -> str:
    done = subprocess.run(["wg", command], input=text, capture_output=True, text=True, check=False)
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
"""


def create(configuration: str, address: str, peer_address: str) -> None:
    """Make `stiefeltunnel` anew with one peer.

    A tunnel of an earlier session, and with it that session's peer, is gone before the new one exists: a ghost that
    comes back finds nobody who knows its key.

    Raises:
        LinkFailed: with what ip said; TunnelFailed: with what wg said.
    """
    remove()
    netdev.ip("link", "add", "dev", TUNNEL, "type", "wireguard")
    netdev.wg_setconf(TUNNEL, configuration)
    netdev.ip("address", "add", f"{address}/128", "dev", TUNNEL, "nodad")
    netdev.ip("link", "set", "dev", TUNNEL, "mtu", str(MTU), "up")
    netdev.ip("route", "add", f"{peer_address}/128", "dev", TUNNEL)


def remove() -> None:
    """Take the tunnel down, if there is one: from then on no packet of its peer is accepted."""
    if netdev.exists(TUNNEL):
        netdev.ip("link", "delete", "dev", TUNNEL)


def transferred() -> tuple[int, int]:
    """Return the bytes received from and sent to the peer so far (wg(8), show transfer)."""
    done = subprocess.run(["wg", "show", TUNNEL, "transfer"], capture_output=True, text=True, check=False)
    numbers = done.stdout.split()
    return (int(numbers[1]), int(numbers[2])) if len(numbers) == 3 else (0, 0)
