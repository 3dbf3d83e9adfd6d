"""Network interfaces: a thin call of `wg`, what /sys and /proc say, the kernel's events."""

import select
import socket
from contextlib import suppress
from pathlib import Path

from stiefel_agent.errors import TunnelFailed
from stiefel_agent.machine import program
from stiefel_agent.machine.netlink import Ear

# linux/rtnetlink.h: groups of link changes and of IPv6 address changes
RTMGRP_LINK, RTMGRP_IPV6_IFADDR = 0x1, 0x100
# linux/if_addr.h: flags of an address that cannot be used (yet)
IFA_F_TENTATIVE, IFA_F_DADFAILED = 0x40, 0x08
SCOPE_LINK = 0x20
IPV6_DONTFRAG = 62
"""linux/in6.h: what is too large for the interface is refused, and not sent in pieces."""

SYS_NET = Path("/sys/class/net")
IF_INET6 = Path("/proc/net/if_inet6")
IPV6_CONF = Path("/proc/sys/net/ipv6/conf")


def wg_setconf(interface: str, configuration: str) -> None:
    """Configure a WireGuard interface; keys go through a pipe, for others can read a command line.

    Raises:
        TunnelFailed: with what wg said.
    """
    done = program.run("wg", "setconf", interface, "/dev/stdin", text=configuration)
    if done.returncode:
        raise TunnelFailed(f"wg setconf {interface}: {done.stderr.strip()}")


def exists(interface: str) -> bool:
    """Is there an interface of this name, in our network namespace? /sys shows another one's to a guest."""
    try:
        return bool(socket.if_nametoindex(interface))
    except OSError:
        return False


def link_local_addresses() -> dict[str, str]:
    """Return the usable IPv6 link-local address of each interface that has one."""
    found: dict[str, str] = {}
    for line in IF_INET6.read_text().splitlines():
        address, _index, _length, scope, flags, name = line.split()
        unusable = int(flags, 16) & (IFA_F_TENTATIVE | IFA_F_DADFAILED)
        if int(scope, 16) == SCOPE_LINK and not unusable:
            found.setdefault(name, socket.inet_ntop(socket.AF_INET6, bytes.fromhex(address)))
    return found


def has_address(interface: str, address: str) -> bool:
    """Say whether an interface has this IPv6 address."""
    wanted = socket.inet_pton(socket.AF_INET6, address).hex()
    lines = (line.split() for line in IF_INET6.read_text().splitlines())
    return any(fields[0] == wanted and fields[5] == interface for fields in lines)


def eui64_address(mac: str) -> str:
    """Return the link-local address that follows from a MAC (RFC 4291, appendix A)."""
    raw = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([raw[0] ^ 2]) + raw[1:3] + b"\xff\xfe" + raw[3:]
    return socket.inet_ntop(socket.AF_INET6, b"\xfe\x80" + bytes(6) + identifier)


def socket_address(host: str, port: int) -> tuple[str, int, int, int]:
    """Return what socket.connect() takes for a numeric IPv6 address, scoped (`fe80::1%eth0`) or not.

    Raises:
        OSError: not an address, or no interface of that name.
    """
    # As bytes, for text would load the IDNA codec, which a small initrd does without.
    found = socket.getaddrinfo(host.encode(), port, socket.AF_INET6, flags=socket.AI_NUMERICHOST)
    address, port, flow, scope = found[0][4][:4]  # type: ignore[misc]
    return str(address), port, flow, scope


class LinkEvents(Ear):
    """The kernel's announcements of interface and IPv6 address changes.

    Open it before looking at the state, so that no change falls between the look and the wait.
    """

    def __init__(self) -> None:
        super().__init__(socket.NETLINK_ROUTE, RTMGRP_LINK | RTMGRP_IPV6_IFADDR)

    def drain(self) -> None:
        """Forget the changes announced so far."""
        for _ in self.heard():
            pass

    def wait(self, seconds: float) -> bool:
        """Wait for a change; False when there was none within the time."""
        ready, _, _ = select.select([self._socket], [], [], max(seconds, 0))
        if ready:
            self.drain()
        return bool(ready)


def udev_settle() -> None:
    """Let udev finish its own renaming, or it would take our name away again; without udev, do nothing."""
    with suppress(FileNotFoundError):
        program.run("udevadm", "settle", "--timeout=30", seconds=40)
