"""The conversation over TCP, from a server's challenge to the client's kexec. Pure: bytes come in, bytes go
out.

    client                                     server
    hello()          -- client hello -->       feed() -> Send
    feed() -> Send   <-- server hello --
                     -- facts -->              feed() -> Asked: decide, then
    feed() -> Granted  <-- grant --            grant()
    (or Busy)          <-- busy --             refuse()
    bundle.Decoder   <== bundle ==             bundle.Encoder
    received()       -- received -->           feed() -> Received: export the disk, then
    feed() -> Ready  <-- ready --              ready()
    kexec

Whatever goes wrong raises HandshakeError, once; after that the object is dead, and the edge closes the
connection without another byte. feed(b"") says that the other side closed. Time-outs belong to the edge: see
the constants.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

from stiefel_agent.errors import HandshakeError, StiefelError
from stiefel_agent.protocol import over
from stiefel_agent.protocol.crypto import NONCE_SIZE, KeyPair, Random, derive, digest, seal, unseal
from stiefel_agent.protocol.discovery import Challenges, Exchange
from stiefel_agent.protocol.keys import Key, StickKey
from stiefel_agent.protocol.messages import (
    CLIENT_HELLO_SIZE,
    RECORD_PAYLOAD,
    RECORD_SIZE,
    SERVER_HELLO_SIZE,
    VERSION,
    Busy,
    Empty,
    Facts,
    Grant,
    Kind,
    decode_answer,
)

HELLO_SECONDS = 10.0
"""For the edge: a connection whose handshake has not reached the answer by then is closed."""
CONNECTIONS_LIMIT = 8
"""For the edge: unfinished connections held at once; the next one drives out the oldest."""


class State(Enum):
    """Where one side of a handshake stands; each side passes its own from top to bottom."""

    START = "nothing sent yet"
    HELLO = "waiting for the other side's hello"
    FACTS = "waiting for the client's facts"
    DECIDING = "deciding what to answer"
    ANSWER = "waiting for the server's answer"
    BUNDLE = "the bundle is under way"
    READY = "waiting for the server's disk"
    EXPORTING = "making the disk ready"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What both sides of a session have and nobody else, not even with the long-term key; 32 bytes each."""

    bundle_key: bytes = field(repr=False)
    """For exactly one bundle.Encoder and one bundle.Decoder."""
    preshared_key: bytes = field(repr=False)
    """WireGuard's."""
    release_token: bytes = field(repr=False)
    """Says that a release comes from this session's target."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send these bytes, then feed what comes back."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """Server: an authenticated client asks for the disk. Answer with `grant` or `refuse`."""

    facts: Facts
    key_name: str
    secrets: Secrets


@dataclass(frozen=True, slots=True)
class Granted:
    """Client: the disk is ours. The bundle follows; its first bytes may be in `rest` already."""

    grant: Grant
    secrets: Secrets
    rest: bytes
    question: bytes = field(default=b"", repr=False)
    """What its target asks when the laptop is silent; empty: this laptop could not answer."""
    over: bytes = field(default=b"", repr=False)
    """The one answer to it: that session is over."""


@dataclass(frozen=True, slots=True)
class Received:
    """Server: the client has the whole bundle and has verified it. Export the disk, then call `ready`."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Client: the disk is being exported; kexec."""


class _Session:
    """The keys of one session: ee || es || key, salted with the laptop's public key and all that was said before.

    In the words of the Noise framework (revision 34) this is NK with a pre-shared key: `ee`, agreed by both
    ephemeral pairs, gives forward secrecy; `es`, by the client's ephemeral and the laptop's static pair, proves
    the laptop; the key proves the stick. docs/protocol.md says what each keeps from whom.
    """

    def __init__(
        self,
        *,
        ee: bytes,
        es: bytes,
        laptop_public: bytes,
        exchange: Exchange[Key] | Exchange[StickKey],
        client_hello: bytes,
        server_hello: bytes,
    ) -> None:
        said = laptop_public + exchange.nonces + client_hello + server_hello
        self._transcript = digest(Kind.TRANSCRIPT.label + said)
        self._secret = ee + es + exchange.key.secret
        self._lasting = es + exchange.key.secret

    def key(self, kind: Kind) -> bytes:
        return derive(self._secret, kind.label, self._transcript)

    def seal(self, kind: Kind, payload: bytes) -> bytes:
        """Seal the one message of this kind: its key seals nothing else, so its nonce need not vary."""
        padded = payload.ljust(RECORD_PAYLOAD, b"\0")
        return seal(self.key(kind), bytes(NONCE_SIZE), kind.label + self._transcript, padded)

    def open(self, kind: Kind, sealed: bytes) -> bytes:
        return unseal(self.key(kind), bytes(NONCE_SIZE), kind.label + self._transcript, sealed)

    def secrets(self) -> Secrets:
        return Secrets(self.key(Kind.BUNDLE), self.key(Kind.PRESHARED_KEY), self.key(Kind.RELEASE_TOKEN))

    def over_key(self, laptop: bytes) -> bytes:
        """Return the key of "that session is over": without `ee`, which a laptop that was reset has forgotten."""
        return over.over_key(self._lasting, laptop)


