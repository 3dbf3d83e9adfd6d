"""What crossed the cable: the file that the hub writes, and a search in it for what must never cross in clear.

The format is classic pcap, which Wireshark reads too: https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap
"""

from __future__ import annotations

import base64
import hashlib
import struct
from bisect import bisect
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from .shell import LabError

LARGEST_FRAME = 65536
# Timestamps in microseconds, version 2.4, two reserved fields, the largest frame, LINKTYPE_ETHERNET.
FILE_HEADER = struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, LARGEST_FRAME, 1)
RECORD = struct.Struct("<IIII")  # seconds, microseconds, length in the file, length on the cable

# Where things are in a frame: Ethernet's header, IPv6's without extensions, UDP's or TCP's.
ETHERNET_END = 14
IPV6 = b"\x86\xdd"
NEXT_HEADER = 20
UDP, TCP = 17, 6
ADDRESSES = 22
TRANSPORT = 54
UDP_END = TRANSPORT + 8
TCP_SMALLEST_END = TRANSPORT + 20

RUN = 16
CHUNK = 8
KEY_SIZE = 32
FEWEST_VALUES = 6
"""Different bytes of a run that tells something: an address with zeros has fewer. Of random runs one in 10^13 has."""
PADDING = frozenset(int.from_bytes(bytes([value]) * CHUNK) for value in range(256))


