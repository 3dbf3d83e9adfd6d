"""Finding each other on the cable: beacon, challenge, proof, notice. Pure: datagrams, sources and time come
in.

`Seeker` is the client's half, `Answerer` the laptop's (autokexec and server alike). Neither ever raises on
what it receives, neither grows: every table has its bound below. docs/protocol.md tells the story.
"""

import os
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address
from typing import Generic, TypeVar

from stiefel_agent.errors import MessageError, SealError
from stiefel_agent.protocol.crypto import NONCE_SIZE, Random, derive
from stiefel_agent.protocol.keys import KEYS_LIMIT, Key, StickKey
from stiefel_agent.protocol.meeting import DATAGRAM_SIZE
from stiefel_agent.protocol.messages import (
    VERSION,
    Challenge,
    Echo,
    Empty,
    Kind,
    Notice,
    Proof,
    Stage,
    datagram_nonce,
    open_datagram,
    seal_datagram,
)
from stiefel_agent.protocol.over import Witness
from stiefel_agent.protocol.sizes import SIZES, payload

_M = TypeVar("_M")
_K = TypeVar("_K", bound=Key | StickKey)

CHALLENGE_SECONDS = 20.0
"""How long a challenge can be used, and a beacon be answered: an exchange takes milliseconds, a slow machine
1 s.
"""
CHALLENGES_LIMIT = 64
"""Challenges outstanding at once; a newer one drives out the oldest."""
CHALLENGES_PER_SOURCE = 4
"""Challenges outstanding for one source: a client that lost some datagrams sends a few beacons."""
SEEN_LIMIT = 4096
"""Nonces of opened datagrams remembered against replay: over an hour of one client's beacons, 64 KiB."""
TRIALS_PER_SECOND, TRIALS_BURST = 50.0, 100.0
"""Datagrams that are looked at with cryptography: a classroom's beacons. At most about 3 ms each (16 keys)."""
CHALLENGES_PER_SECOND, CHALLENGES_BURST = 5.0, 20.0
"""Challenges sent, and as many answers to targets. A client sends one beacon per second and interface."""
BEACONS_REMEMBERED = 4
"""Beacons per interface that a challenge may still answer."""
INTERFACES_LIMIT = 64
"""Interfaces that one Seeker sends beacons on."""
PROBES = frozenset(map(payload, SIZES))
"""Bytes of the probes that are answered. None of them is a datagram of another type."""
ANSWERS_REMEMBERED = 64
"""Challenges that a Seeker remembers, to ignore their duplicates."""
PROOFS_REMEMBERED = 16
"""Laptops that a Seeker has proven the key to and whose notices it reads."""

Address = tuple[str, int, int, int]
"""What recvfrom() gives on an IPv6 socket: host (without a %scope), port, flow info, interface index."""


@dataclass(frozen=True, slots=True)
class Exchange(Generic[_K]):
    """One beacon and its challenge: both nonces, and the key that sealed them, as this side has it."""

    key: _K
    client_nonce: bytes
    server_nonce: bytes

    @property
    def nonces(self) -> bytes:
        """The client's nonce, then the laptop's: 32 bytes of every later message's associated data."""
        return self.client_nonce + self.server_nonce


@dataclass(frozen=True, slots=True)
class Datagram:
    """Bytes to send, and where to."""

    data: bytes
    to: Address


@dataclass(frozen=True, slots=True)
class Proven:
    """Answerer: a desktop has proven, freshly, that it has the key. Answer with `Answerer.notice`."""

    exchange: Exchange[Key]
    source: Address
    desktop: str
    """The desktop's name. The key's name is `exchange.key.name`."""


@dataclass(frozen=True, slots=True)
class Challenged:
    """Seeker: a laptop with the key answered. Stage AUTOKEXEC: send `Seeker.prove`; SERVER: begin a
    ClientHandshake.
    """

    exchange: Exchange[StickKey]
    source: Address
    challenge: Challenge


@dataclass(frozen=True, slots=True)
class OtherVersion:
    """Answerer: something here speaks another version of the protocol, most likely a stick to be written anew.

    Nothing proves it, so it is worth one line in the journal and no more; an Answerer says it once.
    """

    version: int


