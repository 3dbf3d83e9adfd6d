"""./stiefel: what it understands, and what it says in one line before Ansible is reached."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, load_script

sys.path.insert(0, str(ROOT / "entry"))
import debian
import documents
import drives
import ground
from request import WordError, understood
from words import COMMANDS, OPTIONS


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("instal", "Did you mean install?"),
        ("install --chek", "Did you mean --check?"),
        ("install --dry-run", "Did you mean --check?"),
        ("preflight --hold", "preflight knows no option --hold"),
        ("test --check", "test knows no option --check"),
        ("install now", "does not know what to do with 'now'"),
        ("install --limit", "--limit HOSTS"),
        ("install --check=yes", "takes no value"),
        ("usb one two three", "'three'"),
    ],
)
def test_what_is_not_understood_is_told_in_one_line(words: str, told: str) -> None:
    with pytest.raises(WordError) as error:
        understood(words.split())
    assert told in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "handed_on"),
    [
        ("install --check --limit=anna", ["--check", "--limit", "anna"]),
        ("install -vvv -ekey_rotate=true", ["-vvv", "-e", "key_rotate=true"]),
        ("install --yes -e @mine.yml", ["-e", "@mine.yml"]),
        ("demo --hold", []),
    ],
)
def test_ansible_gets_its_options_and_none_of_ours(words: str, handed_on: list[str]) -> None:
    assert understood(words.split()).ansible == handed_on


def test_every_command_and_option_is_in_man_page_and_completion() -> None:
    for command in COMMANDS:
        assert command.name in documents.overview()
        assert f"        {command.name}) words=" in documents.completion()
    for option in OPTIONS:
        for name in option.names:
            assert documents.roff(name) in documents.man()
            assert name in documents.completion()


def test_help_fits_on_a_terminal_of_80_columns() -> None:
    assert run().stdout.count("\n") <= 12
    assert documents.overview().count("\n") < 24
    for shown in (documents.overview(), *map(documents.about, COMMANDS)):
        assert max(map(len, shown.splitlines())) <= 80
    for command in COMMANDS:
        assert documents.about(command).count("\n") < 12
        own = [option.names[-1] for option in OPTIONS if command.name in option.commands]
        assert [name for name in own if name not in documents.about(command)] == []


def run(*words: str, cwd: Path = ROOT, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run ./stiefel with nobody there to answer."""
    kept = {name: value for name, value in os.environ.items() if name != "CI"}
    return subprocess.run(
        [ROOT / "stiefel", *words], cwd=cwd, env=kept | variables, stdin=subprocess.DEVNULL,
        text=True, capture_output=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("usb sdb", "'./stiefel usb --list' shows them"),
        ("usb /dev/disk/by-id/usb-nobody", "there is no drive /dev/disk/by-id/usb-nobody"),
        ("preflight -i missing", "there is no inventory missing in"),
        ("uninstall", "nobody is here to ask. Say --yes"),
        ("reinstall", "Did you mean install?"),
        ("bench P99", "there is no row P99. docs/benchmarks.md lists them, from P1 to "),
    ],
)
def test_the_entry_refuses_in_one_line_from_any_folder(words: str, told: str, tmp_path: Path) -> None:
    ran = run(*words.split(), cwd=tmp_path)
    assert ran.returncode != 0
    assert told in ran.stderr
    assert len(ran.stderr.splitlines()) == 1
    assert len(ran.stderr) <= 160
    assert ran.stdout == ""


def test_a_link_to_the_entry_works(tmp_path: Path) -> None:
    (tmp_path / "stiefel").symlink_to(ROOT / "stiefel")
    ran = subprocess.run([tmp_path / "stiefel", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("stiefelsystem 0.")


def test_the_completion_completes(tmp_path: Path) -> None:
    script = f"{documents.completion()}\nCOMP_WORDS=(./stiefel usb --i); COMP_CWORD=2; _stiefel; echo ${{COMPREPLY[*]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"--image", "--inventory"}


def listing(**facts: Any) -> dict[str, object]:
    """Return lsblk's JSON of one stick."""
    stick = {
        "path": "/dev/sdx",
        "type": "disk",
        "size": 8 << 30,
        "model": "Stick",
        "serial": "S1",
        "rm": True,
        "ro": False,
    }
    return {"blockdevices": [stick | {"mountpoints": [None]} | facts]}


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({}, "Stick, serial S1"),
        ({"mountpoints": ["/media/anna"]}, "cannot be taken: it is in use (/media/anna on /dev/sdx)"),
        ({"rm": False}, "cannot be taken: it is not a removable drive"),
        ({"size": 1 << 20}, "cannot be taken: it is too small"),
    ],
)
def test_drives_are_shown_with_what_speaks_against_them(facts: dict[str, Any], told: str) -> None:
    writer = load_script("stick", "roles/usbdrive/files/stick.py")
    shown = drives.choice(writer, "/dev/disk/by-id/usb-x", listing(**facts), needs=64 << 20)
    assert told in drives.table([shown])
    assert bool(shown.objections) == ("cannot" in told)


