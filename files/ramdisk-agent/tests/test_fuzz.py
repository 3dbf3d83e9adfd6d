"""Mutated datagrams and requests by the thousand: nothing happens, nothing grows.

STIEFEL_FUZZ says how many (a soak run takes 1000000), STIEFEL_FUZZ_SEED which.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from random import Random

import pytest
from make_vectors import FOLDER
from pairing import AUTOKEXEC, CLIENT, FACTS, KEY, LAPTOP, OTHER_KEY, SERVER, Conversation, Pair

from stiefel_agent.errors import BundleError, HandshakeError, KeyFileError, MessageError
from stiefel_agent.protocol import discovery, keys, messages
from stiefel_agent.protocol.bundle import Decoder, Encoder, Manifest
from stiefel_agent.protocol.crypto import KeyPair
from stiefel_agent.protocol.discovery import OtherVersion, Proven
from stiefel_agent.protocol.handshake import ClientHandshake, ServerHandshake

COUNT = int(os.environ.get("STIEFEL_FUZZ", "6000"))
SEED = int(os.environ.get("STIEFEL_FUZZ_SEED", "1"))
FIXED = KeyPair(12345), KeyPair(67890)
SECONDS_EACH = 1 / discovery.TRIALS_PER_SECOND
"""Time passes so quickly that every datagram is within the budget and meets the cryptography."""


def _recorded() -> list[bytes]:
    """One whole session and the exchange before it: what someone on the cable has to begin with."""
    conversation = Conversation(ephemerals=FIXED)
    conversation.finish()
    vectors = [bytes.fromhex(value) for value in _discovery_vectors()]
    small = Manifest("laptop", "6.12", "", 1, 1)
    frames = b"".join(Encoder(bytes(32), small, BytesIO(b"k"), BytesIO(b"i")))
    return [*vectors, *conversation.messages, frames, b""]


def _discovery_vectors() -> Iterator[str]:
    texts = ((FOLDER / f"{name}.json").read_text() for name in ("discovery", "probing"))
    return (field for text in texts for field in text.split('"') if len(field) >= 2 * messages.DATAGRAM_SIZE)


class Mutator:
    """Makes something new from something recorded: changed, cut, joined, or nothing but noise."""

    def __init__(self, recorded: list[bytes], random: Random) -> None:
        self._recorded, self._random = recorded, random

    def __call__(self) -> bytes:
        random = self._random
        data = bytearray(random.choice(self._recorded))
        for _ in range(random.choice((1, 1, 1, 2, 5))):
            random.choice((self._flip, self._flip, self._cut, self._insert, self._join, self._noise))(data)
        if random.random() < 0.3:
            data = data[: messages.DATAGRAM_SIZE].ljust(messages.DATAGRAM_SIZE, b"\0")
        if random.random() < 0.3:
            data[:1] = bytes([messages.VERSION])
        return bytes(data)

    def _flip(self, data: bytearray) -> None:
        if data:
            data[self._random.randrange(len(data))] ^= 1 << self._random.randrange(8)

    def _cut(self, data: bytearray) -> None:
        del data[self._random.randrange(len(data) + 1) :]

    def _insert(self, data: bytearray) -> None:
        at = self._random.randrange(len(data) + 1)
        data[at:at] = self._random.randbytes(self._random.randrange(40))

    def _join(self, data: bytearray) -> None:
        other = self._random.choice(self._recorded)
        at = self._random.randrange(len(data) + 1)
        data[at:] = other[at:] if self._random.random() < 0.5 else other

    def _noise(self, data: bytearray) -> None:
        data[:] = self._random.randbytes(self._random.randrange(len(data) + 2))


class Target:
    """Everything that takes bytes from the wire, in the states in which it does."""

    def __init__(self) -> None:
        self.pairs = [Pair(AUTOKEXEC, (KEY, OTHER_KEY)), Pair(SERVER)]
        self.now = 0.0
        self.refresh()

    def refresh(self) -> None:
        """Go through an honest exchange, which the flood must not have disturbed, and leave another one open."""
        assert isinstance(self.pairs[0].proven(self.now), Proven)
        for pair in self.pairs:
            self.exchange = pair.challenged(self.now).exchange

    def feed(self, data: bytes, which: int) -> None:
        self.now += SECONDS_EACH
        targets: list[Callable[[bytes], object]] = [self._datagram, self._hellos, self._parsers, self._bundle]
        targets[which % len(targets)](data)

    def _datagram(self, data: bytes) -> None:
        for pair in self.pairs:
            heard = pair.answerer.receive(data, CLIENT, self.now)
            assert heard is None or isinstance(heard, OtherVersion)
            assert pair.seeker.receive(data, LAPTOP, self.now) is None

    def _hellos(self, data: bytes) -> None:
        with pytest.raises(HandshakeError):
            server = ServerHandshake(self.pairs[1].answerer.challenges)
            assert server.feed(data or b"x", self.now) is None
            server.feed(b"", self.now)
        client = ClientHandshake(self.exchange, FACTS, ephemeral=FIXED[0])
        client.hello()
        with pytest.raises(HandshakeError):
            assert client.feed(data or b"x") is None
            client.feed(b"")

    def _bundle(self, data: bytes) -> None:
        decoder = Decoder(bytes(range(32)))
        with pytest.raises(BundleError):
            assert decoder.feed(data or b"x") == []
            decoder.feed(b"")

    def _parsers(self, data: bytes) -> None:
        """What comes out of the seals must be safe to parse, too."""
        decoders = (
            messages.Challenge,
            messages.Proof,
            messages.Notice,
            messages.Echo,
            messages.Facts,
            messages.Empty,
            Manifest,
        )
        for decode in (*(decoder.decode for decoder in decoders), messages.decode_answer):
            with suppress(MessageError):
                decode(data)
        with pytest.raises(KeyFileError):
            keys.parse(data)


def _resident() -> int:
    """Bytes of memory that this process has in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.fault("F29")
def test_nothing_that_arrives_before_authentication_does_anything():
    recorded, random, target = _recorded(), Random(SEED), Target()
    mutate, before, files = Mutator(recorded, random), 0, len(list(Path("/proc/self/fd").iterdir()))
    for number in range(COUNT):
        data = mutate()
        if data not in recorded:
            target.feed(data, number)
        if number % 500 == 499:
            target.refresh()
        if number == COUNT // 5:
            before = _resident()
    assert _resident() - before < 4 << 20
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    for pair in target.pairs:
        assert len(pair.answerer.challenges) <= 2 * discovery.CHALLENGES_PER_SOURCE
        assert len(pair.answerer._seen) <= discovery.SEEN_LIMIT


def test_nothing_that_is_injected_into_a_session_does_anything():
    mutate = Mutator(_recorded(), Random(SEED))
    for number in range(COUNT // 50):
        conversation = Conversation(ephemerals=FIXED).run(1 + number % len(Conversation.NAMES))
        data = mutate()
        if not data.startswith(conversation.messages[-1]):
            with pytest.raises(HandshakeError):
                assert conversation.deliver(data or b"x") is None
                conversation.deliver(b"")
