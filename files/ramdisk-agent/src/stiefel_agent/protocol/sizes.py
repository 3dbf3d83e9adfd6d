"""How large the packets on the cable may be: the sizes that are tried, and what fits into one. Without cryptography.

A size is that of a whole IPv6 packet, in bytes: what an interface calls its MTU.
"""

SIZES = (9000, 4000, 1500, 1400, 1280)
"""What is tried, largest first: jumbo frames; what a USB adapter with buffers of one page takes (AX88179: 4088); what
Ethernet takes; what is left of that in somebody else's tunnel; and what every link must carry (RFC 8200, section 5)."""
LARGEST, USUAL, SMALLEST = SIZES[0], 1500, SIZES[-1]
IP_HEADER, UDP_HEADER, TCP_HEADER, ICMP_HEADER = 40, 8, 20, 8
_WIREGUARD = 32
"""Header and tag of one packet (WireGuard's paper, section 5.4.6)."""
_PADDING = 16
"""WireGuard fills a packet up to a multiple of this: one that is none could come out larger than it was meant."""


def payload(size: int) -> int:
    """Return the bytes of a datagram whose packet has this size."""
    return size - IP_HEADER - UDP_HEADER


def inside(size: int) -> int:
    """Return the largest packet inside the tunnel whose packet on the cable has at most this size."""
    return (payload(size) - _WIREGUARD) // _PADDING * _PADDING


def tunnel_mtu(size: int) -> int:
    """Return the MTU of the tunnel over a cable that takes this size; IPv6 wants SMALLEST, whoever sends less."""
    return max(SMALLEST, inside(size))


def segment(size: int, *, tunnel: bool) -> int:
    """Return TCP's maximum segment size (RFC 9293, section 3.7.1) for the packets on a cable, or inside its tunnel."""
    return (inside(size) if tunnel else size) - IP_HEADER - TCP_HEADER


def words(size: int) -> str:
    """Return what a person should know of the cable, empty if it takes what is usual, or if nobody knows (0)."""
    if not size or size >= USUAL:
        return ""
    return (
        f"The cable swallows packets of more than {size} bytes, so smaller ones are sent: it works, and is slower. "
        "Try another cable, adapter or socket."
    )
