"""What preflight says about machine and operating system, and that it runs as the role runs it."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from recorded import one, plain, report, said
from stiefel_preflight.laptop import Machine

LOOK = ROOT / "roles/preflight/files/look"
AGENT = ROOT / "files/ramdisk-agent/src"


@pytest.mark.parametrize(
    ("machine", "word"),
    [
        ({"architecture": "aarch64"}, "x86_64"),
        ({"systemd": False}, "systemd"),
        ({"apt": False}, "apt-get"),
        ({"memory": 512 << 20}, "512 MiB of memory"),
        ({"free": {"/var/lib": 200 << 20}}, "apt autoremove"),
        ({"free": {"/var/tmp": 200 << 20}}, "/var/tmp has 200 MiB free, 600 MiB are needed"),
    ],
)
def test_where_it_cannot_run_it_says_why(machine: dict[str, Any], word: str) -> None:
    assert word in one(report(plain(machine=Machine(**machine)))["impossible"])


def test_what_is_taken_already_counts_as_room() -> None:
    assert said(plain(machine=Machine(free={"/var/lib": 60 << 20}, taken=200 << 20))) == []


def test_no_encryption_is_always_told() -> None:
    assert "stiefel_encryption is none" in one(said(plain(encryption="none")))


def pack(archive: Path) -> None:
    """Pack preflight with the very command of the role."""
    tasks = yaml.safe_load((ROOT / "roles/preflight/tasks/laptop.yml").read_text())
    argv = next(task["ansible.builtin.command"]["argv"] for task in tasks if "ansible.builtin.command" in task)
    known = {
        "ansible_playbook_python": sys.executable,
        "stiefel_build_dir": str(archive.parent),
        "role_path": str(ROOT / "roles/preflight"),
    }
    for name, value in known.items():
        argv = [word.replace("{{ " + name + " }}", value) for word in argv]
    subprocess.run(argv, check=True)


def run_packed(tmp_path: Path, settings: dict[str, object], *python: str) -> dict[str, Any]:
    """Run preflight as the role does: out of a zip, with nothing installed, on this machine."""
    archive = tmp_path / "preflight.pyz"
    pack(archive)
    done = subprocess.run(
        [sys.executable, *python, str(archive)], capture_output=True, text=True, check=True,
        env={"PATH": os.environ["PATH"], "STIEFEL_SETTINGS": json.dumps(settings)},
    )  # fmt: skip
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_it_runs_from_a_zip_without_any_library(tmp_path: Path) -> None:
    told = run_packed(tmp_path, {"target_args": "mitigations=off"}, "-I", "-S")
    facts = dict(told["facts"])
    assert "noresume systemd.swap=0 mitigations=off stiefel.role=target" in facts["target's command line"]
    assert "memory" in facts


def test_everything_that_it_is_made_of_is_packed(tmp_path: Path) -> None:
    pack(tmp_path / "preflight.pyz")
    packed = set(zipfile.ZipFile(tmp_path / "preflight.pyz").namelist())
    modules = {str(path.relative_to(folder)) for folder in (LOOK, AGENT) for path in folder.rglob("*.py")}
    assert modules <= packed


def test_a_disk_that_does_not_exist_names_the_setting(tmp_path: Path) -> None:
    told = run_packed(tmp_path, {"disk": "/dev/disk/by-id/no-such"})
    assert "autokexec_disk" in one(text for text in told["impossible"] if "/dev/disk/by-id/no-such" in text)
