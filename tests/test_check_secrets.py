"""The search for keys finds one wherever it was left."""

import base64
import hashlib
import json
import subprocess
from pathlib import Path

import check_secrets
import pytest

SECRET = bytes(range(7, 39))
PRIVATE = bytes(range(107, 139))


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(check_secrets, "LOGS", ())
    folder = tmp_path / "build"
    (folder / "key").mkdir(parents=True)
    halves = {"key": SECRET, "laptop_private": PRIVATE}
    entry = {"name": "stick"} | {name: base64.b64encode(half).decode() for name, half in halves.items()}
    (folder / "key/key.json").write_text(json.dumps({"version": 2, "keys": [entry]}))
    (folder / "stiefel-usb.img").write_bytes(b"boot" + SECRET)
    (folder / "log").write_text("nothing to see\n")
    return folder


def test_what_is_made_to_hold_the_key_may_hold_it(build: Path) -> None:
    assert check_secrets.found(build) == []


@pytest.mark.parametrize(
    "trace",
    [SECRET, base64.b64encode(SECRET), SECRET.hex().encode(), hashlib.sha256(SECRET).hexdigest().encode(), PRIVATE],
    ids=["bytes", "base64", "hex", "hash", "laptop's private half"],
)
def test_a_trace_in_a_log_is_found(build: Path, trace: bytes) -> None:
    (build / "log").write_bytes(b"before " + trace + b" after")
    assert check_secrets.found(build) == [str(build / "log")]


def test_a_key_inside_a_compressed_ramdisk_is_found(build: Path) -> None:
    packed = subprocess.run(["zstd", "--stdout"], input=SECRET * 100, capture_output=True, check=True).stdout
    (build / "initrd.img").write_bytes(packed)
    assert check_secrets.found(build) == [str(build / "initrd.img")]


def test_a_key_on_a_command_line_is_found(build: Path) -> None:
    command = ["sh", "-c", "echo here; read -r line", SECRET.hex()]
    shown = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert shown.stdout
    shown.stdout.readline()  # only now it surely has its command line: exec(2) is not one step
    try:
        assert check_secrets.found(build) == [f"/proc/{shown.pid}/cmdline"]
    finally:
        shown.kill()
        shown.communicate()
