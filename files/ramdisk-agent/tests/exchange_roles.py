"""A server or a client for test_exchange, run inside a network namespace: real sockets, real discovery, real bundle.

What a namespace cannot have (a disk to hold, WireGuard, nbdkit, kexec) is left out here and tested in the virtual lab.
Usage: exchange_roles.py server|client FOLDER
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from stiefel_agent import config
from stiefel_agent.client import client
from stiefel_agent.errors import ExportFailed
from stiefel_agent.face.console import event
from stiefel_agent.machine import disk, kexec, link, netdev, tunnel
from stiefel_agent.machine.disk import Disk
from stiefel_agent.protocol.keys import carried, unlocked
from stiefel_agent.server import export, server


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


def _tunnel(verb: str, address: str) -> None:
    """Stand in for the tunnel by its address, and tell the test what happened when."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    usable_at_once = ["nodad"] if verb == "add" else []
    subprocess.run(["ip", "address", verb, f"{address}/128", "dev", "lo", *usable_at_once], check=verb == "add")
    event(f"tunnel_{verb}")


def _export(folder: Path) -> None:
    """Stand in for nbdkit, which may fail once if the test wants that."""
    if (folder / "first-export-fails").exists():
        (folder / "first-export-fails").unlink()
        raise ExportFailed("as the test wants it")


def _server(folder: Path) -> None:
    disk.held = _held
    disk.describe = lambda path: Disk(path, "test", "1", 1 << 20, 512, 4096)
    disk.refuse_hibernated = lambda path: None
    export.start = lambda disk, address: _export(folder)
    export.stop = lambda: None
    server._firewall = lambda verb, address: None
    config.BUNDLE_FOLDER = folder / "bundle"
    tunnel.new_private_key = lambda: ""
    tunnel.public_key = lambda private_key: bytes(32)
    tunnel.create = lambda configuration, address, peer_address: _tunnel("add", address)
    tunnel.remove = lambda: _tunnel("delete", tunnel.SERVER_ADDRESS)
    tunnel.transferred = lambda: (0, 0)
    settings = config.ServerConfig.load(folder / "server.json")
    with contextlib.ExitStack() as stack:
        server.Server(settings, unlocked(config.read_keys(folder / "key.json")), stack).run()


def _client(folder: Path) -> None:
    tunnel.new_private_key = lambda: tunnel.encode(bytes(32))
    tunnel.public_key = lambda private_key: bytes(32)
    kexec.load = lambda system: _received(folder, system)

    def execute() -> None:
        raise SystemExit(0)

    kexec.execute = execute  # type: ignore[assignment]
    key = client.unlock(carried(config.read_keys(folder / "key.json")))
    client.Client(key, json.loads((folder / "name.json").read_text())).run()


def main() -> None:
    role, folder = sys.argv[1], Path(sys.argv[2])
    # A veth is no hardware: in the namespace everything but `lo` is the cable.
    link._is_wired = lambda folder: folder.name != "lo"
    netdev.udev_settle = lambda: None
    {"server": _server, "client": _client}[role](folder)


main()
