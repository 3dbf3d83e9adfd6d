"""The wire formats of docs/protocol.md: bytes <-> frozen dataclasses, strict on length, version and every
field.

Everything that is parsed here has already been authenticated, except a datagram's and a hello's outer shape.
Decoders raise MessageError and nothing else.
"""

import os
import re
import struct
from dataclasses import dataclass, field, replace
from enum import IntEnum, StrEnum
from ipaddress import IPv6Address
from typing import Any, ClassVar, Self

from stiefel_agent.errors import MessageError
from stiefel_agent.protocol import crypto
from stiefel_agent.protocol.meeting import DATAGRAM_SIZE
from stiefel_agent.protocol.sizes import LARGEST, SMALLEST

VERSION = 3
"""Version of the protocol: first byte of every datagram and hello, and part of every key's purpose. Version 1 had no
key pair of the laptop, version 2 sealed the bundle by EAX as well.
"""
NAME_SIZE = 64
"""Bytes that a name may take in UTF-8: Linux host names end there (HOST_NAME_MAX)."""
DATAGRAM_HEADER = 1 + crypto.NONCE_SIZE
DATAGRAM_PAYLOAD = DATAGRAM_SIZE - DATAGRAM_HEADER - crypto.TAG_SIZE
RECORD_PAYLOAD = 512
"""Plaintext bytes of every control message of a session, whatever its type."""
RECORD_SIZE = RECORD_PAYLOAD + crypto.TAG_SIZE
CLIENT_HELLO_SIZE = 1 + 2 * crypto.NONCE_SIZE + crypto.POINT_SIZE + crypto.TAG_SIZE
SERVER_HELLO_SIZE = crypto.NONCE_SIZE + crypto.POINT_SIZE + crypto.TAG_SIZE
PUBLIC_KEY_SIZE = 32
"""Bytes of a WireGuard (Curve25519) public key."""
EXPORT_BYTES = 16
"""Random bytes of an export's name."""
_EXPORT = re.compile(rf"[0-9a-f]{{{2 * EXPORT_BYTES}}}")
MACHINE_SIZE = 16
"""Bytes that stand for one desktop; all zero: it has nothing that tells it from others."""
LAPTOP_SIZE = 16
"""Bytes that stand for one laptop and its disk; all zero: nothing tells it from others."""


class Kind(StrEnum):
    """What a key or a message is for, with its direction; the text is part of the key's derivation."""

    BEACON = "client>laptop beacon"
    CHALLENGE = "laptop>client challenge"
    PROOF = "client>laptop proof"
    NOTICE = "laptop>client notice"
    CLIENT_HELLO = "client>server hello"
    SERVER_HELLO = "server>client hello"
    TRANSCRIPT = "client=server transcript"
    FACTS = "client>server facts"
    ANSWER = "server>client answer"
    BUNDLE = "server>client bundle"
    RECEIVED = "client>server received"
    READY = "server>client ready"
    PRESHARED_KEY = "client=server wireguard preshared key"
    RELEASE_TOKEN = "client>server release token"
    MACHINE = "client>server machine"
    LAPTOP = "server>client laptop"
    PROBE = "client>server probe"
    ECHO = "server>client echo"
    QUESTION = "target>laptop question"
    OVER = "laptop>target over"

    @property
    def label(self) -> bytes:
        """The bytes that begin this kind's associated data and are its keys' HKDF info; no label begins
        another.
        """
        return f"stiefelsystem {VERSION} {self.value}\0".encode()


class Stage(IntEnum):
    """Who answered a beacon: the laptop's normal system, or the server in the ramdisk."""

    AUTOKEXEC = 1
    SERVER = 2


class NoticeState(IntEnum):
    """What the laptop's normal system does about a proven desktop."""

    COUNTDOWN = 1
    """It will move into the server in `seconds`."""
    ASKING = 2
    """A person at the laptop is being asked."""
    SHUTTING_DOWN = 3
    """It is on its way: the next answer comes from the server."""
    DECLINED = 4
    """The person at the laptop said no."""
    BUSY = 5
    """It is answering another desktop, `who`, since `seconds`."""
    INHIBITED = 6
    """A program on the laptop, `who`, asked not to be shut down now; tried again when it is done."""
    FAILED = 7
    """It cannot; the laptop's screen and journal say why."""


class AnswerStatus(IntEnum):
    """First byte of the server's answer."""

    GRANT = 1
    BUSY = 2