@dataclass(frozen=True, slots=True)
class Noticed:
    """Seeker: the laptop says what it does about our proof."""

    source: Address
    notice: Notice


class TokenBucket:
    """Allows `rate` events per second in the long run and `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._filled = burst, float("-inf")

    def take(self, now: float) -> bool:
        """Spend one token if there is one; `now` is in seconds and never goes back."""
        elapsed = max(0.0, now - self._filled)
        self._tokens, self._filled = min(self._burst, self._tokens + elapsed * self._rate), now
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class Memory:
    """Remembers the newest `limit` byte strings."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._items: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, item: bytes) -> bool:
        return item in self._items

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: bytes) -> None:
        """Remember `item`, forget the oldest if there are too many."""
        self._items[item] = None
        if len(self._items) > self._limit:
            self._items.popitem(last=False)


class Challenges:
    """The outstanding challenges: single use, bounded in number and age."""

    def __init__(self) -> None:
        self._issued: OrderedDict[bytes, tuple[Exchange[Key], Address, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._issued)

    def issue(self, exchange: Exchange[Key], source: Address, now: float) -> None:
        """Take note of a challenge that is about to be sent."""
        of_source = self.of(source, now)
        if len(of_source) >= CHALLENGES_PER_SOURCE:
            self.redeem(of_source[0])
        if len(self._issued) >= CHALLENGES_LIMIT:
            self._issued.popitem(last=False)
        self._issued[exchange.server_nonce] = (exchange, source, now + CHALLENGE_SECONDS)

    def find(self, server_nonce: bytes, now: float) -> Exchange[Key] | None:
        """Return the exchange of an outstanding challenge, which stays outstanding."""
        self._expire(now)
        found = self._issued.get(server_nonce)
        return found[0] if found else None

    def of(self, source: Address, now: float) -> list[Exchange[Key]]:
        """Return the outstanding exchanges of one source, oldest first."""
        self._expire(now)
        return [exchange for exchange, issued_to, _ in self._issued.values() if issued_to == source]

    def redeem(self, exchange: Exchange[Key]) -> bool:
        """Use a challenge up; False if it was used, driven out or forgotten before."""
        return self._issued.pop(exchange.server_nonce, None) is not None

    def _expire(self, now: float) -> None:
        while self._issued and next(iter(self._issued.values()))[2] <= now:
            self._issued.popitem(last=False)


class Answerer:
    """The laptop's half of discovery, with a keyring: answers whoever has one of the keys, and nobody else.

    `challenges` is what a ServerHandshake wants, so that each challenge leads to one session attempt.
    """

    def __init__(
        self,
        keys: Sequence[Key],
        challenge: Challenge,
        random: Random = os.urandom,
        witness: Witness | None = None,
        largest: Callable[[int], int] | None = None,
    ) -> None:
        """`challenge` is what every valid beacon is told; it is encoded now, so that a bad name shows at once.

        `witness` answers the targets of sessions that are over; without one they hear nothing. `largest` returns the
        largest packet that an interface (its index) takes; without it probes are not answered.
        """
        if not 1 <= len(keys) <= KEYS_LIMIT:
            raise ValueError(f"1 to {KEYS_LIMIT} keys")
        self.challenges = Challenges()
        self._beacon_keys = [(key, derive(key.secret, Kind.BEACON.label)) for key in keys]
        self._proves = challenge.stage is Stage.AUTOKEXEC
        self._payload = challenge.encode()
        self._witness, self._largest = witness, largest
        self._random = random
        self._seen = Memory(SEEN_LIMIT)
        self._known = TokenBucket(TRIALS_PER_SECOND, TRIALS_BURST)
        self._strangers = TokenBucket(TRIALS_PER_SECOND, TRIALS_BURST)
        self._replies = TokenBucket(CHALLENGES_PER_SECOND, CHALLENGES_BURST)
        self._questions = TokenBucket(CHALLENGES_PER_SECOND, CHALLENGES_BURST)
        self._notices = 0
        self._told_of_others = False

    def receive(self, datagram: bytes, source: Address, now: float) -> Datagram | Proven | OtherVersion | None:
        """Take one datagram; return what is to be sent, a proven desktop, or None: say nothing at all.

        Never raises. `now` is monotonic, in seconds.
        """
        if not self._told_of_others and _is_of_another_version(datagram, source):
            self._told_of_others = True
            return OtherVersion(datagram[0])
        if len(datagram) in PROBES:
            return self._echo(datagram, source, now)
        if not _acceptable(datagram, source) or datagram_nonce(datagram) in self._seen:
            return None
        outstanding = self.challenges.of(source, now)
        bucket = self._known if outstanding else self._strangers
        if not bucket.take(now):
            return None
        if self._proves:
            for exchange in outstanding:
                if proven := self._proof(datagram, exchange, source):
                    return proven
        return self._beacon(datagram, source, now) or self._question(datagram, source, now)

    def notice(self, proven: Proven, notice: Notice) -> Datagram:
        """Return the notice to send; its number is filled in. Use the newest Proven of a source."""
        self._notices += 1
        exchange = proven.exchange
        payload = notice.numbered(self._notices).encode()
        key = derive(exchange.key.secret, Kind.NOTICE.label)
        nonce = self._random(NONCE_SIZE)
        return Datagram(seal_datagram(key, Kind.NOTICE, nonce, exchange.nonces, payload), proven.source)

    def _proof(self, datagram: bytes, exchange: Exchange[Key], source: Address) -> Proven | None:
        key = derive(exchange.key.secret, Kind.PROOF.label)
        proof = _read(Proof.decode, key, Kind.PROOF, exchange.nonces, datagram)
        if proof is None:
            return None
        self.challenges.redeem(exchange)
        self._seen.add(datagram_nonce(datagram))
        return Proven(exchange, source, proof.desktop)

    def _beacon(self, datagram: bytes, source: Address, now: float) -> Datagram | None:
        for key, beacon_key in self._beacon_keys:
            if _read(Empty.decode, beacon_key, Kind.BEACON, b"", datagram):
                self._seen.add(datagram_nonce(datagram))
                return self._challenge(key, datagram_nonce(datagram), source, now)
        return None

    def _echo(self, probe: bytes, source: Address, now: float) -> Datagram | None:
        """Answer a probe of whoever was challenged and has not begun yet, with as many bytes."""
        size, outstanding = len(probe), self.challenges.of(source, now)
        if not outstanding or not _acceptable(probe, source, size) or datagram_nonce(probe, size) in self._seen:
            return None
        largest = self._largest(source[3]) if self._largest else 0
        if size > payload(largest) or not self._known.take(now):
            return None
        for exchange in outstanding:
            secret, nonces = exchange.key.secret, exchange.nonces
            if _read(Empty.decode, derive(secret, Kind.PROBE.label), Kind.PROBE, nonces, probe, size=size):
                self._seen.add(asked := datagram_nonce(probe, size))
                key, nonce = derive(secret, Kind.ECHO.label), self._random(NONCE_SIZE)
                said = Echo(largest).encode()
                return Datagram(seal_datagram(key, Kind.ECHO, nonce, nonces + asked, said, size=size), source)
        return None

    def _question(self, datagram: bytes, source: Address, now: float) -> Datagram | None:
        """Answer a target whose session is over. The same question comes again and again, so it may be one seen before:
        what is over stays over, and a repeated answer is worth no more than the first.
        """
        if self._witness is None or not (answer := self._witness.hear(datagram)):
            return None
        return Datagram(answer, source) if self._questions.take(now) else None

    def _challenge(self, key: Key, client_nonce: bytes, source: Address, now: float) -> Datagram | None:
        if not self._replies.take(now):
            return None
        exchange = Exchange(key, client_nonce, self._random(NONCE_SIZE))
        self.challenges.issue(exchange, source, now)
        sealing = derive(key.secret, Kind.CHALLENGE.label)
        data = seal_datagram(sealing, Kind.CHALLENGE, exchange.server_nonce, client_nonce, self._payload)
        return Datagram(data, source)


class Seeker:
    """The client's half of discovery: sends beacons, reads challenges, proves, reads notices."""

    def __init__(self, key: StickKey, random: Random = os.urandom) -> None:
        self._key, self._random = key, random
        self._beacon_key, self._challenge_key, self._proof_key, self._notice_key = (
            derive(key.secret, kind.label) for kind in (Kind.BEACON, Kind.CHALLENGE, Kind.PROOF, Kind.NOTICE)
        )
        self._beacons: OrderedDict[int, deque[tuple[bytes, float]]] = OrderedDict()
        self._answered = Memory(ANSWERS_REMEMBERED)
        self._proofs: OrderedDict[Address, tuple[Exchange[StickKey], int]] = OrderedDict()
        self._bucket = TokenBucket(TRIALS_PER_SECOND, TRIALS_BURST)

    def beacon(self, interface: int, now: float) -> bytes:
        """Return a fresh beacon for one interface (its index), to be sent to GROUP, PORT there and nowhere
        else.
        """
        if interface not in self._beacons and len(self._beacons) >= INTERFACES_LIMIT:
            self._beacons.popitem(last=False)
        nonce = self._random(NONCE_SIZE)
        self._beacons.setdefault(interface, deque(maxlen=BEACONS_REMEMBERED)).append((nonce, now))
        return seal_datagram(self._beacon_key, Kind.BEACON, nonce, b"", Empty().encode())

    def receive(self, datagram: bytes, source: Address, now: float) -> Challenged | Noticed | None:
        """Take one datagram; return what a laptop with the key says, or None. Never raises."""
        if not _acceptable(datagram, source) or datagram_nonce(datagram) in self._answered:
            return None
        fresh = self._fresh(source[3], now)
        if not (fresh or source in self._proofs) or not self._bucket.take(now):
            return None
        return self._challenge(datagram, source, fresh) or self._notice(datagram, source)

    def prove(self, challenged: Challenged, desktop: str) -> Datagram:
        """Return the proof for a challenge of stage AUTOKEXEC; `desktop` is this machine's name for people.

        Only notices that answer the newest proof to a source are read.
        """
        exchange, source = challenged.exchange, challenged.source
        if source not in self._proofs and len(self._proofs) >= PROOFS_REMEMBERED:
            self._proofs.popitem(last=False)
        self._proofs[source] = (exchange, 0)
        payload, nonce = Proof(desktop).encode(), self._random(NONCE_SIZE)
        return Datagram(seal_datagram(self._proof_key, Kind.PROOF, nonce, exchange.nonces, payload), source)

    def _fresh(self, interface: int, now: float) -> list[bytes]:
        sent = self._beacons.get(interface, ())
        return [nonce for nonce, at in sent if now - at < CHALLENGE_SECONDS]

    def _challenge(self, datagram: bytes, source: Address, fresh: list[bytes]) -> Challenged | None:
        for client_nonce in reversed(fresh):
            challenge = _read(Challenge.decode, self._challenge_key, Kind.CHALLENGE, client_nonce, datagram)
            if challenge:
                exchange = Exchange(self._key, client_nonce, datagram_nonce(datagram))
                self._answered.add(exchange.server_nonce)
                return Challenged(exchange, source, challenge)
        return None

    def _notice(self, datagram: bytes, source: Address) -> Noticed | None:
        if source not in self._proofs:
            return None
        exchange, newest = self._proofs[source]
        notice = _read(Notice.decode, self._notice_key, Kind.NOTICE, exchange.nonces, datagram)
        if notice is None or notice.number <= newest:
            return None
        self._proofs[source] = (exchange, notice.number)
        return Noticed(source, notice)


def _acceptable(datagram: bytes, source: Address, size: int = DATAGRAM_SIZE) -> bool:
    """Say whether a datagram is worth any cryptography: right size and version, from the cable itself."""
    try:
        datagram_nonce(datagram, size)
    except MessageError:
        return False
    return _is_link_local(source)


def _is_link_local(source: Address) -> bool:
    try:
        return IPv6Address(source[0]).is_link_local
    except ValueError:
        return False


def _is_of_another_version(datagram: bytes, source: Address) -> bool:
    return len(datagram) == DATAGRAM_SIZE and datagram[0] not in (0, VERSION) and _is_link_local(source)


def _read(
    decode: Callable[[bytes], _M], key: bytes, kind: Kind, seen: bytes, datagram: bytes, *, size: int = DATAGRAM_SIZE
) -> _M | None:
    try:
        return decode(open_datagram(key, kind, seen, datagram, size))
    except (SealError, MessageError):
        return None
