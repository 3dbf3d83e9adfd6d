"""Adapters that lose what they are to cut into packets themselves: what TCP has to send again tells of them.

TCP hands long segments to the adapter (TSO), and some lose most of such a segment, so that everything crawls and
nothing ever fails (QEMU's e1000e with IPv6: 0.35 MB/s in the place of 17). A cable loses next to nothing by itself.
"""

import socket
import struct
from collections.abc import Iterable

SEGMENTS = 100
"""So many must have been sent before a judgement is worth anything."""
ONE_IN = 8
"""Lost: at least one in so many. Congestion loses one in a hundred; an adapter that cannot cut loses nearly all."""
WORDS = "This adapter loses what it is to cut into packets itself: that is done without it from now on."
_INFO = struct.Struct("=100xI32xI")  # linux/tcp.h, struct tcp_info: tcpi_total_retrans, tcpi_segs_out (since 4.2)


class Losses:
    """What connections had to send again, from one look to the next."""

    def __init__(self) -> None:
        self._before = (0, 0)

    def forget(self, connections: Iterable[socket.socket]) -> None:
        """Begin anew: what got lost so far had another reason."""
        self._before = _counted(connections)

    def heavy(self, connections: Iterable[socket.socket]) -> bool:
        """Say whether a large part of what was sent since the last judgement got lost; False too: not enough was sent.

        Raises:
            OSError: one of them is closed.
        """
        now = _counted(connections)
        again, sent = now[0] - self._before[0], now[1] - self._before[1]
        if again >= 0 and 0 <= sent < SEGMENTS:
            return False
        self._before = now  # other connections than before may have had more to tell
        return again >= 0 and again * ONE_IN >= sent > 0


def _counted(connections: Iterable[socket.socket]) -> tuple[int, int]:
    infos = (one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size) for one in connections)
    counts = [_INFO.unpack(info) for info in infos]
    return sum(again for again, _ in counts), sum(sent for _, sent in counts)