def displayable(text: str, size: int = NAME_SIZE) -> str:
    """Return `text` as it may travel: printable characters only, at most `size` bytes; "unnamed" if none is
    left.
    """
    printable = "".join(character for character in text if character.isprintable())
    return printable.encode("utf-8", "ignore")[:size].decode("utf-8", "ignore").strip() or "unnamed"


def pack_text(text: str, size: int = NAME_SIZE) -> bytes:
    """Return `text` in UTF-8; struct pads it with zeros. Raises MessageError if it is longer than `size`
    bytes or holds characters that a terminal would obey.
    """
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError:
        raise MessageError("text that is not valid Unicode") from None
    if len(data) > size or not text.isprintable():
        raise MessageError(f"text must be printable and at most {size} bytes long")
    return data


def unpack_text(field: bytes) -> str:
    """Reverse `pack_text` on a zero-padded field; raises MessageError."""
    try:
        text = field.rstrip(b"\0").decode("utf-8")
    except UnicodeDecodeError:
        raise MessageError("text is not UTF-8") from None
    if not text.isprintable():
        raise MessageError("text is not printable")
    return text


def unpack(layout: struct.Struct, payload: bytes) -> tuple[Any, ...]:
    """Return the fields at the start of `payload`; everything after them must be zero. Raises
    MessageError.
    """
    if len(payload) < layout.size or any(payload[layout.size :]):
        raise MessageError("wrong length or padding")
    return layout.unpack_from(payload)


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise MessageError(what)


