"""The ramdisk's firewall (/etc/nftables.conf), as far as it changes: who reaches disk and release without a tunnel."""

import re

from stiefel_agent.errors import LinkFailed
from stiefel_agent.machine import program

_SET = ("inet", "stiefel", "plain")
_COUNTER = ("inet", "stiefel", "plain_received")


def allow(address: str) -> None:
    """Open disk and release to one link-local address on the cable; raises LinkFailed."""
    _nft("add", "element", *_SET, f"{{ {address.partition('%')[0]} }}")


def close() -> None:
    """Close them to everybody on the cable, connections that stand included; raises LinkFailed."""
    _nft("flush", "set", *_SET)


def allowed() -> set[str]:
    """Return who on the cable may reach them; raises LinkFailed when the firewall does not say."""
    elements = re.search(r"elements = \{([^}]*)\}", _nft("list", "set", *_SET))
    return {word.split()[0] for word in elements[1].split(",")} if elements else set()


def closed() -> bool:
    """Say whether they are closed to everybody on the cable; False when the firewall does not say."""
    try:
        return not allowed()
    except LinkFailed:
        return False


def received() -> int:
    """Return how many bytes for disk and release came in outside of any tunnel; 0 when the firewall does not say."""
    try:
        words = _nft("list", "counter", *_COUNTER).split()
        return int(words[words.index("bytes") + 1])
    except (LinkFailed, ValueError, IndexError):
        return 0


def _nft(*arguments: str) -> str:
    done = program.run("nft", *arguments)
    if done.returncode:
        raise LinkFailed(f"nft {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout
