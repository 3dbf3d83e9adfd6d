"""A session's way to the disk: opened, looked at, mended and closed.

Disk, systemd and the network take the time that they take here; nothing else of the server waits for them.
"""

from __future__ import annotations

import os

from stiefel_agent import config
from stiefel_agent.errors import StiefelError
from stiefel_agent.face.console import event, say
from stiefel_agent.machine import disk, firewall, tunnel
from stiefel_agent.protocol.sizes import USUAL
from stiefel_agent.server import export, fence, memory
from stiefel_agent.server.hearing import bare
from stiefel_agent.server.sessions import Session, State


class Way:
    """The way to one disk, which is held open as `descriptor`."""

    def __init__(self, settings: config.ServerConfig, descriptor: int) -> None:
        self._settings, self._descriptor = settings, descriptor
        self.encrypted = settings.encryption is config.Encryption.WIREGUARD

    @property
    def address(self) -> str:
        """Where disk and release are reached: inside the tunnel, or at every address of the cable."""
        return tunnel.SERVER_ADDRESS if self.encrypted else "::"

    def open(self, held: Session, private_key: str, preshared_key: bytes) -> Session | None:
        """Open the tunnel, offer the disk in it; return the session as it is on record then, None if that failed.

        What will be open is on record first, with what had been written to the disk before.
        """
        try:
            os.fsync(self._descriptor)
            held = held.measured(disk.sectors_written(self._settings.disk))
            memory.remember(State.OPENING, held)
            if self.encrypted:
                configuration = tunnel.server_configuration(private_key, held.facts.wireguard_public_key, preshared_key)
                size = held.facts.packet or USUAL
                tunnel.create(configuration, tunnel.SERVER_ADDRESS, tunnel.CLIENT_ADDRESS, size)
            else:
                firewall.allow(held.source)
            self._offer(held)
        except (StiefelError, OSError) as error:
            say(f"the disk could not be offered: {error}")
            return None
        return held

    def offer_again(self, held: Session) -> bool:
        """Start nbdkit again; systemd does so by itself, unless it has been told to stop it. False if that failed."""
        try:
            self._offer(held)
        except (StiefelError, OSError) as error:
            say(f"the disk could not be offered again: {error}")
            return False
        return True

    def _offer(self, held: Session) -> None:
        export.start(self._settings.disk, held.address, held.export, self._settings.connections)

    def shut(self) -> list[str]:
        """Close all that a target could reach the disk through, and what it wrote goes onto the disk.

        Returns what could not be done.
        """
        wrong = fence.shut()
        if unwritten := self.flush():
            wrong.append(f"disk: {unwritten}")
        return wrong

    def flush(self) -> str:
        """Bring what was written onto the disk; return what is wrong, nothing if it is there."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def is_whole(self, held: Session) -> bool:
        """Say whether the way is open for this session and for nobody else."""
        try:
            if self.encrypted:
                return tunnel.peers() == [tunnel.encode(held.facts.wireguard_public_key)]
            return firewall.allowed() == {bare(held.source)}
        except StiefelError:
            return False

    def is_unwritten(self, held: Session) -> bool:
        """Say whether nothing has been written since the session's export began."""
        if held.sectors is None or disk.sectors_written(self._settings.disk) != held.sectors:
            return False  # no need to wait for a flush
        return not self.flush() and disk.sectors_written(self._settings.disk) == held.sectors

    def hold_back(self, held: bool) -> None:
        """Let the answers to the target wait, or go; without encryption they just go."""
        try:
            if self.encrypted:
                tunnel.hold_back(held)
        except OSError as error:
            say(f"the tunnel could not be {'held back' if held else 'let go'}: {error.strerror}")

    def put_back(self) -> None:
        """Give the tunnel back what was taken from it."""
        if not self.encrypted:
            return
        try:
            if tunnel.put_back(tunnel.SERVER_ADDRESS, tunnel.CLIENT_ADDRESS):
                event("tunnel_put_back")
        except (StiefelError, OSError) as error:
            say(f"the tunnel's address was taken away and cannot be given back yet: {error}")
