"""A server or a client for test_exchange, run inside a network namespace: real sockets, real discovery, real bundle.

What a namespace cannot have (a disk to hold, WireGuard, nbdkit, kexec) is left out here and tested in the virtual lab.
Usage: exchange_roles.py server|client FOLDER
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from stiefel_agent import config
from stiefel_agent.client import client
from stiefel_agent.errors import ExportFailed
from stiefel_agent.face.console import event
from stiefel_agent.machine import disk, firewall, firmware, kexec, link, netdev, tunnel
from stiefel_agent.machine.disk import Disk
from stiefel_agent.protocol.keys import carried, unlocked
from stiefel_agent.server import export, memory, server


@contextlib.contextmanager
def _held(path: str) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _received(folder: Path, system: kexec.System) -> None:
    """What the client would start: kept for the test to look at."""
    for name, stream in (("kernel", system.kernel), ("initrd", system.initrd)):
        stream.seek(0)
        with (folder / name).open("wb") as copy:
            shutil.copyfileobj(stream, copy)
    (folder / "cmdline").write_text(system.command_line)
    session = system.extra["etc/stiefel/session.json"]
    assert isinstance(session, bytes)
    (folder / "session.json").write_bytes(session)


class Tunnel:
    """Stands in for the tunnel by its address, and tells the test what happened when. It outlives us, as a real one."""

    def __init__(self, folder: Path) -> None:
        self._peer = folder / "tunnel"

    def create(self, configuration: str, address: str, peer_address: str) -> None:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        subprocess.run(["ip", "address", "replace", f"{address}/128", "dev", "lo", "nodad"], check=True)
        self._peer.write_text(re.search(r"PublicKey = (\S+)", configuration)[1])
        event("tunnel_add")

    def remove(self) -> None:
        subprocess.run(["ip", "address", "delete", f"{tunnel.SERVER_ADDRESS}/128", "dev", "lo"], check=False)
        self._peer.unlink(missing_ok=True)
        event("tunnel_delete")

    def peers(self) -> list[str]:
        return self._peer.read_text().split() if self._peer.exists() else []

    def exists(self) -> bool:
        return self._peer.exists()


class Export:
    """Stands in for nbdkit, which may fail once, or not go away for a while, if the test wants that."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._running = folder, folder / "nbdkit"

    def start(self, disk: str, address: str, name: str, connections: int) -> None:
        if (self._folder / "first-export-fails").exists():
            (self._folder / "first-export-fails").unlink()
            raise ExportFailed("as the test wants it")
        self._running.write_text(str(int(self._running.read_text()) + 1 if self._running.exists() else 1))
        event("export_start")

    def stop(self) -> None:
        if (self._folder / "export-stays").exists():
            raise ExportFailed("as the test wants it")
        self._running.unlink(missing_ok=True)
        event("export_stop")

    def process(self) -> int | None:
        return int(self._running.read_text()) if self._running.exists() else None


class Firewall:
    """Stands in for the set of addresses that reach the disk without a tunnel."""

    def __init__(self, folder: Path) -> None:
        self._set = folder / "plain"

    def allow(self, address: str) -> None:
        self._set.write_text(address.partition("%")[0])

    def close(self) -> None:
        self._set.unlink(missing_ok=True)

    def allowed(self) -> set[str]:
        return set(self._set.read_text().split()) if self._set.exists() else set()

    def closed(self) -> bool:
        return not self.allowed()

    def received(self) -> int:
        return 0


def _stand_in(module: object, substitute: object) -> None:
    """Put a substitute's public methods in the place of a module's functions."""
    for name in dir(substitute):
        if not name.startswith("_"):
            assert hasattr(module, name), name
            setattr(module, name, getattr(substitute, name))


def _server(folder: Path) -> None:
    disk.held = _held
    disk.describe = lambda path: Disk(path, "test", "1", 1 << 20, 512, 4096)
    disk.refuse_hibernated = lambda path: None
    disk.sectors_written = lambda path: int((folder / "sectors").read_text())
    config.BUNDLE_FOLDER = folder / "bundle"
    memory.RECORD = folder / "record.json"
    tunnel.new_private_key = lambda: "key"
    tunnel.public_key = lambda private_key: bytes(32)
    tunnel.transferred = lambda: (0, 0)
    tunnel.put_back = lambda address, peer_address: False
    for module, substitute in ((tunnel, Tunnel), (export, Export), (firewall, Firewall)):
        _stand_in(module, substitute(folder))
    settings = config.ServerConfig.load(folder / "server.json")
    with contextlib.ExitStack() as stack:
        server.Server(settings, unlocked(config.read_keys(folder / "key.json")), stack).run()


def _client(folder: Path) -> None:
    tunnel.new_private_key = lambda: tunnel.encode(bytes(32))
    own = os.urandom(32)
    tunnel.public_key = lambda private_key: own
    kexec.load = lambda system: _received(folder, system)

    def execute() -> None:
        raise SystemExit(0)

    kexec.execute = execute  # type: ignore[assignment]
    key = client.unlock(carried(config.read_keys(folder / "key.json")))
    firmware.identity = lambda: f"uuid={folder.name}"
    client.Client(key, json.loads((folder / "name.json").read_text())).run()


def main() -> None:
    role, folder = sys.argv[1], Path(sys.argv[2])
    # A veth is no hardware: in the namespace everything but `lo` is the cable.
    link._is_wired = lambda folder: folder.name != "lo"
    netdev.udev_settle = lambda: None
    {"server": _server, "client": _client}[role](folder)


main()
