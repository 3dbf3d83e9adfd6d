"""What is appended to an initrd must be unpacked by the kernel; cpio(1) stands in for it here."""

import io
import subprocess
from pathlib import Path

import pytest

from stiefel_agent.errors import KexecRefused
from stiefel_agent.machine import kexec
from stiefel_agent.machine.kexec import System, write_cpio


def unpack(archive: bytes, folder: Path) -> None:
    subprocess.run(["cpio", "-idm", "--quiet", "--no-absolute-filenames"], input=archive, cwd=folder, check=True)


def test_what_is_appended_can_be_unpacked_and_is_private(tmp_path: Path) -> None:
    output = io.BytesIO()
    files = {"etc/stiefel/session.json": b"secret", "etc/stiefel/bundle/vmlinuz": io.BytesIO(b"kernel" * 1000)}
    write_cpio(output, files)
    unpack(output.getvalue(), tmp_path)
    assert (tmp_path / "etc/stiefel/session.json").read_bytes() == b"secret"
    assert (tmp_path / "etc/stiefel/bundle/vmlinuz").read_bytes() == b"kernel" * 1000
    assert (tmp_path / "etc/stiefel/session.json").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "etc/stiefel").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "etc").stat().st_mode & 0o777 == 0o755


def test_the_archive_begins_where_the_kernel_looks_for_it() -> None:
    output = io.BytesIO()
    output.write(b"an initrd of an odd length.")
    write_cpio(output, {"a": b"1"})
    start = output.getvalue().index(b"070701")
    assert start % 4 == 0
    assert output.getvalue()[27:start].strip(b"\0") == b""


@pytest.fixture
def refusing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let kexec(8) refuse as a kernel under lockdown does; return where it writes what it was asked for."""
    program = tmp_path / "kexec"
    program.write_text('#!/bin/sh\necho "$1" >>"$0.log"\necho "Operation not permitted" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return tmp_path / "kexec.log"


@pytest.mark.fault("F25")
def test_only_the_call_that_checks_signatures_is_made_and_a_refusal_is_told(refusing: Path) -> None:
    """Under lockdown the kernel knows no other: kexec(8), -s."""
    refused = pytest.raises(KexecRefused, match="Operation not permitted")
    with kexec.memory_file("kernel") as kernel, kexec.memory_file("initrd") as initrd, refused:
        kexec.load(System(kernel, initrd, "quiet", {}))
    kexec.unload()
    assert refusing.read_text().split() == ["-s", "-s"]
