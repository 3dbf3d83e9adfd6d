"""session.json: everything the target must know to attach its disk. Schema: docs/architecture.md.

Strict in both directions: an object that exists is valid, so client and target cannot disagree.
"""

import base64
import binascii
import json
import re
import socket
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from stiefel_agent.errors import SessionInvalid
from stiefel_agent.protocol.meeting import DATAGRAM_SIZE
from stiefel_agent.protocol.sizes import LARGEST, SMALLEST, USUAL

IN_INITRD = Path("/etc/stiefel/session.json")
"""Where the client's appended cpio puts the session, secrets included."""

IN_TARGET = Path("/run/stiefel/session.json")
"""The copy without keys that attach leaves; it exists if and only if this system is a target."""

KEEPER = Path("/run/stiefel/keeper.pid")
"""The number of the process that keeps the cable's network namespace, and the disk in it."""

LINK = "stiefellink"
TUNNEL = "stiefeltunnel"
VERSION = 1


def _demand(condition: bool, what: str) -> None:
    if not condition:
        raise SessionInvalid(what)


def _looks_like(pattern: str, value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _demand_port(port: object, what: str) -> None:
    _demand(type(port) is int and 0 < port < 65536, f"{what} is not a port number")


def _demand_address(address: object, what: str) -> None:
    try:
        socket.inet_pton(socket.AF_INET6, address if isinstance(address, str) else "")
    except (OSError, ValueError):
        raise SessionInvalid(f"{what} is not an IPv6 address") from None


def _demand_key(key: object, what: str) -> None:
    try:
        raw = base64.b64decode(key if isinstance(key, str) else "", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    _demand(len(raw) == 32, f"{what} is not 32 bytes of base64")


@dataclass(frozen=True)
class WireGuard:
    """One end of the tunnel: keys in base64 (32 bytes), the peer's UDP port, IPv6 addresses inside.

    The private and the pre-shared key are None in the copy that stays in the running target, and only there.
    """

    peer_public_key: str
    port: int
    address: str
    peer_address: str
    private_key: str | None = field(default=None, repr=False)
    preshared_key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _demand_key(self.peer_public_key, "wireguard.peer_public_key")
        _demand_port(self.port, "wireguard.port")
        _demand_address(self.address, "wireguard.address")
        _demand_address(self.peer_address, "wireguard.peer_address")
        _demand((self.private_key is None) == (self.preshared_key is None), "a wireguard key is missing")
        if self.private_key is not None:
            _demand_key(self.private_key, "wireguard.private_key")
            _demand_key(self.preshared_key, "wireguard.preshared_key")


@dataclass(frozen=True)
class Nbd:
    """The export: TCP port, name (at most 255 bytes), number of connections, logical sector size in bytes.

    Whoever knows the name gets the disk: it is None in the copy that stays in the running target, and only there.
    """

    port: int
    export: str | None = field(repr=False)
    connections: int
    block_size: int

    def __post_init__(self) -> None:
        _demand_port(self.port, "nbd.port")
        if self.export is not None:
            _demand(isinstance(self.export, str), "nbd.export is not text")
            _demand(0 < len(self.export.encode(errors="replace")) < 256, "nbd.export is empty or too long")
        counted = type(self.connections) is int and 0 < self.connections <= 16
        _demand(counted, "nbd.connections is not 1 to 16")
        # The kernel takes powers of two from 512 bytes to one page (nbd.c, nbd_is_valid_blksize).
        valid = type(self.block_size) is int and self.block_size in (512, 1024, 2048, 4096)
        _demand(valid, "nbd.block_size is not 512, 1024, 2048 or 4096")


@dataclass(frozen=True)
class Release:
    """Where and with which token (hexadecimal, 16 to 64 bytes) the target says that it is done."""

    port: int
    token: str = field(repr=False)

    def __post_init__(self) -> None:
        _demand_port(self.port, "release.port")
        _demand(
            _looks_like(r"([0-9a-f]{2}){16,64}", self.token),
            "release.token is not hexadecimal of 16 to 64 bytes",
        )


@dataclass(frozen=True)
class Over:
    """What the target asks a silent laptop, and the answer that only that laptop has: datagrams in base64."""

    question: str
    answer: str = field(repr=False)

    def __post_init__(self) -> None:
        for name in ("question", "answer"):
            try:
                raw = base64.b64decode(getattr(self, name), validate=True)
            except (binascii.Error, ValueError, TypeError):
                raw = b""
            _demand(len(raw) == DATAGRAM_SIZE, f"over.{name} is not {DATAGRAM_SIZE} bytes of base64")


@dataclass(frozen=True)
class Session:
    """One session, seen from the target: its MAC, the laptop's address on the cable, tunnel, disk, end.

    `over` is None where the laptop could not answer, and in the copy that stays in the running target. `packet` is the
    largest packet, in bytes, that got through the cable when the session began; a stick that did not look says nothing.
    """

    mac: str
    server: str
    wireguard: WireGuard | None
    nbd: Nbd
    release: Release
    over: Over | None = None
    packet: int = USUAL

    def __post_init__(self) -> None:
        _demand(_looks_like(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", self.mac), "mac is not like 52:54:00:00:00:02")
        _demand_address(self.server, "server")
        first = socket.inet_pton(socket.AF_INET6, self.server)[:2]
        _demand(first[0] == 0xFE and first[1] & 0xC0 == 0x80, "server is not a link-local address")
        sized = type(self.packet) is int and SMALLEST <= self.packet <= LARGEST
        _demand(sized, f"packet is not {SMALLEST} to {LARGEST} bytes")

    @property
    def server_host(self) -> str:
        """Where disk and release are reached: the tunnel's far end, or the laptop's address on the cable."""
        return self.wireguard.peer_address if self.wireguard else f"{self.server}%{LINK}"

    def without_keys(self) -> "Session":
        """Return a copy without the private and the pre-shared key."""
        wireguard = self.wireguard and replace(self.wireguard, private_key=None, preshared_key=None)
        return replace(self, wireguard=wireguard)

    def redacted(self) -> "Session":
        """Return a copy without all that gets the disk or ends the session: keys, the export's name, the last word."""
        return replace(self.without_keys(), nbd=replace(self.nbd, export=None), over=None)

    def to_json(self) -> str:
        """Return what parse() (or, for a redacted copy, parse(..., redacted=True)) reads back."""
        document: dict[str, Any] = {"version": VERSION, **asdict(self)}
        if self.wireguard and self.wireguard.private_key is None:
            del document["wireguard"]["private_key"], document["wireguard"]["preshared_key"]
        if self.nbd.export is None:
            del document["nbd"]["export"]
        if self.packet == USUAL:
            del document["packet"]  # a laptop whose package is older does not know it
        return json.dumps(document, indent=2) + "\n"


def _members(document: object, names: set[str], where: str) -> dict[str, Any]:
    if not isinstance(document, dict) or document.keys() != names:
        raise SessionInvalid(f"{where} does not have exactly the members {', '.join(sorted(names))}")
    return document


def parse(text: str | bytes, *, redacted: bool = False) -> Session:
    """Read session.json; redacted says which of the two forms is expected.

    Raises:
        SessionInvalid: not JSON, a member too many or missing, a value that cannot be meant; shows no values.
    """
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise SessionInvalid("not JSON") from None
    packet = document.pop("packet", USUAL) if isinstance(document, dict) else USUAL
    members = _members(document, {"version", "mac", "server", "wireguard", "nbd", "release", "over"}, "the session")
    same = type(members["version"]) is int and members["version"] == VERSION
    _demand(same, f"its version is not {VERSION}")
    wireguard = members["wireguard"]
    if wireguard is not None:
        keys = set() if redacted else {"private_key", "preshared_key"}
        names = {"peer_public_key", "port", "address", "peer_address"} | keys
        wireguard = WireGuard(**_members(wireguard, names, "wireguard"))
        _demand(redacted or wireguard.private_key is not None, "wireguard.private_key is missing")
    over = members["over"] and Over(**_members(members["over"], {"question", "answer"}, "over"))
    _demand(over is None or isinstance(over, Over), "over is neither null nor an object")
    secret = set() if redacted else {"export"}
    nbd = _members(members["nbd"], {"port", "connections", "block_size"} | secret, "nbd")
    _demand(redacted or nbd["export"] is not None, "nbd.export is missing")
    return Session(
        mac=members["mac"],
        server=members["server"],
        wireguard=wireguard,
        nbd=Nbd(**{"export": None, **nbd}),
        release=Release(**_members(members["release"], {"port", "token"}, "release")),
        over=over,
        packet=packet,
    )
