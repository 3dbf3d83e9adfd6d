"""The tunnel in the keeper's hands: held back while no cable leads anywhere, led to another cable, begun anew.

Without encryption there is none, and nothing is done: connections are on the cable itself.
"""

from stiefel_agent.machine import wireguard
from stiefel_agent.machine.genl import GenericNetlink
from stiefel_agent.protocol.session import TUNNEL, Session
from stiefel_agent.target.cable import Cable


class Conduit:
    """One session's tunnel, over whatever is plugged in."""

    def __init__(self, session: Session, way: Cable) -> None:
        self._wire, self._server, self._way = session.wireguard, session.server, way
        self._cable = link.index if (link := way.link()) else 0
        """The interface that the tunnel goes over."""

    def _index(self) -> int:
        tunnel = self._way.inner.find(TUNNEL) if self._wire else None
        return tunnel.index if tunnel else 0

    def hold_back(self) -> None:
        """Send nothing, so that connections do not back off; see rtnl. Raises OSError."""
        if tunnel := self._index():
            self._way.inner.hold_back(tunnel)

    def let_go(self, quiet: float) -> None:
        """Send again, by the cable that there is now; `quiet`: see begin_anew. Raises OSError."""
        tunnel, link = self._index(), self._way.link()
        if not (self._wire and tunnel and link):
            return
        if link.index != self._cable:
            with GenericNetlink() as netlink:
                server = (self._server, self._wire.port, 0, link.index)
                wireguard.set_endpoint(netlink, TUNNEL, self._wire.peer_public_key, server)
            self._cable = link.index
        self.begin_anew(quiet)
        self._way.inner.let_go(tunnel)

    def begin_anew(self, quiet: float) -> None:
        """Begin a new handshake now, if the laptop has not been heard for so many seconds that keys may be too old.

        Raises OSError.
        """
        if self._wire and quiet > wireguard.STALE_SECONDS and (tunnel := self._index()):
            self._way.inner.begin_anew(tunnel, self._wire.address, self._wire.peer_address)
