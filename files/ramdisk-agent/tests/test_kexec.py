"""What is appended to an initrd must be unpacked by the kernel; cpio(1) stands in for it here."""

import io
import subprocess
from pathlib import Path

from stiefel_agent.machine.kexec import write_cpio


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
