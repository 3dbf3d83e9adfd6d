"""Network namespaces: the target's cable, tunnel and connections are in one of their own. network_namespaces(7).

Python has setns() since 3.12 only, and unshare() as well: both come from the C library.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stiefel_agent.errors import LinkFailed

NAME = "stiefel"
HOME = Path("/run/netns") / NAME
"""Where `ip netns` looks for it."""
OWN = Path("/proc/thread-self/ns/net")
CLONE_NEWNET = 0x40000000
MS_BIND = 4096

_libc = ctypes.CDLL(None, use_errno=True)


def _demand(result: int, what: str) -> None:
    if result:
        raise LinkFailed(f"{what}: {os.strerror(ctypes.get_errno())}")


def enter(descriptor: int) -> None:
    """Go into a network namespace: sockets opened from now on are in it, those that are open stay where they are.

    Raises:
        LinkFailed: it is none, or we may not.
    """
    _demand(_libc.setns(descriptor, CLONE_NEWNET), "setns")


@contextmanager
def inside(descriptor: int) -> Iterator[None]:
    """Be in a network namespace for a while. Raises LinkFailed."""
    own = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(descriptor)
        try:
            yield
        finally:
            enter(own)
    finally:
        os.close(own)


def create(home: Path = HOME) -> int:
    """Return a descriptor of a namespace with a name, making it if need be; its loopback stays down, nobody needs it.

    Raises:
        LinkFailed, OSError: the kernel's refusal.
    """
    home.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    if not _is_namespace(home):
        home.touch(mode=0o444)
        own = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _demand(_libc.unshare(CLONE_NEWNET), "unshare")
            try:
                _demand(_libc.mount(bytes(OWN), bytes(home), None, MS_BIND, None), f"mount {home}")
            finally:
                enter(own)
        finally:
            os.close(own)
    return os.open(home, os.O_RDONLY | os.O_CLOEXEC)


def _is_namespace(home: Path) -> bool:
    """Say whether something is mounted there: then it lies on another device than its folder."""
    return home.exists() and home.stat().st_dev != home.parent.stat().st_dev
