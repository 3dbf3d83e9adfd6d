"""A target's question whether its session is over, and its laptop's answer that it is. Pure.

A laptop that loses its power forgets the session, and with it what it had acknowledged and not yet flushed. Its target
cannot know that, and must never go on (failure mode F36). So it asks, and whoever holds the laptop's static private key
can work out the answer again from nothing but the question. The target itself needs no cryptography: the client makes
the question and the one right answer beforehand. docs/protocol.md says what each keeps from whom.
"""

import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence

from stiefel_agent.errors import MessageError, SealError
from stiefel_agent.protocol.crypto import POINT_SIZE, KeyPair, derive, digest
from stiefel_agent.protocol.keys import Key
from stiefel_agent.protocol.messages import (
    LAPTOP_SIZE,
    Kind,
    datagram_nonce,
    laptop_of,
    open_datagram,
    seal_datagram,
    unpack,
)

QUESTIONS_REMEMBERED = 64
"""Questions whose key agreement is remembered: a target asks the same one again and again."""

_LAYOUT = struct.Struct(f"!{POINT_SIZE}s{LAPTOP_SIZE}s")


def over_key(agreed: bytes, laptop: bytes) -> bytes:
    """Return the key of a session's answer; `agreed` is es || key, `laptop` the grant's."""
    return derive(agreed, Kind.OVER.label, laptop)


def question(secret: bytes, public: bytes, laptop: bytes, nonce: bytes) -> bytes:
    """Return the datagram that asks; `secret` is the stick's key, `public` the client's ephemeral key."""
    sealing = derive(secret, Kind.QUESTION.label)
    return seal_datagram(sealing, Kind.QUESTION, nonce, b"", _LAYOUT.pack(public, laptop))


def answer(key: bytes, asked: bytes) -> bytes:
    """Return the datagram that says "over" to a question; there is only one, for nothing in it is drawn."""
    nonce = datagram_nonce(asked)
    return seal_datagram(key, Kind.OVER, nonce, nonce, b"")


class Witness:
    """A laptop that is asked by targets, and answers those whose session is over.

    `identity` tells this laptop and its disk from others of the same key; empty: it answers nobody. `is_on` is given
    the SHA-256 of an answer's key, and says whether that session may still be going on.
    """

    def __init__(self, keys: Sequence[Key], identity: str, is_on: Callable[[bytes], bool]) -> None:
        self._keys = [(key, derive(key.secret, Kind.QUESTION.label), laptop_of(key.secret, identity)) for key in keys]
        self._is_on = is_on
        self._known: OrderedDict[bytes, bytes] = OrderedDict()

    def laptop(self, key_name: str) -> bytes:
        """Return what stands for this laptop in the grants to one stick."""
        return next(laptop for key, _, laptop in self._keys if key.name == key_name)

    def hear(self, datagram: bytes) -> bytes | None:
        """Return the answer to a question whose session is over; None to it in all other cases, and to all else."""
        key = self._known.get(datagram) or self._read(datagram)
        if key is None or self._is_on(digest(key)):
            return None
        return answer(key, datagram)

    def _read(self, datagram: bytes) -> bytes | None:
        for key, sealing, own in self._keys:
            try:
                public, laptop = unpack(_LAYOUT, open_datagram(sealing, Kind.QUESTION, b"", datagram))
                if laptop != own or not any(own):
                    return None
                agreed = KeyPair.of(key.laptop_private).agree(public) + key.secret
            except (SealError, MessageError):
                continue
            self._known[datagram] = found = over_key(agreed, laptop)
            if len(self._known) > QUESTIONS_REMEMBERED:
                self._known.popitem(last=False)
            return found
        return None
