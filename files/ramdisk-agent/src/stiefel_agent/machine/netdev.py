"""Network interfaces: thin calls of `ip` and `wg`, what /sys and /proc say, the kernel's events."""

import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self, TypeVar

from stiefel_agent.errors import LinkFailed, TunnelFailed
from stiefel_agent.machine import program

T = TypeVar("T")

# linux/rtnetlink.h: groups of link changes and of IPv6 address changes
RTMGRP_LINK, RTMGRP_IPV6_IFADDR = 0x1, 0x100
# linux/if_addr.h: flags of an address that cannot be used (yet)
IFA_F_TENTATIVE, IFA_F_DADFAILED = 0x40, 0x08
SCOPE_LINK = 0x20

SYS_NET = Path("/sys/class/net")
IF_INET6 = Path("/proc/net/if_inet6")
IPV6_CONF = Path("/proc/sys/net/ipv6/conf")


def ip(*arguments: str) -> None:
    """Run iproute2's ip.

    Raises:
        LinkFailed: with what ip said.
    """
    done = program.run("ip", *arguments)
    if done.returncode:
        raise LinkFailed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def wg_setconf(interface: str, configuration: str) -> None:
    """Configure a WireGuard interface; keys go through a pipe, for others can read a command line.

    Raises:
        TunnelFailed: with what wg said.
    """
    done = program.run("wg", "setconf", interface, "/dev/stdin", text=configuration)
    if done.returncode:
        raise TunnelFailed(f"wg setconf {interface}: {done.stderr.strip()}")


def exists(interface: str) -> bool:
    """Is there an interface of this name?"""
    return (SYS_NET / interface).exists()


def find_by_mac(mac: str) -> str | None:
    """Return the name of the interface with this address (lower case); hardware before bridges."""
    found = []
    for folder in SYS_NET.iterdir():
        with suppress(OSError):  # it may vanish while we look
            if (folder / "address").read_text().strip() == mac:
                found.append((not (folder / "device").exists(), folder.name))
    return min(found)[1] if found else None


def has_carrier(interface: str) -> bool:
    """Is there a signal on the cable? False too while the interface is down or gone."""
    try:
        return (SYS_NET / interface / "carrier").read_text().strip() == "1"
    except OSError:
        return False


def link_local_address(interface: str) -> str | None:
    """Return the interface's usable IPv6 link-local address, None as long as it has none."""
    for line in IF_INET6.read_text().splitlines():
        address, _index, _length, scope, flags, name = line.split()
        unusable = int(flags, 16) & (IFA_F_TENTATIVE | IFA_F_DADFAILED)
        if name == interface and int(scope, 16) == SCOPE_LINK and not unusable:
            return socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address))
    return None


def has_address(interface: str, address: str) -> bool:
    """Say whether an interface has this IPv6 address."""
    wanted = socket.inet_pton(socket.AF_INET6, address).hex()
    lines = (line.split() for line in IF_INET6.read_text().splitlines())
    return any(fields[0] == wanted and fields[5] == interface for fields in lines)


def prepare_link(interface: str, name: str) -> None:
    """Rename an interface and bring it up with the link-local address that follows from its MAC (EUI-64).

    Duplicate address detection is off: two machines with two different MACs share the cable, and it would
    cost each start one to two seconds.

    Raises:
        LinkFailed: with what ip said.
    """
    ip("link", "set", "dev", interface, "down")
    if interface != name:
        ip("link", "set", "dev", interface, "name", name)
    ip("link", "set", "dev", name, "addrgenmode", "eui64")
    (IPV6_CONF / name / "accept_dad").write_text("0")
    ip("link", "set", "dev", name, "up")


def socket_address(host: str, port: int) -> tuple[str, int, int, int]:
    """Return what socket.connect() takes for a numeric IPv6 address, scoped (`fe80::1%eth0`) or not.

    Raises:
        OSError: not an address, or no interface of that name.
    """
    # As bytes, for text would load the IDNA codec, which a small initrd does without.
    found = socket.getaddrinfo(host.encode(), port, socket.AF_INET6, flags=socket.AI_NUMERICHOST)
    address, port, flow, scope = found[0][4][:4]  # type: ignore[misc]
    return str(address), port, flow, scope


class LinkEvents:
    """The kernel's announcements of interface and IPv6 address changes: a context manager.

    Open it before looking at the state, so that no change falls between the look and the wait.
    """

    def __init__(self) -> None:
        kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, kind, socket.NETLINK_ROUTE)
        self._socket.bind((0, RTMGRP_LINK | RTMGRP_IPV6_IFADDR))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def fileno(self) -> int:
        """Return the file descriptor, for select."""
        return self._socket.fileno()

    def drain(self) -> None:
        """Forget the changes announced so far."""
        with suppress(OSError):  # nothing left to read; or some were lost, which is a change as well
            while True:
                self._socket.recv(65536)

    def wait(self, seconds: float) -> bool:
        """Wait for a change; False when there was none within the time."""
        ready, _, _ = select.select([self._socket], [], [], max(seconds, 0))
        if ready:
            self.drain()
        return bool(ready)

    def wait_for(self, look: Callable[[], T | None], remind: Callable[[], None], seconds: float) -> T:
        """Look after each change until look() returns something, and return that; never give up.

        remind() is called each time that so many seconds have gone by in vain.
        """
        reminder = time.monotonic() + seconds
        while (found := look()) is None:
            if not self.wait(reminder - time.monotonic()) and time.monotonic() >= reminder:
                remind()
                reminder += seconds
        return found


def udev_settle() -> None:
    """Let udev finish its own renaming, or it would take our name away again; without udev, do nothing."""
    with suppress(FileNotFoundError):
        program.run("udevadm", "settle", "--timeout=30", seconds=40)
