"""A session's beginning: what a desktop is promised, and the system that it is given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address

from stiefel_agent import config
from stiefel_agent.machine import tunnel
from stiefel_agent.protocol import clock
from stiefel_agent.protocol.bundle import Encoder, Manifest
from stiefel_agent.protocol.handshake import Asked, Secrets
from stiefel_agent.protocol.messages import Grant, Tunnel, displayable
from stiefel_agent.server import export
from stiefel_agent.server.connections import Connection
from stiefel_agent.server.releases import PORT as RELEASE_PORT


@dataclass(frozen=True, slots=True)
class Request:
    """A desktop that has proven the key and asks for the disk."""

    connection: Connection
    asked: Asked


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a session's beginning has beside the session: it ends with the agent, as the desktop's attempt does."""

    connection: Connection
    secrets: Secrets
    private_key: str = field(repr=False)
    """Of the tunnel's end on the laptop; empty without encryption."""


def promise(private_key: str, name: str, connections: int, block_size: int, laptop: bytes) -> Grant:
    """Return where disk and release will be; `name`: the export's; `laptop`: see Grant. Raises TunnelFailed."""
    end = None
    if private_key:
        addresses = IPv6Address(tunnel.SERVER_ADDRESS), IPv6Address(tunnel.CLIENT_ADDRESS)
        end = Tunnel(tunnel.public_key(private_key), tunnel.PORT, *addresses)
    return Grant(
        tunnel=end,
        nbd_port=export.PORT,
        export=name,
        connections=connections,
        block_size=block_size,
        release_port=RELEASE_PORT,
        laptop=laptop,
    )


def manifest(laptop: str) -> Manifest:
    """Return the manifest of the bundle that autokexec appended to this ramdisk."""
    folder = config.BUNDLE_FOLDER
    return Manifest(
        laptop=displayable(laptop),
        kernel_version=(folder / "kernel-version").read_text().strip(),
        command_line=(folder / "cmdline").read_text().strip(),
        kernel_size=(folder / "vmlinuz").stat().st_size,
        initrd_size=(folder / "initrd.img").stat().st_size,
    )


def timed(contents: Manifest, now: float) -> Manifest:
    """Return the manifest with the time (seconds since 1970) in front of its command line: what ends it is init's."""
    return replace(contents, command_line=f"{clock.word(now)} {contents.command_line}")


def bundle(secrets: Secrets, contents: Manifest) -> Iterator[bytearray]:
    """Yield the bundle's sealed frames; its files are closed when it ends, or when nobody wants it any more."""
    folder = config.BUNDLE_FOLDER
    with (folder / "vmlinuz").open("rb") as kernel, (folder / "initrd.img").open("rb") as initrd:
        yield from Encoder(secrets.bundle_key, contents, kernel, initrd)
