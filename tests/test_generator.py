"""What a target masks when it starts, as systemd runs it: systemd.generator(7)."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

GENERATOR = Path(__file__).parents[1] / "roles/nbd_root/files/stiefel-generator"
CRYPTTAB = """\
# a comment with ,swap,
root UUID=1 none luks,discard
cryptswap /dev/sda6 /dev/urandom swap,cipher=aes-xts-plain64
scratch /dev/sda7 /dev/urandom tmp=ext4
swapped UUID=2 none luks
"""
FIRMWARE_UPDATES = ("fwupd.service", "fwupd-refresh.service", "fwupd-refresh.timer", "fwupd-offline-update.service")
EFI_VARIABLES = ("systemd-pstore.service", "modprobe@efi_pstore.service", "systemd-hibernate-clear.service")
WITHIN = """
mount -t tmpfs tmpfs /run; mkdir /run/etc; cp "$2" /run/etc/crypttab
[ "$1" = laptop ] || { mkdir /run/stiefel; touch /run/stiefel/session.json; }
mount --bind /run/etc /etc
exec sh "$3" "$4/normal" "$4/early" "$4/late"
"""


@pytest.fixture
def start(tmp_path: Path) -> Callable[[str], set[str]]:
    """Return what the generator makes of a system that is a target, or the laptop itself."""
    if os.geteuid() != 0:
        pytest.skip("a mount namespace needs root")
    (tmp_path / "crypttab").write_text(CRYPTTAB)
    for name in ("normal", "early", "late"):
        (tmp_path / name).mkdir()

    def start(kind: str) -> set[str]:
        files = (tmp_path / "crypttab", GENERATOR, tmp_path)
        command = ["unshare", "--mount", "sh", "-ec", WITHIN, "within", kind, *map(str, files)]
        subprocess.run(command, check=True, capture_output=True)
        return {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*/*") if not path.is_dir()}

    return start


@pytest.mark.fault("F23", "F40")
def test_a_target_swaps_to_nothing_and_makes_swap_of_nothing(start: Callable[[str], set[str]]) -> None:
    assert {name for name in start("target") if "swap" in name} == {
        "early/swap.target",
        "early/systemd-cryptsetup@cryptswap.service.d/50-stiefel.conf",
    }


@pytest.mark.fault("F39")
@pytest.mark.parametrize("unit", [*FIRMWARE_UPDATES, *EFI_VARIABLES])
def test_a_target_touches_neither_firmware_nor_its_variables(start: Callable[[str], set[str]], unit: str) -> None:
    assert f"early/{unit}" in start("target")


@pytest.mark.fault("F35")
def test_no_service_of_a_target_is_killed_for_waiting_for_its_disk(
    start: Callable[[str], set[str]], tmp_path: Path
) -> None:
    for_all = "early/service.d/50-stiefel.conf"
    assert for_all in start("target")
    assert "WatchdogSec=0" in (tmp_path / for_all).read_text()


@pytest.mark.fault("F12")
def test_a_target_has_a_unit_by_whose_end_the_keeper_sees_a_shutdown(
    start: Callable[[str], set[str]], tmp_path: Path
) -> None:
    unit = "normal/stiefel-running.service"
    assert unit in start("target")
    wanted = tmp_path / "normal/multi-user.target.wants/stiefel-running.service"
    assert wanted.resolve() == tmp_path / unit
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", tmp_path / unit], capture_output=True, text=True, check=False
    )
    assert "stiefel-running" not in done.stderr


def test_the_laptop_itself_swaps_and_updates_as_ever(start: Callable[[str], set[str]]) -> None:
    assert start("laptop") == set()