_O = TypeVar("_O")


class _Side(Generic[_O]):
    """What both sides share: collect exactly the one message that may come now, and die of anything else."""

    def __init__(self, state: State) -> None:
        self.state = state
        self._buffer = b""
        self._expected: dict[State, tuple[int, Callable[[bytes, bytes], _O]]] = {}

    def _move(self, before: State, after: State) -> None:
        if self.state is not before:
            raise RuntimeError(f"called out of turn: {self.state.value}")
        self.state = after

    def _feed(self, data: bytes) -> _O | None:
        try:
            return self._collect(data)
        except StiefelError as error:
            self.state, self._buffer = State.FAILED, b""
            raise (error if isinstance(error, HandshakeError) else HandshakeError(str(error))) from None

    def _collect(self, data: bytes) -> _O | None:
        if not data:
            raise HandshakeError("the other side closed the connection")
        if self.state not in self._expected:
            raise HandshakeError("data that nobody asked for")
        size, handle = self._expected[self.state]
        self._buffer += data
        if len(self._buffer) < size:
            return None
        message, rest, self._buffer = self._buffer[:size], self._buffer[size:], b""
        return handle(message, rest)


def _nothing(rest: bytes) -> None:
    if rest:
        raise HandshakeError("more data than expected")


class ClientHandshake(_Side[Send | Granted | Busy | Ready]):
    """The desktop's side of one session attempt."""

    def __init__(
        self,
        exchange: Exchange[StickKey],
        facts: Facts,
        random: Random = os.urandom,
        ephemeral: KeyPair | None = None,
    ) -> None:
        """`exchange` comes from a Challenged of stage SERVER. `random` and `ephemeral` are for test
        vectors.
        """
        super().__init__(State.START)
        self._exchange, self._facts, self._random = exchange, facts.encode(), random
        self._nonce, self._ephemeral = random(NONCE_SIZE), ephemeral or KeyPair()
        self._hello = b""
        self._session: _Session
        self._expected = {
            State.HELLO: (SERVER_HELLO_SIZE, self._server_hello),
            State.ANSWER: (RECORD_SIZE, self._answer),
            State.READY: (RECORD_SIZE, self._ready),
        }

    def hello(self) -> bytes:
        """Return the first bytes to send."""
        self._move(State.START, State.HELLO)
        exchange = self._exchange
        key = derive(exchange.key.secret, Kind.CLIENT_HELLO.label)
        sealed = seal(key, self._nonce, Kind.CLIENT_HELLO.label + exchange.nonces, self._ephemeral.public)
        self._hello = bytes([VERSION]) + exchange.server_nonce + self._nonce + sealed
        return self._hello

    def feed(self, data: bytes) -> Send | Granted | Busy | Ready | None:
        """Take bytes; return what they amount to, None while a message is incomplete. Raises HandshakeError.

        Between Granted and `received` the connection's bytes belong to the bundle's Decoder, not here.
        """
        return self._feed(data)

    def received(self) -> bytes:
        """Return what to send once the bundle has arrived and is verified."""
        self._move(State.BUNDLE, State.READY)
        return self._session.seal(Kind.RECEIVED, Empty().encode())

    def _server_hello(self, message: bytes, rest: bytes) -> Send:
        _nothing(rest)
        exchange, nonce, sealed = self._exchange, message[:NONCE_SIZE], message[NONCE_SIZE:]
        key = derive(exchange.key.secret, Kind.SERVER_HELLO.label)
        associated = Kind.SERVER_HELLO.label + exchange.nonces + self._nonce
        public, laptop = unseal(key, nonce, associated, sealed), exchange.key.laptop_public
        self._session = _Session(
            ee=self._ephemeral.agree(public),
            es=self._ephemeral.agree(laptop),
            laptop_public=laptop,
            exchange=exchange,
            client_hello=self._hello,
            server_hello=message,
        )
        self.state = State.ANSWER
        return Send(self._session.seal(Kind.FACTS, self._facts))

    def _answer(self, message: bytes, rest: bytes) -> Granted | Busy:
        answer = decode_answer(self._session.open(Kind.ANSWER, message))
        if isinstance(answer, Grant):
            self.state = State.BUNDLE
            return Granted(answer, self._session.secrets(), rest, *self._last_words(answer.laptop))
        _nothing(rest)
        self.state = State.DONE
        return answer

    def _last_words(self, laptop: bytes) -> tuple[bytes, bytes]:
        """Return the target's question and its answer, both empty for a laptop that nothing tells from others."""
        if not any(laptop):
            return b"", b""
        secret, public = self._exchange.key.secret, self._ephemeral.public
        question = over.question(secret, public, laptop, self._random(NONCE_SIZE))
        return question, over.answer(self._session.over_key(laptop), question)

    def _ready(self, message: bytes, rest: bytes) -> Ready:
        _nothing(rest)
        Empty.decode(self._session.open(Kind.READY, message))
        self.state = State.DONE
        return Ready()


