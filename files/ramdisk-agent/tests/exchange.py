"""Running servers and clients in network namespaces, for the tests that look at both: see exchange_roles."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stiefel_agent.protocol.keys import Key, serialise

SECONDS = 60.0
ROLES = Path(__file__).parent / "exchange_roles.py"


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def namespaces() -> Iterator[tuple[str, str]]:
    """Two namespaces, joined by a veth pair: the laptop's and the desktop's."""
    laptop, desktop = (f"stiefel-{end}-{os.getpid()}" for end in ("laptop", "desktop"))
    try:
        for namespace in (laptop, desktop):
            ip("netns", "add", namespace)
        ip("-n", laptop, "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", desktop)
        yield laptop, desktop
    finally:
        for namespace in (laptop, desktop):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


class Role:
    """A running server or client, and what it says."""

    def __init__(self, namespace: str, role: str, folder: Path, terminal: int | None = None) -> None:
        """`terminal`: the descriptor of a terminal that is its own, as the first console is the ramdisk's server's."""
        self._said = ""
        source = str(Path(__file__).parents[1] / "src")
        own = ["setsid", "--ctty"] if terminal is not None else []
        face = subprocess.DEVNULL if terminal is None else terminal
        self._process = subprocess.Popen(
            [*own, "ip", "netns", "exec", namespace, sys.executable, str(ROLES), role, str(folder)],
            stderr=subprocess.PIPE, stdout=face, stdin=face,
            env={**os.environ, "PYTHONPATH": source},
        )  # fmt: skip

    def hears(self, text: str, times: int = 1) -> None:
        """Wait until it has said a text, so many times; fails with all it said after SECONDS."""
        assert self._process.stderr
        deadline = time.monotonic() + SECONDS
        while self._said.count(text) < times:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self._process.stderr], [], [], max(left, 0))
            data = os.read(self._process.stderr.fileno(), 65536) if ready else b""
            assert data, f"{text!r} was not said within {SECONDS} s, but:\n{self._said}"
            self._said += data.decode()

    def ends(self) -> int:
        return self._process.wait(SECONDS)

    def said(self, text: str) -> bool:
        return text in self._said

    def order(self, *events: str) -> bool:
        """Say whether it has told of these events in this order, others among them or not."""
        rest = self._said
        for event in events:
            _, found, rest = rest.partition(event)
            if not found:
                return False
        return True

    def stop(self) -> None:
        """Kill it (SIGKILL)."""
        self._process.kill()
        self._process.wait()


def laptop(tmp_path: Path, *keys: Key, **settings: object) -> Path:
    """Return a folder with all that a server needs; its disk is a file."""
    folder = tmp_path / "laptop"
    (folder / "bundle").mkdir(parents=True)
    (folder / "disk").write_bytes(b"disk")
    (folder / "sectors").write_text("0")
    (folder / "bundle/vmlinuz").write_bytes(os.urandom(700_001))
    (folder / "bundle/initrd.img").write_bytes(os.urandom(3_000_000))
    (folder / "bundle/cmdline").write_text("root=UUID=1 stiefel.role=target\n")
    (folder / "bundle/kernel-version").write_text("6.12\n")
    (folder / "key.json").write_text(serialise(keys))
    configure(folder, **settings)
    return folder


def configure(folder: Path, **settings: object) -> None:
    """Write what autokexec would tell the server."""
    document = {"disk": str(folder / "disk"), "laptop": "anna", "connections": 2, **settings}
    (folder / "server.json").write_text(json.dumps(document))


def desktop_folder(tmp_path: Path, name: str, key: Key) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / "key.json").write_text(serialise([key.for_stick()]))
    (folder / "name.json").write_text(json.dumps(name))
    return folder


def release(namespace: str, host: str, token: str) -> bytes:
    """Say a release from the desktop's namespace; return the answer."""
    program = (
        "import socket, sys; s = socket.create_connection((sys.argv[1], 61571), 10); "
        "s.sendall(sys.argv[2].encode() + b'\\n'); sys.stdout.write(s.recv(16).decode())"
    )
    command = ["ip", "netns", "exec", namespace, sys.executable, "-c", program, f"{host}%cable1", token]
    return subprocess.run(command, check=True, capture_output=True, timeout=SECONDS).stdout
