"""The report tells apart what happened, what did not, and what must not be."""

import json
from dataclasses import replace

import pytest
from lab.machines.shell import LabError
from lab.trials.facts import Facts, laptop_checks, target_checks
from lab.trials.report import Report

LAPTOP = Facts(
    hostname="stiefel-laptop",
    machine_id="57",
    kernel="6.12",
    command_line="root=UUID=1",
    root_device="/dev/nvme0n1p2",
    root_disks=["nvme0n1"],
    root_uuid="1",
    interfaces=["enp0s3", "enp0s4", "lo"],
    network_manager="active",
    managed={"enp0s3": "connecting", "enp0s4": "connected"},
    firewall="Status: active",
    autokexec="active",
    is_target=False,
    failed_units=[],
    recovered=[],
    cable=[],
    nobody_reached=[],
    written_sha256="",
)
TARGET = replace(
    LAPTOP,
    root_device="/dev/nbd0p2",
    root_disks=["nbd0"],
    interfaces=["enp0s4", "lo"],
    cable=["lo", "stiefellink", "stiefeltunnel"],
    managed={"enp0s4": "connected"},
    autokexec="inactive",
    is_target=True,
)


def test_a_good_session_passes_every_check():
    assert all(target_checks(LAPTOP, TARGET, encrypted=True).values())
    assert all(laptop_checks(LAPTOP, replace(LAPTOP, written_sha256="ab"), "ab").values())


@pytest.mark.parametrize(
    "wrong",
    [
        {"machine_id": "58"},
        {"root_disks": ["sda"]},
        {"root_disks": ["nbd0", "sda"]},
        {"root_uuid": "2"},
        {"cable": ["lo", "stiefeltunnel"]},
        {"cable": ["lo", "stiefellink"]},
        {"interfaces": ["enp0s4", "lo", "stiefellink"]},
        {"nobody_reached": ["fd73:7469:6566:656c::1 port 10809"]},
        {"managed": {}},
        {"network_manager": "inactive"},
        {"firewall": "Status: inactive"},
        {"autokexec": "active"},
        {"is_target": False},
        {"failed_units": ["ssh.service"]},
    ],
)
def test_one_wrong_answer_of_the_target_fails_one_check(wrong):
    checks = target_checks(LAPTOP, replace(TARGET, **wrong), encrypted=True)
    assert list(checks.values()).count(False) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"written_sha256": "cd"},
        {"recovered": ["recovering journal"]},
        {"is_target": True},
        {"autokexec": "failed"},
    ],
)
def test_one_wrong_answer_of_the_laptop_fails_one_check(wrong):
    after = replace(LAPTOP, written_sha256="ab")
    assert list(laptop_checks(LAPTOP, replace(after, **wrong), "ab").values()).count(False) == 1


def test_report_keeps_what_happened_before_a_failure(tmp_path):
    report = Report(firmware="bios", accelerator="tcg", encryption="wireguard")
    report.seconds |= {"power_on": 0.0, "client_kernel": 8.2, "beacon": 17.5}
    report.write(tmp_path / "report.json")
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["seconds"]["beacon"] == 17.5
    assert content["beacon_without_firmware"] == 9.3
    assert content["target"] is None
    assert "17.5    +9.3  the desktop calls for a laptop" in report.timeline()


def test_every_check_that_did_not_hold_is_named():
    report = Report(firmware="uefi", accelerator="kvm", encryption="none")
    report.checks = {"first": False, "second": True, "third": False}
    with pytest.raises(LabError, match=r"(?s)first.*third"):
        report.require_success()
