"""One laptop and one desktop without a network, for the tests of the agent's core."""

from dataclasses import dataclass, field
from hashlib import sha256
from ipaddress import IPv6Address

from stiefel_agent.protocol.crypto import KeyPair, Random
from stiefel_agent.protocol.discovery import Address, Answerer, Challenged, Datagram, Exchange, Proven, Seeker
from stiefel_agent.protocol.handshake import Asked, ClientHandshake, Granted, Ready, Received, Send, ServerHandshake
from stiefel_agent.protocol.keys import Key, StickKey
from stiefel_agent.protocol.messages import Challenge, Facts, Grant, Stage, Tunnel, laptop_of, machine_of

KEY = Key("stick", bytes(range(32)), sha256(b"laptop").digest())
OTHER_KEY = Key("other", bytes(range(32, 64)), sha256(b"other laptop").digest())
STICK, OTHER_STICK = KEY.for_stick(), OTHER_KEY.for_stick()

CLIENT_INTERFACE = 7
CLIENT: Address = ("fe80::5054:ff:fe00:2", 40000, 0, 3)
"""The client's address as the laptop sees it."""
LAPTOP: Address = ("fe80::5054:ff:fe00:1", 61570, 0, CLIENT_INTERFACE)
"""The laptop's address as the client sees it."""

AUTOKEXEC = Challenge(Stage.AUTOKEXEC, "laptop")
SERVER = Challenge(Stage.SERVER, "laptop", 61570)
FACTS = Facts("desktop", bytes(range(100, 132)), machine_of(KEY.secret, "product_uuid=desktop 1"), 1400)
TUNNEL = Tunnel(bytes(range(200, 232)), 61572, IPv6Address("fd73::1"), IPv6Address("fd73::2"))
LAPTOP_IDENTITY = "/dev/disk/by-id/nvme-laptop"
GRANT = Grant(TUNNEL, 10809, bytes(range(16)).hex(), 4, 512, 61571, laptop_of(KEY.secret, LAPTOP_IDENTITY))


class Drawn:
    """Deterministic random bytes: SHA-256 in counter mode over a seed, as docs/protocol.md describes."""

    def __init__(self, seed: str) -> None:
        self._seed, self._block, self._left = seed.encode(), 0, b""

    def __call__(self, size: int) -> bytes:
        missing = -(-max(0, size - len(self._left)) // 32)
        blocks = range(self._block, self._block + missing)
        self._left += b"".join(sha256(self._seed + block.to_bytes(4, "big")).digest() for block in blocks)
        self._block += missing
        drawn, self._left = self._left[:size], self._left[size:]
        return drawn


@dataclass
class Pair:
    """An Answerer and a Seeker on one cable, and the exchange between them."""

    challenge: Challenge = SERVER
    laptop_keys: tuple[Key, ...] = (KEY,)
    client_key: StickKey = STICK
    laptop_random: Random = field(default_factory=lambda: Drawn("laptop"))
    client_random: Random = field(default_factory=lambda: Drawn("client"))
    takes: int = 1500
    """Bytes of the largest packet that the laptop's interface takes."""

    def __post_init__(self) -> None:
        largest = (lambda _: self.takes) if self.challenge.stage is Stage.SERVER else None
        self.answerer = Answerer(self.laptop_keys, self.challenge, self.laptop_random, largest=largest)
        self.seeker = Seeker(self.client_key, self.client_random)

    def challenged(self, now: float = 0.0) -> Challenged:
        sent = self.answerer.receive(self.seeker.beacon(CLIENT_INTERFACE, now), CLIENT, now)
        assert isinstance(sent, Datagram)
        heard = self.seeker.receive(sent.data, LAPTOP, now)
        assert isinstance(heard, Challenged)
        return heard

    def proven(self, now: float = 0.0) -> Proven:
        proof = self.seeker.prove(self.challenged(now), "desktop")
        heard = self.answerer.receive(proof.data, CLIENT, now)
        assert isinstance(heard, Proven)
        return heard


class Conversation:
    """A handshake whose messages can be looked at, or changed, one by one."""

    NAMES = ("client hello", "server hello", "facts", "answer", "received", "ready")

    def __init__(
        self,
        pair: Pair | None = None,
        *,
        client_exchange: Exchange[StickKey] | None = None,
        client_random: Random | None = None,
        server_random: Random | None = None,
        ephemerals: tuple[KeyPair | None, KeyPair | None] = (None, None),
    ) -> None:
        self.pair = pair or Pair()
        self.exchange = client_exchange or self.pair.challenged().exchange
        self.client = ClientHandshake(self.exchange, FACTS, client_random or Drawn("client session"), ephemerals[0])
        challenges = self.pair.answerer.challenges
        self.server = ServerHandshake(challenges, server_random or Drawn("laptop session"), ephemerals[1])
        self.asked: Asked | None = None
        self.granted: Granted | None = None
        self.messages: list[bytes] = []

    def run(self, count: int = 6) -> "Conversation":
        """Produce `count` messages; all but the last of them are delivered."""
        steps = (
            self.client.hello,
            self._server_hello,
            self._facts,
            self._answer,
            self._received,
            self._ready,
        )
        for step in steps[len(self.messages) : count]:
            self.messages.append(step())
        return self

    def deliver(self, data: bytes) -> object:
        """Give bytes to whoever waits for the last message that `run` produced."""
        to_server = len(self.messages) % 2 == 1
        return self.server.feed(data, 0.0) if to_server else self.client.feed(data)

    def finish(self) -> None:
        self.run()
        assert isinstance(self.deliver(self.messages[-1]), Ready)

    def _server_hello(self) -> bytes:
        sent = self.deliver(self.messages[-1])
        assert isinstance(sent, Send)
        return sent.data

    _facts = _server_hello

    def _answer(self) -> bytes:
        asked = self.deliver(self.messages[-1])
        assert isinstance(asked, Asked)
        self.asked = asked
        return self.server.grant(GRANT)

    def _received(self) -> bytes:
        granted = self.deliver(self.messages[-1])
        assert isinstance(granted, Granted)
        self.granted = granted
        return self.client.received()

    def _ready(self) -> bytes:
        assert isinstance(self.deliver(self.messages[-1]), Received)
        return self.server.ready()
