"""How large a packet gets to the laptop and back, as the target finds out: it asks for an echo of each size.

What the client has found in the ramdisk is no more than a bound here: this is another kernel, perhaps with another
driver, and later another cable. The echo is ICMPv6's own (RFC 4443, section 4): the laptop's kernel answers it inside
the tunnel, and nobody else can; without encryption it is asked for on the cable itself, as everything is there.
"""

import os
import select
import socket
import struct
import time
from contextlib import suppress

from stiefel_agent.machine import netdev
from stiefel_agent.protocol.session import Session
from stiefel_agent.protocol.sizes import ICMP_HEADER, IP_HEADER, SIZES, inside

ROUNDS, ROUND_SECONDS = 3, 0.5
"""How often what was not answered is asked again, and how long answers may take: any packet may be lost once."""
_ECHO_REQUEST, _ECHO_REPLY = 128, 129
_ICMPV6_FILTER = 1  # linux/icmpv6.h; of 256 bits, those of the types that are not to be heard
_REPLIES_ONLY = b"".join(
    struct.pack("=I", 0xFFFFFFFF ^ (1 << 1 if word == _ECHO_REPLY // 32 else 0)) for word in range(8)
)
_HEADER = struct.Struct(">BBHHH")


def passing(session: Session, most: int) -> int:
    """Return the largest size of SIZES, up to `most`, whose packets get through in both directions; 0: none did.

    Raises:
        OSError: nothing can be sent at all.
    """
    # Packets as the laptop's end of the tunnel sees them, or of the cable.
    wanted = {inside(size) if session.wireguard else size: size for size in SIZES if size <= most}
    request, mark, found = _HEADER.pack(_ECHO_REQUEST, 0, 0, 0, 0), os.urandom(8), 0
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6) as wire:
        wire.setsockopt(socket.IPPROTO_IPV6, netdev.IPV6_DONTFRAG, 1)
        wire.setsockopt(socket.IPPROTO_ICMPV6, _ICMPV6_FILTER, _REPLIES_ONLY)
        wire.connect(netdev.socket_address(session.server_host, 0))
        for _ in range(ROUNDS):
            for packet in wanted:
                with suppress(OSError):  # the interface takes less
                    wire.send(request + mark.ljust(packet - IP_HEADER - ICMP_HEADER, b"\0"))
            deadline = time.monotonic() + ROUND_SECONDS
            while wanted and select.select([wire], [], [], max(0.0, deadline - time.monotonic()))[0]:
                with suppress(OSError):
                    said = wire.recv(most)
                    if said[ICMP_HEADER:].startswith(mark):
                        found = max(found, wanted.get(len(said) + IP_HEADER, 0))
                wanted = {packet: size for packet, size in wanted.items() if size > found}
            if not wanted:
                break
    return found