@dataclass(frozen=True, slots=True)
class Empty:
    """A message that says all by being there: beacon, received, ready."""

    def encode(self) -> bytes:
        """Return no bytes at all; sealing pads."""
        return b""

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Check that the payload is nothing but padding; raises MessageError."""
        _require(not any(payload), "padding is not zero")
        return cls()


@dataclass(frozen=True, slots=True)
class Challenge:
    """The laptop's answer to a beacon; as long as it is fresh, it can be proven (autokexec) or dialled
    (server).
    """

    stage: Stage
    laptop: str
    """The laptop's name, for people."""
    port: int = 0
    """TCP port of the handshake; 0 unless stage is SERVER."""

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(f"!BH{NAME_SIZE}s")

    def encode(self) -> bytes:
        """Return the payload; raises MessageError if a field is out of its range."""
        self._check()
        return self._LAYOUT.pack(self.stage, self.port, pack_text(self.laptop))

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Parse a padded payload; raises MessageError."""
        stage, port, laptop = unpack(cls._LAYOUT, payload)
        _require(stage in list(Stage), "unknown stage")
        challenge = cls(Stage(stage), unpack_text(laptop), port)
        challenge._check()
        return challenge

    def _check(self) -> None:
        valid = 1 <= self.port <= 65535 if self.stage is Stage.SERVER else self.port == 0
        _require(valid, "a port belongs to the stage server, and only there")


@dataclass(frozen=True, slots=True)
class Proof:
    """The client's answer to a challenge of autokexec: proves the key anew and says who it is."""

    desktop: str
    """The desktop's name, for people."""

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(f"!{NAME_SIZE}s")

    def encode(self) -> bytes:
        """Return the payload; raises MessageError if the name cannot travel."""
        return self._LAYOUT.pack(pack_text(self.desktop))

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Parse a padded payload; raises MessageError."""
        return cls(unpack_text(unpack(cls._LAYOUT, payload)[0]))


@dataclass(frozen=True, slots=True)
class Notice:
    """What the laptop does about a proven desktop, for the desktop's screen."""

    state: NoticeState
    seconds: int = 0
    """COUNTDOWN: until it moves; BUSY: since it is busy; else 0. At most 2^32 - 1."""
    who: str = ""
    """BUSY: the other desktop's name; INHIBITED: the program's; else empty."""
    number: int = 0
    """Grows with every notice of one Answerer, which fills it in; the Seeker drops what comes late."""

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(f"!BII{NAME_SIZE}s")

    def encode(self) -> bytes:
        """Return the payload; raises MessageError if a field is out of its range."""
        _require(0 <= self.seconds < 1 << 32 and 0 <= self.number < 1 << 32, "number out of range")
        return self._LAYOUT.pack(self.state, self.seconds, self.number, pack_text(self.who))

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Parse a padded payload; raises MessageError."""
        state, seconds, number, who = unpack(cls._LAYOUT, payload)
        _require(state in list(NoticeState), "unknown state")
        return cls(NoticeState(state), seconds, unpack_text(who), number)

    def numbered(self, number: int) -> Self:
        """Return the same notice with its number."""
        return replace(self, number=number)


@dataclass(frozen=True, slots=True)
class Echo:
    """The server's answer to a probe: it came through, and so does this one if it can be read."""

    largest: int
    """The largest packet that the laptop's end of this cable takes: larger ones need not be tried."""

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct("!H")

    def encode(self) -> bytes:
        """Return the payload; raises MessageError if the size is out of its range."""
        _require(0 <= self.largest < 1 << 16, "number out of range")
        return self._LAYOUT.pack(self.largest)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Parse a padded payload; raises MessageError."""
        return cls(*unpack(cls._LAYOUT, payload))


@dataclass(frozen=True, slots=True)
class Facts:
    """What the client tells the server about itself."""

    desktop: str
    """The desktop's name: shown as who holds the disk."""
    wireguard_public_key: bytes
    """32 bytes, made for this session."""
    machine: bytes = bytes(MACHINE_SIZE)
    """The very same desktop with the very same stick has the same (see `machine_of`); all zero: it cannot tell."""
    packet: int = 0
    """The largest packet that came through the cable, both ways (see `probing`); 0: it was not looked for."""

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(f"!{NAME_SIZE}s{PUBLIC_KEY_SIZE}s{MACHINE_SIZE}sH")

    def encode(self) -> bytes:
        """Return the payload; raises MessageError if a field is out of its range."""
        self._check()
        return self._LAYOUT.pack(pack_text(self.desktop), self.wireguard_public_key, self.machine, self.packet)

    def same_machine(self, other: Self) -> bool:
        """Say whether both are surely one desktop with one stick; without anything unique, nobody can say so."""
        return self.machine == other.machine and any(self.machine)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Parse a padded payload; raises MessageError."""
        desktop, public_key, machine, packet = unpack(cls._LAYOUT, payload)
        facts = cls(unpack_text(desktop), public_key, machine, packet)
        facts._check()
        return facts

    def _check(self) -> None:
        _require(len(self.wireguard_public_key) == PUBLIC_KEY_SIZE, "a WireGuard key has 32 bytes")
        _require(len(self.machine) == MACHINE_SIZE, "a machine has 16 bytes")
        _require(not self.packet or SMALLEST <= self.packet <= LARGEST, "no packet has this size")


def machine_of(secret: bytes, identity: str) -> bytes:
    """Return `Facts.machine` for what the firmware says of a desktop (its serial numbers; empty: nothing unique).

    `secret` is the stick's key: who has another one cannot tell which desktop it was.
    """
    if not identity:
        return bytes(MACHINE_SIZE)
    return crypto.derive(secret, Kind.MACHINE.label, crypto.digest(identity.encode()))[:MACHINE_SIZE]


def laptop_of(secret: bytes, identity: str) -> bytes:
    """Return `Grant.laptop` for what tells a laptop and its disk from others of the same key; empty: nothing does."""
    if not identity:
        return bytes(LAPTOP_SIZE)
    return crypto.derive(secret, Kind.LAPTOP.label, crypto.digest(identity.encode()))[:LAPTOP_SIZE]


@dataclass(frozen=True, slots=True)
class Busy:
    """The server's answer while another desktop holds the disk."""

    holder: str
    """The other desktop's name."""
    held_seconds: int
    """For how long already. A duration, because the two machines' clocks need not agree."""

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(f"!BQ{NAME_SIZE}s")

    def encode(self) -> bytes:
        """Return the payload; raises MessageError if a field is out of its range."""
        _require(0 <= self.held_seconds < 1 << 64, "number out of range")
        return self._LAYOUT.pack(AnswerStatus.BUSY, self.held_seconds, pack_text(self.holder))

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Parse a padded payload; raises MessageError."""
        status, seconds, holder = unpack(cls._LAYOUT, payload)
        _require(status == AnswerStatus.BUSY, "not a busy answer")
        return cls(unpack_text(holder), seconds)


@dataclass(frozen=True, slots=True)
class Tunnel:
    """The server's end of the WireGuard tunnel, and the addresses inside it."""

    public_key: bytes
    """The server's, 32 bytes, made for this session."""
    port: int
    server_address: IPv6Address
    client_address: IPv6Address

    LAYOUT: ClassVar[struct.Struct] = struct.Struct(f"!{PUBLIC_KEY_SIZE}sH16s16s")

    def encode(self) -> bytes:
        """Return the 66 bytes inside a grant; raises MessageError if a field is out of its range."""
        self._check()
        addresses = self.server_address.packed, self.client_address.packed
        return self.LAYOUT.pack(self.public_key, self.port, *addresses)

    @classmethod
    def decode(cls, field: bytes) -> Self:
        """Parse the 66 bytes inside a grant; raises MessageError."""
        public_key, port, server, client = unpack(cls.LAYOUT, field)
        tunnel = cls(public_key, port, IPv6Address(server), IPv6Address(client))
        tunnel._check()
        return tunnel

    def _check(self) -> None:
        _require(len(self.public_key) == PUBLIC_KEY_SIZE, "a WireGuard key has 32 bytes")
        _require(1 <= self.port <= 65535, "port out of range")


