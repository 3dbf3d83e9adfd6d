"""key.json: the keys of a laptop (one per stick, each can be removed) or the one key of a stick.

    {"version": 2, "keys": [{"name": "stick", "key": "<base64 of 32 bytes>", "laptop_private": "<of 32 bytes>"}]}

A stick has "laptop_public" (65 bytes) in place of "laptop_private": it recognises the laptop, and cannot play it.
One with a passphrase has, instead of "key", "scrypt": {"n", "r", "p", "salt"} and "sealed" (see LockedKey).
"""

import base64
import binascii
import json
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from stiefel_agent.errors import KeyFileError, OldKeyFile, PassphraseError, SealError
from stiefel_agent.protocol import crypto
from stiefel_agent.protocol.crypto import Random

FILE_VERSION = 2
OLD_VERSION = 1
"""Without a key pair of the laptop: see `upgraded`."""
FILE_LIMIT = 65536
"""Bytes of a key file: far above 16 keys."""
KEYS_LIMIT = 16
"""Keys on one laptop. Each costs one decryption per beacon, so the number is small."""
SALT_SIZE = 16
"""Bytes of scrypt salt (RFC 7914 asks for none in particular; NIST SP 800-132 section 5.1 for at least
16).
"""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
_PURPOSE = b"stiefelsystem 2 key file\0"


