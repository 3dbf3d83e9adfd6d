"""What preflight finds in a laptop's tables."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, load_script

sys.path.insert(0, str(ROOT / "files/ramdisk-agent/src"))
look = load_script("look", "roles/preflight/files/look/__main__.py")

FSTAB = """\
# /etc/fstab
UUID=6a3b / ext4 errors=remount-ro 0 1
/dev/nvme0n1p1 /boot/efi vfat umask=0077 0 1
/dev/mapper/vg-swap none swap sw 0 0
LABEL=home /home ext4 defaults 0 2   # was /dev/sda4
tmpfs /tmp tmpfs defaults 0 0
/dev/disk/by-id/ata-Disk_1-part5 /data ext4 defaults 0 2
"""


def test_fstab_entries_that_a_desktop_does_not_have_are_found() -> None:
    assert list(look.by_name(FSTAB, 0)) == [(3, "/dev/nvme0n1p1"), (7, "/dev/disk/by-id/ata-Disk_1-part5")]


def test_crypttab_names_its_device_second() -> None:
    table = "root UUID=77aa none luks\ndata /dev/sda3 none luks\nshort\n"
    assert list(look.by_name(table, 1)) == [(2, "/dev/sda3")]


@pytest.mark.parametrize(
    ("keyslots", "tokens", "opens"),
    [
        ({"0": {}}, {}, True),
        ({"0": {}, "1": {}}, {"0": {"type": "systemd-tpm2", "keyslots": ["1"]}}, True),
        ({"1": {}}, {"0": {"type": "systemd-tpm2", "keyslots": ["1"]}}, False),
        ({}, {}, False),
    ],
)
def test_a_disk_that_only_the_tpm_opens_is_found(
    keyslots: dict[str, object], tokens: dict[str, object], opens: bool
) -> None:
    assert look.has_passphrase({"keyslots": keyslots, "tokens": tokens}) == opens


def test_a_laptop_without_ipv6_is_told_where_it_is_switched_off(tmp_path: Path) -> None:
    assert "ipv6.disable=1" in look.without_ipv6(tmp_path / "none")
    for name in ("all", "default"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "disable_ipv6").write_text("0\n")
    assert look.without_ipv6(tmp_path) == ""
    (tmp_path / "default/disable_ipv6").write_text("1\n")
    assert "net.ipv6.conf.default.disable_ipv6" in look.without_ipv6(tmp_path)


def run_packed(tmp_path: Path, settings: dict[str, object], *python: str) -> dict[str, Any]:
    """Run preflight as the role does: out of a zip, with nothing installed."""
    archive = tmp_path / "preflight.pyz"
    with zipfile.ZipFile(archive, "w") as packed:
        packed.write(ROOT / "roles/preflight/files/look/__main__.py", "__main__.py")
        for module in (ROOT / "files/ramdisk-agent/src").rglob("*.py"):
            packed.write(module, module.relative_to(ROOT / "files/ramdisk-agent/src"))
    done = subprocess.run(
        [sys.executable, *python, str(archive)], capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "STIEFEL_SETTINGS": json.dumps(settings)},
    )  # fmt: skip
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_it_runs_from_a_zip_without_any_library(tmp_path: Path) -> None:
    report = run_packed(tmp_path, {"target_args": "mitigations=off"}, "-I", "-S")
    facts = dict(report["facts"])
    assert "noresume systemd.swap=0 mitigations=off stiefel.role=target" in facts["target's command line"]
    assert "memory" in facts


def test_no_encryption_is_always_told(tmp_path: Path) -> None:
    report = run_packed(tmp_path, {"encryption": "none"})
    assert any("stiefel_encryption is none" in text for text in report["know"])


def test_a_disk_that_does_not_exist_names_the_setting(tmp_path: Path) -> None:
    report = run_packed(tmp_path, {"disk": "/dev/disk/by-id/no-such"})
    (told,) = (text for text in report["impossible"] if "/dev/disk/by-id/no-such" in text)
    assert "autokexec_disk" in told
