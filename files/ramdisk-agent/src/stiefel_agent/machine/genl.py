"""Generic netlink, as much as the drivers nbd and WireGuard need. Sources: linux/genetlink.h."""

import struct
import sys

from stiefel_agent.machine.netlink import Ear, Netlink, attribute, attributes, messages

NETLINK_GENERIC = 16
GENL_ID_CTRL, CTRL_CMD_GETFAMILY = 16, 3
CTRL_ATTR_FAMILY_ID, CTRL_ATTR_FAMILY_NAME, CTRL_ATTR_MCAST_GROUPS = 1, 2, 7
CTRL_ATTR_MCAST_GRP_NAME, CTRL_ATTR_MCAST_GRP_ID = 1, 2
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1


def command(number: int, payload: bytes) -> bytes:
    """Return the body of a request: version 1 of the family's interface, and its attributes."""
    return struct.pack("=BBH", number, 1, 0) + payload


class GenericNetlink(Netlink):
    """A generic netlink socket: a context manager."""

    def __init__(self) -> None:
        super().__init__(NETLINK_GENERIC)

    def ask(self, family: int, number: int, payload: bytes) -> dict[int, bytes]:
        """Send a family's command, return the attributes of its answer (none if it was only acknowledged).

        Raises:
            OSError: the kernel's refusal.
        """
        answers = self.call(family, command(number, payload))
        return attributes(answers[-1][4:]) if answers else {}

    def family(self, name: str) -> int:
        """Return a family's number; OSError if the kernel has none of this name."""
        return int.from_bytes(self._family(name)[CTRL_ATTR_FAMILY_ID], sys.byteorder)

    def group(self, family: str, name: str) -> int:
        """Return the number of a family's multicast group; OSError if there is no such family, KeyError no group."""
        for item in attributes(self._family(family)[CTRL_ATTR_MCAST_GROUPS]).values():
            group = attributes(item)
            if group[CTRL_ATTR_MCAST_GRP_NAME].rstrip(b"\0") == name.encode():
                return int.from_bytes(group[CTRL_ATTR_MCAST_GRP_ID], sys.byteorder)
        raise KeyError(name)

    def _family(self, name: str) -> dict[int, bytes]:
        return self.ask(GENL_ID_CTRL, CTRL_CMD_GETFAMILY, attribute(CTRL_ATTR_FAMILY_NAME, name.encode() + b"\0"))


class Announcements(Ear):
    """What a generic netlink family announces to everybody."""

    def __init__(self, group: int) -> None:
        super().__init__(NETLINK_GENERIC)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def read(self) -> list[tuple[int, dict[int, bytes]]]:
        """Return command and attributes of what was announced since; what was lost in a flood is not there."""
        bodies = [body for data in self.heard() for _, _, body in messages(data)]
        return [(body[0], attributes(body[4:])) for body in bodies if len(body) >= 4]
