"""All cryptography, and the only importer of pycryptodome: derive, seal, unseal, agree, stretch.

Debian installs pycryptodome as `Cryptodome`, PyPI as `Crypto`; they are the same code. Everything is loaded
by name from whichever is there.
"""

import hashlib
import importlib
import importlib.util
import os
from collections.abc import Callable
from types import ModuleType
from typing import Any, Self

from stiefel_agent.errors import SealError

KEY_SIZE = 32
"""Bytes of every symmetric key: AES-256."""
NONCE_SIZE = 16
"""Bytes of an EAX nonce; drawn at random it does not repeat (2^64 messages for a one in two chance)."""
COUNTER_SIZE = 12
"""Bytes of a GCM nonce: the 96 bits that it is made for (NIST SP 800-38D, section 5.2.1.1), counted and not drawn."""
TAG_SIZE = 16
"""Bytes of a tag, EAX's and GCM's, never shortened."""
POINT_SIZE = 65
"""Bytes of a P-256 public key: SEC 1 (2.3.3) uncompressed, 0x04 and two coordinates of 32 bytes."""
UNCOMPRESSED = 4
"""First byte of such a point."""
CURVE = "P-256"
"""The one curve that every version of pycryptodome has with all that is needed here, from Debian 12's (3.11) on."""
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""The order of P-256's group (SEC 2, section 2.4.2): private keys are the integers from 1 to one less."""
PRIVATE_SIZE = 32
"""Bytes of a P-256 private key, big-endian."""

Readable = bytes | bytearray | memoryview
Random = Callable[[int], bytes]
"""A source of that many random bytes: os.urandom, except in test vectors."""

PACKAGE = "Cryptodome" if importlib.util.find_spec("Cryptodome") else "Crypto"


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"{PACKAGE}.{name}")


_AES = _module("Cipher.AES")
_SHA256 = _module("Hash.SHA256")
_KDF = _module("Protocol.KDF")


def digest(data: Readable) -> bytes:
    """Return the SHA-256 of `data`, 32 bytes."""
    return hashlib.sha256(data).digest()


def derive(secret: Readable, purpose: bytes, salt: bytes = b"") -> bytes:
    """Return the 32-byte key for one purpose: HKDF-SHA256 (RFC 5869) with `purpose` as info."""
    key: bytes = _KDF.HKDF(secret, KEY_SIZE, salt, _SHA256, context=purpose)
    return key


def stretch(passphrase: bytes, salt: bytes, n: int, r: int, p: int) -> bytes:
    """Return a 32-byte key from a passphrase: scrypt (RFC 7914). Takes 128 * n * r bytes of memory."""
    key: bytes = _KDF.scrypt(passphrase, salt, KEY_SIZE, n, r, p)
    return key


def _cipher(key: bytes, mode: int, nonce: bytes, associated: bytes) -> Any:
    cipher = _AES.new(key, mode, nonce=nonce, mac_len=TAG_SIZE)
    cipher.update(associated)
    return cipher


def _opened(cipher: Any, sealed: Readable) -> bytes:
    view = memoryview(sealed)
    try:
        plaintext: bytes = cipher.decrypt_and_verify(view[:-TAG_SIZE], view[-TAG_SIZE:])
    except ValueError:
        raise SealError from None
    return plaintext


def seal(key: bytes, nonce: bytes, associated: bytes, plaintext: Readable) -> bytes:
    """Encrypt and authenticate with AES-256-EAX; return ciphertext followed by the 16-byte tag.

    `key` and `nonce` (16 bytes) must never meet a second plaintext. `associated` is authenticated, not sent.
    """
    ciphertext, tag = _cipher(key, _AES.MODE_EAX, nonce, associated).encrypt_and_digest(plaintext)
    return bytes(ciphertext + tag)


def unseal(key: bytes, nonce: bytes, associated: bytes, sealed: Readable) -> bytes:
    """Reverse `seal`. Raises SealError unless key, nonce, associated data and every byte are as they were."""
    return _opened(_cipher(key, _AES.MODE_EAX, nonce, associated), sealed)


def seal_frame(key: bytes, number: int, associated: bytes, plaintext: Readable) -> bytearray:
    """Encrypt and authenticate one frame of many with AES-256-GCM; return ciphertext followed by the 16-byte tag.

    GCM takes a fifth of EAX's time, and loses everything when a nonce repeats. So it is for a `key` that lives for
    one stream, in which each `number` (from 0) is used once.
    """
    cipher, sealed = _counted(key, number, associated), bytearray(len(plaintext) + TAG_SIZE)
    # One piece of memory for both: to put them together afterwards takes longer than to encrypt.
    cipher.encrypt(plaintext, output=memoryview(sealed)[:-TAG_SIZE])
    sealed[-TAG_SIZE:] = cipher.digest()
    return sealed


def unseal_frame(key: bytes, number: int, associated: bytes, sealed: Readable) -> bytes:
    """Reverse `seal_frame`. Raises SealError unless key, number, associated data and every byte are as they were."""
    return _opened(_counted(key, number, associated), sealed)


def _counted(key: bytes, number: int, associated: bytes) -> Any:
    return _cipher(key, _AES.MODE_GCM, number.to_bytes(COUNTER_SIZE, "big"), associated)


def is_private(private: bytes) -> bool:
    """Say whether these bytes are a private key of the curve."""
    return len(private) == PRIVATE_SIZE and 0 < int.from_bytes(private, "big") < ORDER


def new_private(random: Random = os.urandom) -> bytes:
    """Draw a private key: 32 bytes, drawn anew until they are one (FIPS 186-5, appendix A.2.2)."""
    while not is_private(private := random(PRIVATE_SIZE)):
        pass
    return private


class KeyPair:
    """A key pair on P-256. Drawn, it lives for one session and its private half never leaves the object."""

    def __init__(self, scalar: int | None = None) -> None:
        """Draw a fresh pair, an ephemeral one, or take the private key that `scalar` is: the laptop's."""
        ecc = _module("PublicKey.ECC")
        self._private = ecc.generate(curve=CURVE) if scalar is None else ecc.construct(curve=CURVE, d=scalar)

    @classmethod
    def of(cls, private: bytes) -> Self:
        """Return the pair of a private key, 32 bytes."""
        return cls(int.from_bytes(private, "big"))

    @property
    def public(self) -> bytes:
        """The public key, 65 bytes."""
        point = self._private.pointQ
        return bytes([UNCOMPRESSED]) + int(point.x).to_bytes(32, "big") + int(point.y).to_bytes(32, "big")

    def agree(self, public: bytes) -> bytes:
        """Return the 32-byte shared secret (x coordinate, NIST SP 800-56A section 5.7.1.2).

        Raises SealError if `public` is not an uncompressed point of the curve.
        """
        if len(public) != POINT_SIZE or public[0] != UNCOMPRESSED:
            raise SealError("not an uncompressed P-256 point")
        ecc = _module("PublicKey.ECC")
        x, y = int.from_bytes(public[1:33], "big"), int.from_bytes(public[33:], "big")
        try:
            # What pycryptodome's Protocol.DH does, which its versions before 3.20 do not have.
            shared = ecc.construct(curve=CURVE, point_x=x, point_y=y).pointQ * self._private.d
        except ValueError:
            raise SealError("not a point of P-256") from None
        if shared.is_point_at_infinity():
            raise SealError("the point at infinity")
        return int(shared.x).to_bytes(32, "big")