@dataclass(frozen=True, slots=True)
class Key:
    """What a laptop has for one stick: the secret that both know, and a key pair's private half, the laptop's own.

    The name stays on this machine.
    """

    name: str
    secret: bytes = field(repr=False)
    """32 bytes."""
    laptop_private: bytes = field(repr=False)
    """32 bytes, big-endian: a private key of P-256."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_secret(self.name, self.secret)
        if not crypto.is_private(self.laptop_private):
            raise KeyFileError(f"the laptop's private key for {self.name!r} is none of P-256")

    @classmethod
    def generate(cls, name: str, random: Random = os.urandom) -> Self:
        """Draw a new key and a new pair."""
        return cls(name, random(crypto.KEY_SIZE), crypto.new_private(random))

    def for_stick(self) -> "StickKey":
        """Return what the stick gets: everything but the private half."""
        return StickKey(self.name, self.secret, crypto.KeyPair.of(self.laptop_private).public)

    def _entry(self) -> dict[str, Any]:
        return {"name": self.name, "key": _base64(self.secret), "laptop_private": _base64(self.laptop_private)}


@dataclass(frozen=True, slots=True)
class StickKey:
    """What a stick has: the secret that laptop and stick know, and the public half, by which it knows the laptop."""

    name: str
    secret: bytes = field(repr=False)
    """32 bytes."""
    laptop_public: bytes
    """65 bytes: an uncompressed point of P-256. That it is on the curve shows at the key agreement."""

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_secret(self.name, self.secret)
        _check_public(self.name, self.laptop_public)

    def _entry(self) -> dict[str, Any]:
        return {"name": self.name, "key": _base64(self.secret), "laptop_public": _base64(self.laptop_public)}


@dataclass(frozen=True, slots=True)
class ScryptParameters:
    """How hard a passphrase is to guess; the cost of unlocking is 128 * n * r bytes of memory.

    The default is what OWASP's Password Storage Cheat Sheet recommends (n = 2^17, r = 8, p = 1): 128 MiB,
    below a second on a PC of today. Bounds: n from 2^14 (the scrypt paper's figure for interactive use) to
    2^20 (its figure for files; 1 GiB with r = 8); r = 8 as in RFC 7914 section 2; p up to 4.
    """

    salt: bytes
    n: int = 1 << 17
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        powers = [1 << power for power in range(14, 21)]
        if self.n not in powers or self.r != 8 or not 1 <= self.p <= 4 or len(self.salt) != SALT_SIZE:
            raise KeyFileError("scrypt parameters out of bounds: n 2^14 to 2^20, r 8, p 1 to 4, salt 16 bytes")


@dataclass(frozen=True, slots=True)
class LockedKey:
    """A stick's key that waits for its passphrase."""

    name: str
    scrypt: ScryptParameters
    sealed: bytes = field(repr=False)
    """16 bytes nonce, 32 bytes ciphertext, 16 bytes tag: AES-256-EAX under scrypt(passphrase), with the name,
    the parameters and the laptop's public key as associated data."""
    laptop_public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        _check_public(self.name, self.laptop_public)
        if len(self.sealed) != crypto.NONCE_SIZE + crypto.KEY_SIZE + crypto.TAG_SIZE:
            raise KeyFileError(f"sealed key {self.name!r} has a wrong length")

    def unlock(self, passphrase: str) -> StickKey:
        """Return the key; raises PassphraseError. Takes as long and as much memory as its scrypt parameters
        say.
        """
        nonce, sealed = self.sealed[: crypto.NONCE_SIZE], self.sealed[crypto.NONCE_SIZE :]
        wrapping = _stretch(passphrase, self.scrypt)
        try:
            secret = crypto.unseal(wrapping, nonce, _associated(self.name, self.scrypt, self.laptop_public), sealed)
        except SealError:
            raise PassphraseError from None
        return StickKey(self.name, secret, self.laptop_public)

    def _entry(self) -> dict[str, Any]:
        scrypt = {
            "n": self.scrypt.n,
            "r": self.scrypt.r,
            "p": self.scrypt.p,
            "salt": _base64(self.scrypt.salt),
        }
        sealed, public = _base64(self.sealed), _base64(self.laptop_public)
        return {"name": self.name, "scrypt": scrypt, "sealed": sealed, "laptop_public": public}


Entry = Key | StickKey | LockedKey


def lock(
    key: StickKey, passphrase: str, scrypt: ScryptParameters | None = None, random: Random = os.urandom
) -> LockedKey:
    """Return `key` sealed under a passphrase (compared in Unicode NFC, so that keyboards need not agree)."""
    scrypt = scrypt or ScryptParameters(random(SALT_SIZE))
    nonce = random(crypto.NONCE_SIZE)
    associated = _associated(key.name, scrypt, key.laptop_public)
    sealed = crypto.seal(_stretch(passphrase, scrypt), nonce, associated, key.secret)
    return LockedKey(key.name, scrypt, nonce + sealed, key.laptop_public)


def parse(text: str | bytes) -> tuple[Entry, ...]:
    """Return the entries of a key file, at least one, names all different. Raises KeyFileError, and OldKeyFile for
    one of version 1.
    """
    version, found = _document(text)
    if version == OLD_VERSION:
        raise OldKeyFile
    return _checked(_parse_entry(entry) for entry in found)


def upgraded(text: str | bytes, random: Random = os.urandom) -> tuple[Key, ...]:
    """Return the keys of a laptop's file of version 1, each with a new pair for the laptop. Raises KeyFileError."""
    version, found = _document(text)
    if version != OLD_VERSION:
        raise KeyFileError("not a key file of version 1")
    for entry in found:
        _fields(entry, {"name", "key"})
    return unlocked(
        _checked(Key(entry["name"], _unbase64(entry["key"]), crypto.new_private(random)) for entry in found)
    )


def _document(text: str | bytes) -> tuple[int, list[Any]]:
    """Return a key file's version and its entries as JSON has them."""
    if len(text) > FILE_LIMIT:
        raise KeyFileError(f"more than {FILE_LIMIT} bytes")
    try:
        document = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        raise KeyFileError("not valid JSON") from None
    _fields(document, {"version", "keys"})
    version, found = document["version"], document["keys"]
    if type(version) is not int or version not in (OLD_VERSION, FILE_VERSION) or type(found) is not list:
        raise KeyFileError(f"not a key file of version {FILE_VERSION}")
    return version, found


def serialise(entries: Sequence[Entry]) -> str:
    """Return the text of a key file, to be written with mode 0600; raises KeyFileError as `parse` does."""
    document = {"version": FILE_VERSION, "keys": [entry._entry() for entry in _checked(entries)]}
    return json.dumps(document, indent=2) + "\n"


def unlocked(entries: Sequence[Entry]) -> tuple[Key, ...]:
    """Return the keys of a laptop; raises KeyFileError if one is a stick's."""
    keys = tuple(entry for entry in entries if isinstance(entry, Key))
    if len(keys) != len(entries):
        raise KeyFileError("a stick's key file, where a laptop's is needed: it lacks the laptop's private half")
    return keys


def carried(entries: Sequence[Entry]) -> StickKey | LockedKey:
    """Return the one key of a stick; raises KeyFileError for a laptop's file: it must not leave the laptop."""
    if len(entries) != 1 or isinstance(entries[0], Key):
        raise KeyFileError("a laptop's key file, where a stick's is needed")
    return entries[0]


def _checked(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    found = tuple(entries)
    if not 1 <= len(found) <= KEYS_LIMIT:
        raise KeyFileError(f"{len(found)} keys; there must be 1 to {KEYS_LIMIT}")
    if len({entry.name for entry in found}) != len(found):
        raise KeyFileError("two keys have the same name")
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise KeyFileError("a field is given twice")
    return dict(pairs)


def _fields(value: Any, names: set[str]) -> None:
    if type(value) is not dict or set(value) != names:
        raise KeyFileError(f"expected an object with the fields {', '.join(sorted(names))}")


def _parse_entry(entry: Any) -> Entry:
    if type(entry) is dict and "laptop_private" in entry:
        _fields(entry, {"name", "key", "laptop_private"})
        return Key(_check_name(entry["name"]), _unbase64(entry["key"]), _unbase64(entry["laptop_private"]))
    if type(entry) is dict and "key" in entry:
        _fields(entry, {"name", "key", "laptop_public"})
        return StickKey(_check_name(entry["name"]), _unbase64(entry["key"]), _unbase64(entry["laptop_public"]))
    _fields(entry, {"name", "scrypt", "sealed", "laptop_public"})
    scrypt = entry["scrypt"]
    _fields(scrypt, {"n", "r", "p", "salt"})
    if any(type(scrypt[name]) is not int for name in "nrp"):
        raise KeyFileError("scrypt parameters are whole numbers")
    parameters = ScryptParameters(_unbase64(scrypt["salt"]), scrypt["n"], scrypt["r"], scrypt["p"])
    sealed, public = _unbase64(entry["sealed"]), _unbase64(entry["laptop_public"])
    return LockedKey(_check_name(entry["name"]), parameters, sealed, public)


def _check_name(name: Any) -> str:
    if type(name) is not str or not _NAME.fullmatch(name):
        raise KeyFileError("a key's name has 1 to 32 letters, digits, dots, dashes or underscores")
    return name


def _check_secret(name: str, secret: bytes) -> None:
    if len(secret) != crypto.KEY_SIZE:
        raise KeyFileError(f"key {name!r} does not have 32 bytes")


def _check_public(name: str, public: bytes) -> None:
    if len(public) != crypto.POINT_SIZE or public[0] != crypto.UNCOMPRESSED:
        raise KeyFileError(f"the laptop's public key for {name!r} is no uncompressed point of P-256")


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unbase64(text: Any) -> bytes:
    try:
        data = base64.b64decode(text, validate=True) if type(text) is str else None
    except (binascii.Error, ValueError):
        data = None
    if data is None or _base64(data) != text:
        raise KeyFileError("a field is not base64")
    return data


def _stretch(passphrase: str, scrypt: ScryptParameters) -> bytes:
    normal = unicodedata.normalize("NFC", passphrase).encode("utf-8", "surrogatepass")
    return crypto.stretch(normal, scrypt.salt, scrypt.n, scrypt.r, scrypt.p)


def _associated(name: str, scrypt: ScryptParameters, laptop_public: bytes) -> bytes:
    return _PURPOSE + f"{name} {scrypt.n} {scrypt.r} {scrypt.p}\0".encode() + scrypt.salt + laptop_public