class ServerHandshake(_Side[Send | Asked | Received]):
    """The laptop's side of one TCP connection."""

    def __init__(self, challenges: Challenges, random: Random = os.urandom, ephemeral: KeyPair | None = None) -> None:
        """`challenges` is the Answerer's: a hello uses one of them up, once it has proven the key."""
        super().__init__(State.HELLO)
        self._challenges, self._random, self._ephemeral = challenges, random, ephemeral
        self._now, self._key_name = 0.0, ""
        self._session: _Session
        self._expected = {
            State.HELLO: (CLIENT_HELLO_SIZE, self._client_hello),
            State.FACTS: (RECORD_SIZE, self._client_facts),
            State.BUNDLE: (RECORD_SIZE, self._client_received),
        }

    def feed(self, data: bytes, now: float) -> Send | Asked | Received | None:
        """Take bytes; return what they amount to, None while a message is incomplete. Raises HandshakeError.

        `now` is the Answerer's clock. Received before the bundle was sent whole is an error of the client.
        """
        self._now = now
        return self._feed(data)

    def grant(self, grant: Grant) -> bytes:
        """Return the answer that gives the disk away; the bundle follows it."""
        self._move(State.DECIDING, State.BUNDLE)
        return self._session.seal(Kind.ANSWER, grant.encode())

    def over_key(self, laptop: bytes) -> bytes:
        """Return the key of this session's last word; `laptop` is what its grant says."""
        return self._session.over_key(laptop)

    def refuse(self, busy: Busy) -> bytes:
        """Return the answer that the disk is held by another; close the connection after it."""
        self._move(State.DECIDING, State.DONE)
        return self._session.seal(Kind.ANSWER, busy.encode())

    def ready(self) -> bytes:
        """Return what to send once the disk is being exported; close the connection after it."""
        self._move(State.EXPORTING, State.DONE)
        return self._session.seal(Kind.READY, Empty().encode())

    def _client_hello(self, message: bytes, rest: bytes) -> Send:
        _nothing(rest)
        version, server_nonce = message[0], message[1 : 1 + NONCE_SIZE]
        exchange = self._challenges.find(server_nonce, self._now)
        if version != VERSION or exchange is None:
            raise HandshakeError("no such challenge is outstanding")
        nonce, sealed = message[1 + NONCE_SIZE : 1 + 2 * NONCE_SIZE], message[1 + 2 * NONCE_SIZE :]
        key = derive(exchange.key.secret, Kind.CLIENT_HELLO.label)
        public = unseal(key, nonce, Kind.CLIENT_HELLO.label + exchange.nonces, sealed)
        self._challenges.redeem(exchange)
        self._key_name, self.state = exchange.key.name, State.FACTS
        return self._server_hello(exchange, message, nonce, public)

    def _server_hello(self, exchange: Exchange[Key], client_hello: bytes, client_nonce: bytes, public: bytes) -> Send:
        ephemeral, nonce = self._ephemeral or KeyPair(), self._random(NONCE_SIZE)
        key = derive(exchange.key.secret, Kind.SERVER_HELLO.label)
        associated = Kind.SERVER_HELLO.label + exchange.nonces + client_nonce
        hello = nonce + seal(key, nonce, associated, ephemeral.public)
        laptop = KeyPair.of(exchange.key.laptop_private)
        self._session = _Session(
            ee=ephemeral.agree(public),
            es=laptop.agree(public),
            laptop_public=laptop.public,
            exchange=exchange,
            client_hello=client_hello,
            server_hello=hello,
        )
        return Send(hello)

    def _client_facts(self, message: bytes, rest: bytes) -> Asked:
        _nothing(rest)
        facts = Facts.decode(self._session.open(Kind.FACTS, message))
        self.state = State.DECIDING
        return Asked(facts, self._key_name, self._session.secrets())

    def _client_received(self, message: bytes, rest: bytes) -> Received:
        _nothing(rest)
        Empty.decode(self._session.open(Kind.RECEIVED, message))
        self.state = State.EXPORTING
        return Received()
