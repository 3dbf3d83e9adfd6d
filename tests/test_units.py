"""What a service of ours may do is bounded: systemd's figure for it is recorded, and does not rise unnoticed."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from conftest import ROOT
from stiefel_agent.laptop.command_line import QUICK
from stiefel_agent.protocol.session import IN_TARGET

EXPOSURE = {
    "stiefel-autokexec": 3.4,
    "stiefel-client": 3.4,
    "stiefel-export": 1.6,
    "stiefel-firewall": 2.7,
    "stiefel-server": 3.1,
}
"""Highest figure of `systemd-analyze security`, from 0 to 10. systemd 252 gives some tenths more than 257 does."""
UNCONFINED = {"stiefel-debug@"}
"""A root shell, in ramdisks with the feature "debug" only."""
ASPIRED = 4.0

UNITS = {path.stem: path for part in ("files", "roles") for path in (ROOT / part).rglob("*.service")}
THREAT_MODEL = (ROOT / "docs/threat-model.md").read_text()


def analyze(*arguments: str) -> str:
    """Return everything that systemd-analyze says."""
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def settings(unit: str, name: str) -> list[str]:
    """Return the words that a unit sets `name` to."""
    return " ".join(re.findall(rf"^{name}=(.*)$", UNITS[unit].read_text(), re.MULTILINE)).split()


def test_every_service_has_its_figure() -> None:
    assert set(UNITS) == set(EXPOSURE) | UNCONFINED
    assert max(EXPOSURE.values()) < ASPIRED


@pytest.mark.parametrize("unit", EXPOSURE)
def test_a_unit_is_no_less_confined_than_recorded(unit: str) -> None:
    said = analyze("security", "--no-pager", "--offline=true", str(UNITS[unit]))
    figure = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert figure, said
    assert float(figure[1]) <= EXPOSURE[unit], said


@pytest.mark.parametrize("unit", EXPOSURE)
def test_the_figure_is_the_document_s(unit: str) -> None:
    assert re.search(rf"^\| `{unit}` \| {EXPOSURE[unit]} \|", THREAT_MODEL, re.MULTILINE)


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_systemd_understands_every_line(unit: str, tmp_path: Path) -> None:
    # Programs are the ramdisk's or the laptop's: this machine need not have them. Units require each other.
    runnable = re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", UNITS[unit].read_text(), flags=re.MULTILINE)
    folder = tmp_path / "units"
    folder.mkdir()
    for name in UNITS:
        (folder / f"{name}.service").write_text(runnable if name == unit else "[Service]\nExecStart=/bin/true\n")
    said = analyze("verify", "--man=no", "--generators=no", str(folder / f"{unit}.service"))
    assert "stiefel" not in said  # what is wrong with units of this machine is another matter


def test_in_the_ramdisk_lid_power_key_and_idleness_do_nothing() -> None:
    """Only logind (HandleLidSwitch= and the like) and acpid act on them: neither is there."""
    ramdisk = yaml.safe_load((ROOT / "roles/ramdisk/vars/main.yml").read_text())
    assert "usr/lib/systemd/systemd-logind" in ramdisk["__ramdisk_exclude_paths"]
    assert not {"acpid", "acpi-support", "elogind", "upower"} & set(ramdisk["__ramdisk_packages"])


def test_autokexec_reads_the_list_of_kernel_modules_and_loads_none() -> None:
    assert "ProtectKernelModules=yes" not in UNITS["stiefel-autokexec"].read_text()  # it hides /usr/lib/modules
    assert "CAP_SYS_MODULE" not in settings("stiefel-autokexec", "CapabilityBoundingSet")
    assert settings("stiefel-autokexec", "SystemCallFilter") == ["@system-service", "kexec_file_load"]


@pytest.mark.parametrize("unit", EXPOSURE)
def test_capabilities_are_such_as_there_are(unit: str) -> None:
    # systemd passes over a name that it does not know, without a word.
    known = {line.split()[0].upper() for line in analyze("capability").splitlines() if line}
    assert set(settings(unit, "CapabilityBoundingSet")) <= known


@pytest.mark.fault("F30")
def test_in_a_target_autokexec_does_not_run() -> None:
    """The conditions are on the file that tells a target, and on what the ramdisk is started with."""
    text = UNITS["stiefel-autokexec"].read_text()
    assert f"\nConditionPathExists=!{IN_TARGET}\n" in text
    assert "\nConditionKernelCommandLine=!stiefel.role\n" in text


def test_a_stick_and_a_laptop_start_the_ramdisk_with_the_same_words() -> None:
    stick = yaml.safe_load((ROOT / "roles/usbdrive/vars/main.yml").read_text())
    assert stick["__usbdrive_quick"] == QUICK