def record(frame: bytes, nanoseconds: int) -> bytes:
    """A frame as the file holds it; `nanoseconds` is when it came (time.time_ns)."""
    return RECORD.pack(nanoseconds // 10**9, nanoseconds % 10**9 // 1000, len(frame), len(frame)) + frame


def frames(pcap: Path) -> Iterator[bytes]:
    """Each frame of a hub's file; an unfinished record at its end is left out, for the hub may be writing it.

    Raises:
        LabError: the file does not begin as the hub's do.
    """
    with pcap.open("rb") as file:
        if file.read(len(FILE_HEADER)) != FILE_HEADER:
            raise LabError(f"{pcap} was not written by the lab's hub")
        while len(head := file.read(RECORD.size)) == RECORD.size:
            length = RECORD.unpack(head)[2]
            if len(frame := file.read(length)) == length:
                yield frame


def datagrams(pcap: Path, sender: bytes, port: int, receiver: bytes = b"") -> int:
    """How many UDP datagrams a MAC address has sent to a port, to anybody or to one MAC address."""
    wanted = port.to_bytes(2)
    return sum(
        frame[6:12] == sender and frame[TRANSPORT + 2 : TRANSPORT + 4] == wanted and frame.startswith(receiver)
        for frame in frames(pcap)
        if _carries(frame, UDP, UDP_END)
    )


def payload(frame: bytes) -> bytes:
    """What follows the UDP or TCP header of an IPv6 frame; of all others, everything after the Ethernet header."""
    end = ETHERNET_END
    if _carries(frame, UDP, UDP_END):
        end = UDP_END
    elif _carries(frame, TCP, TCP_SMALLEST_END):
        end = TRANSPORT + 4 * (frame[TRANSPORT + 12] >> 4)
    # A header that claims to be longer than its frame hides nothing.
    return frame[end:] if end <= len(frame) else frame[ETHERNET_END:]


def _carries(frame: bytes, transport: int, smallest: int) -> bool:
    """Whether the frame is IPv6 with that protocol in it, and long enough for both headers."""
    return len(frame) >= smallest and frame[12:14] == IPV6 and frame[NEXT_HEADER] == transport


class Needles:
    """Named secrets to look for: a secret was seen where any 16 bytes in a row of it are.

    In each such run are 8 bytes that begin at a multiple of 8 in the secret. Those are kept, and every place of the
    data is asked for them; only for one that is there are 16 bytes compared. Eight times the same byte is left out,
    because zeros are no secret: a run goes unseen when all that it has at multiples of 8 is such padding, or when it
    has no more than five different bytes, as many addresses have and tables in a kernel.

    A kernel's first and last megabyte have code in them of which other programs have runs, too: only what is between,
    which is compressed, tells whether it was this kernel.

    Raises:
        ValueError: a secret has less than 16 bytes, or nothing but padding: it could never be found.
    """

    def __init__(self, secrets: Mapping[str, bytes]) -> None:
        self._secrets = list(secrets.items())
        # Places are counted through all secrets, one after the other: an int per place takes the least memory.
        self._starts: list[int] = []
        self._places: dict[int, int] = {}  # the last place of each chunk
        self._earlier: dict[int, int] = {}  # for a place, the one before it that has the same chunk
        start = 0
        for name, secret in self._secrets:
            if len(secret) < RUN:
                raise ValueError(f"{name} has {len(secret)} bytes: nothing shorter than {RUN} can be looked for")
            self._starts.append(start)
            self._add(name, secret, start)
            start += len(secret)
        self._chunks = frozenset(self._places)  # asked for every place of the data: a third quicker than the dict

    def _add(self, name: str, secret: bytes, start: int) -> None:
        """Remember where the chunks of one secret are."""
        chunks = memoryview(secret)[: len(secret) // CHUNK * CHUNK].cast("Q")
        if PADDING.issuperset(chunks):
            raise ValueError(f"{name} is nothing but padding")
        for place, chunk in enumerate(chunks):
            if chunk not in PADDING:
                here = start + place * CHUNK
                if chunk in self._places:
                    self._earlier[here] = self._places[chunk]
                self._places[chunk] = here

    def found(self, data: bytes) -> set[str]:
        """The names of the secrets that `data` holds 16 bytes in a row of."""
        names: set[str] = set()
        if len(data) < RUN:
            return names
        view = memoryview(data)
        for shift in range(CHUNK):
            chunks = view[shift : shift + (len(data) - shift) // CHUNK * CHUNK].cast("Q")
            if self._chunks.isdisjoint(chunks):
                continue
            for number, chunk in enumerate(chunks):
                place = self._places.get(chunk)
                while place is not None:
                    name, secret, offset = self._at(place)
                    if name not in names and _share_run(data, shift + number * CHUNK, secret, offset):
                        names.add(name)
                    place = self._earlier.get(place)
        return names

    def _at(self, place: int) -> tuple[str, bytes, int]:
        """The secret that a place is in, and where in it."""
        index = bisect(self._starts, place) - 1
        return *self._secrets[index], place - self._starts[index]


def _share_run(data: bytes, at: int, secret: bytes, offset: int) -> bool:
    """Whether a chunk that both have, there and there, lies within a whole run that both have."""
    for before in range(min(RUN - CHUNK, at, offset) + 1):
        run = secret[offset - before : offset - before + RUN]
        if len(run) == RUN and len(set(run)) >= FEWEST_VALUES and data.startswith(run, at - before):
            return True
    return False


def derived(key: bytes) -> dict[str, bytes]:
    """What would give a key away: its bytes, its usual spellings and its hashes."""
    if len(key) != KEY_SIZE:
        raise ValueError(f"a key has {KEY_SIZE} bytes, not {len(key)}")
    hashes = {name: hashlib.new(name, key).digest() for name in ("md5", "sha1", "sha256", "sha512")}
    return {"key": key, "hex": key.hex().encode(), "base64": base64.b64encode(key)} | hashes


def search(pcap: Path, needles: Needles) -> dict[str, int]:
    """How many frames held each secret; one that is not named was in none.

    A secret may begin in one TCP segment and end in the next: the payloads of a direction are joined in the order of
    the capture. A capture in which nothing is found proves something only if the traffic is in it: look for a text,
    too, that must have crossed.
    """
    held: Counter[str] = Counter()
    ends: dict[bytes, bytes] = {}
    for frame in frames(pcap):
        data = payload(frame)
        if _carries(frame, TCP, TCP_SMALLEST_END):
            direction = frame[ADDRESSES : TRANSPORT + 4]  # both addresses and both ports
            data = ends.get(direction, b"") + data
            ends[direction] = data[1 - RUN :]
        held.update(needles.found(data))
    return dict(held)
