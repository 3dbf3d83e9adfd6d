"""How large may a packet on this cable be? The client asks, before a session begins, and the server echoes. Pure.

A link may swallow packets of some sizes and be well otherwise (failure mode F42), and both ends may take larger ones
than is usual. So one probe of each size is sent at once, as large as it asks for, and the largest one that came back is
used, if it came within ROUNDS rounds. Probe and echo are sealed: nobody else can make a size look good, and who keeps
them from coming through could as well cut the cable. docs/protocol.md tells the story.
"""

import os
from collections.abc import Sequence

from stiefel_agent.errors import MessageError, SealError
from stiefel_agent.protocol.crypto import NONCE_SIZE, Random, derive
from stiefel_agent.protocol.discovery import Address, Exchange
from stiefel_agent.protocol.keys import StickKey
from stiefel_agent.protocol.messages import Echo, Empty, Kind, open_datagram, seal_datagram
from stiefel_agent.protocol.sizes import IP_HEADER, SIZES, UDP_HEADER, payload

ROUNDS = 3
"""For the edge: how often what was not answered is asked again. Any datagram may be lost once."""
ROUND_SECONDS = 0.3
"""For the edge: how long it waits for the answers of a round; a slow machine takes some 20 ms for the largest."""
TRIALS = 64
"""Datagrams that are looked at with cryptography: several times of what a laptop sends."""


class Probing:
    """The client's search for the largest packet, after one challenge of stage SERVER and before its hello."""

    def __init__(
        self, exchange: Exchange[StickKey], source: Address, largest: int, random: Random = os.urandom
    ) -> None:
        """`source`: where the challenge came from; `largest`: what our own interface takes."""
        self._exchange, self._source, self._random = exchange, source, random
        self._probe_key = derive(exchange.key.secret, Kind.PROBE.label)
        self._echo_key = derive(exchange.key.secret, Kind.ECHO.label)
        self._wanted = [size for size in SIZES if size <= largest]
        self._asked: dict[bytes, int] = {}
        self._trials = TRIALS
        self.found = 0
        """The largest packet that came back so far; 0: none."""

    @property
    def complete(self) -> bool:
        """Whether no further answer would change anything."""
        return not self._wanted

    def probes(self) -> Sequence[bytes]:
        """Return a fresh probe of each size that is still of interest."""
        made = []
        for size in self._wanted:
            nonce = self._random(NONCE_SIZE)
            self._asked[nonce] = size
            sealing = self._probe_key, Kind.PROBE, nonce, self._exchange.nonces
            made.append(seal_datagram(*sealing, Empty().encode(), size=payload(size)))
        return made

    def receive(self, datagram: bytes, source: Address) -> None:
        """Take one datagram; what is no echo of one of our probes changes nothing. Never raises."""
        size = len(datagram) + UDP_HEADER + IP_HEADER
        if size not in self._wanted or source != self._source or not self._trials:
            return
        self._trials -= 1
        for nonce in [nonce for nonce, asked in self._asked.items() if asked == size]:
            try:
                seen = self._exchange.nonces + nonce
                echo = Echo.decode(open_datagram(self._echo_key, Kind.ECHO, seen, datagram, len(datagram)))
            except (SealError, MessageError):
                continue
            self.found = size
            self._wanted = [larger for larger in self._wanted if size < larger <= echo.largest]
            return