@dataclass(frozen=True, slots=True)
class Grant:
    """The server's answer when the client may have the disk: where to find what."""

    tunnel: Tunnel | None
    """None means stiefel_encryption: none; then NBD and release are on the link itself."""
    nbd_port: int
    export: str = field(repr=False)
    """Name of the NBD export, drawn for this session (see `new_export`): who does not know it gets no disk."""
    connections: int
    """NBD connections to open, 1 to 16."""
    block_size: int
    """The disk's logical sector size in bytes: a power of two, 512 to 65536."""
    release_port: int
    laptop: bytes = bytes(LAPTOP_SIZE)
    """Which laptop of those with this key this is, with which disk (see `laptop_of`); all zero: it cannot tell."""

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(f"!BB{Tunnel.LAYOUT.size}sHBIH{NAME_SIZE}s{LAPTOP_SIZE}s")

    def encode(self) -> bytes:
        """Return the payload; raises MessageError if a field is out of its range."""
        self._check()
        tunnel = self.tunnel.encode() if self.tunnel else b""
        numbers = self.nbd_port, self.connections, self.block_size, self.release_port
        flags = AnswerStatus.GRANT, self.tunnel is not None
        return self._LAYOUT.pack(*flags, tunnel, *numbers, pack_text(self.export), self.laptop)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Parse a padded payload; raises MessageError."""
        status, encrypted, tunnel, nbd, connections, block, release, export, laptop = unpack(cls._LAYOUT, payload)
        _require(status == AnswerStatus.GRANT and encrypted in (0, 1), "not a grant")
        _require(bool(encrypted) or not any(tunnel), "a tunnel without encryption")
        parsed = Tunnel.decode(tunnel) if encrypted else None
        grant = cls(parsed, nbd, unpack_text(export), connections, block, release, laptop)
        grant._check()
        return grant

    def _check(self) -> None:
        _require(1 <= self.nbd_port <= 65535 and 1 <= self.release_port <= 65535, "port out of range")
        _require(1 <= self.connections <= 16, "connections out of range")
        _require(self.block_size in (1 << power for power in range(9, 17)), "block size out of range")
        _require(_EXPORT.fullmatch(self.export) is not None, "an export's name is 32 hexadecimal digits")
        _require(len(self.laptop) == LAPTOP_SIZE, "a laptop has 16 bytes")


def new_export(random: crypto.Random = os.urandom) -> str:
    """Return a name for one session's export: 16 random bytes as 32 hexadecimal digits."""
    return random(EXPORT_BYTES).hex()


def decode_answer(payload: bytes) -> Grant | Busy:
    """Parse the server's padded answer by its first byte; raises MessageError."""
    return Grant.decode(payload) if payload[:1] == bytes([AnswerStatus.GRANT]) else Busy.decode(payload)


def datagram_nonce(datagram: bytes, size: int = DATAGRAM_SIZE) -> bytes:
    """Return the nonce of something that has a datagram's outer shape, and this size; raises MessageError. No
    cryptography.
    """
    _require(len(datagram) == size and datagram[0] == VERSION, f"not a datagram of version {VERSION}")
    return datagram[1:DATAGRAM_HEADER]


def seal_datagram(
    key: bytes, kind: Kind, nonce: bytes, seen: bytes, payload: bytes, *, size: int = DATAGRAM_SIZE
) -> bytes:
    """Return a datagram of `size` bytes. `key` is the one derived for `kind`; `seen` the nonces of this exchange so
    far.
    """
    padded = payload.ljust(DATAGRAM_PAYLOAD + size - DATAGRAM_SIZE, b"\0")
    return bytes([VERSION]) + nonce + crypto.seal(key, nonce, kind.label + seen, padded)


def open_datagram(key: bytes, kind: Kind, seen: bytes, datagram: bytes, size: int = DATAGRAM_SIZE) -> bytes:
    """Reverse `seal_datagram`: return the padded payload. Raises MessageError or SealError."""
    nonce = datagram_nonce(datagram, size)
    return crypto.unseal(key, nonce, kind.label + seen, datagram[DATAGRAM_HEADER:])