def test_a_person_chooses_a_drive_by_number_and_serial(monkeypatch: pytest.MonkeyPatch) -> None:
    free = drives.Choice("/dev/disk/by-id/usb-a", "Stick, serial S1", "S1", ())
    held = drives.Choice("/dev/disk/by-id/usb-b", "Disk, serial S2", "S2", ("it is in use",))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    for answers, chosen in ((["1", "S1"], free), (["1", "S2"], None), (["2"], None), (["", ""], None), (["9"], None)):
        monkeypatch.setattr("builtins.input", lambda _, left=answers: left.pop(0))
        if chosen:
            assert drives.ask([free, held]) == chosen
        else:
            with pytest.raises(drives.DriveError):
                drives.ask([free, held])


def test_a_venv_for_the_tests_serves_every_other_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (ground.RUNNING, ground.TESTING):
        (tmp_path / name).write_text(name)
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(ground, "works", lambda _: True)
    made: list[object] = []

    def run_instead(argv: object, **_: object) -> "subprocess.CompletedProcess[bytes]":
        made.append(argv)
        return subprocess.CompletedProcess([], 0)

    monkeypatch.setattr("subprocess.run", run_instead)
    (tmp_path / ".venv/stamp").write_text(ground.stamp(tmp_path, ground.TESTING))
    ground.make_venv(tmp_path, "install")
    assert made == []
    (tmp_path / ".venv/stamp").write_text(ground.stamp(tmp_path, ground.RUNNING))
    ground.make_venv(tmp_path, "test")
    assert len(made) == 2
    (tmp_path / ground.TESTING).write_text("newer")
    ground.make_venv(tmp_path, "test")
    assert len(made) == 4


def test_a_pip_that_fails_is_told_by_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in (ground.RUNNING, ground.TESTING):
        (tmp_path / name).write_text(name)
    makes = tmp_path / "python"
    makes.write_text("#!/bin/sh\nmkdir -p $4/bin; cp $PIP $4/bin/pip\n")
    pip = tmp_path / "pip"
    pip.write_text("#!/bin/sh\necho 'WARNING: Retrying' >&2; echo 'ERROR: nothing there' >&2; exit 1\n")
    for script in (makes, pip):
        script.chmod(0o755)
    monkeypatch.setenv("PIP", str(pip))
    monkeypatch.setattr(sys, "executable", str(makes))
    with pytest.raises(ground.GroundError, match=r"is this machine online\? pip says: ERROR: nothing there$"):
        ground.make_venv(tmp_path, "install")
    assert capfd.readouterr().err == ""


def test_a_package_that_two_lists_name_is_asked_for_once() -> None:
    assert debian.missing(["stiefel-nobody", "stiefel-nobody"]) == ["stiefel-nobody"]


APT = """#!/bin/bash
for word; do [[ $word == APT::Status-Fd=* ]] && status=${word#*=}; done
echo 'Reading package lists...'
echo 'pmstatus:zstd:50.0:Unpacking zstd' >&$status
(eval "exec $status>&-"; bash -c "$SCRIPT")
code=$?
said=('dpkg: error processing package zstd' ' its script' 'dpkg: error processing package tar' ' needs zstd')
[ $code = 0 ] || printf '%s\n' "${said[@]}"
exit $code
"""
"""As apt does: it tells its progress apart, and packages' scripts have no part in that."""


@pytest.mark.parametrize("script", ["echo hello", "echo no more; exit 100"])
def test_apt_shows_how_far_it_is_and_the_cause_only_if_it_fails(
    script: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "apt-get").write_text(APT)
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setenv("SCRIPT", script)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    shown: list[str] = []
    monkeypatch.setattr(debian, "show", shown.append)
    fails = "exit" in script
    assert debian.apt("install", "zstd") == (not fails)
    assert shown == ["[##########          ]  50 %  Unpacking zstd", ""]
    said = capfd.readouterr()
    assert said.out == ""
    told = "Reading package lists...\nno more\ndpkg: error processing package zstd\n its script\n"
    assert said.err == (told if fails else "")


def test_every_command_that_a_document_or_a_message_names_is_one() -> None:
    called = re.compile(r"(?:^|[`'\"])(?:\./)?stiefel ([a-z]+)", re.MULTILINE)
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    paths = [ROOT / name for name in listing.splitlines() if not name.startswith(("tests/", "changes/"))]
    words = {
        word for path in paths if path.suffix in (".md", ".py", ".yml") for word in called.findall(path.read_text())
    }
    assert words - {command.name for command in COMMANDS} == set()
    assert len(words) > 5


@pytest.mark.skipif(os.geteuid() != 0, reason="Ansible would ask for sudo's password")
@pytest.mark.skipif(not (ROOT / ".venv/stamp").exists(), reason="./stiefel has not made .venv here")
def test_relative_paths_mean_the_callers_folder(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("laptops: {hosts: {far-away: {}}}\n")
    (tmp_path / "mine.yml").write_text("key_sticks: [red]\n")
    words = ("install", "-i", "hosts.yml", "-e", "@mine.yml", "--list-hosts")
    found = run(*words, cwd=tmp_path, XDG_STATE_HOME=str(tmp_path))
    assert found.returncode == 0, found.stderr
    assert "far-away" in found.stdout
    assert (tmp_path / "stiefelsystem/install.log").stat().st_mode & 0o777 == 0o600
