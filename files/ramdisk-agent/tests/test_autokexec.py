"""Who is told, and what holds a move up."""

import json
import os
import pty
from pathlib import Path

import pytest

from stiefel_agent.config import AutokexecConfig
from stiefel_agent.errors import NotNow
from stiefel_agent.laptop import autokexec
from stiefel_agent.laptop.autokexec import held_up_by, tell_users, terminals
from stiefel_agent.laptop.preparation import Preparation
from stiefel_agent.protocol import session


def test_who_works_in_a_terminal_is_told_and_nothing_in_the_text_can_steer_it() -> None:
    ours, terminal = pty.openpty()
    try:
        tell_users("the desktop \x1b[2J wants to run")
        assert b"Stiefelsystem: the desktop [2J wants to run" in os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(terminal)


def test_a_console_is_used_only_if_somebody_is_logged_in_there(tmp_path: Path) -> None:
    (tmp_path / "pts").mkdir()
    for name, owner in (("tty1", 1000), ("tty2", 0), ("pts/0", 1000), ("pts/1", 0)):
        (tmp_path / name).touch()
        os.chown(tmp_path / name, owner, -1)
    (tmp_path / "pts/2").symlink_to("closed meanwhile")
    told = {str(path.relative_to(tmp_path)): owner for path, owner in terminals(tmp_path)}
    assert told == {"tty1": 1000, "pts/0": 1000, "pts/1": 0}


def inhibitors(*locks: list[str | int]) -> bytes:
    """What busctl says about locks."""
    return json.dumps({"type": "a(ssssuu)", "data": [list(locks)]}).encode()


def test_what_blocks_a_shutdown_is_named() -> None:
    # Recorded on Debian 13: busctl --json=short call ... ListInhibitors
    said = (
        b'{"type":"a(ssssuu)","data":[[["sleep","NetworkManager","NetworkManager needs to turn off networks","delay",'
        b'0,450],["shutdown","backup","not done yet","block",0,546]]]}'
    )
    assert held_up_by(said) == "backup: not done yet"
    assert held_up_by(inhibitors(["idle:shutdown", "apt", "upgrading", "block-weak", 1000, 7])) == "apt: upgrading"


def test_what_only_delays_or_blocks_something_else_holds_nothing_up() -> None:
    delays, sleeps = ["shutdown", "vm", "saving", "delay", 0, 1], ["sleep:idle", "video", "playing", "block", 1000, 2]
    assert held_up_by(inhibitors(delays, sleeps)) == ""
    assert held_up_by(inhibitors()) == ""


@pytest.mark.fault("F30")
def test_a_target_does_not_give_its_disk_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "IN_TARGET", tmp_path / "session.json")
    session.IN_TARGET.touch()
    with pytest.raises(NotNow, match="a target itself"):
        autokexec.move(AutokexecConfig(), "a person", Preparation(pytest.fail, pytest.fail, tmp_path / "loaded"))


@pytest.mark.fault("F39")
@pytest.mark.parametrize(
    ("built_in", "said"), [("kernel/fs/efivarfs/efivarfs.ko\n", " efi=noruntime"), ("kernel/fs/ext4/ext4.ko\n", "")]
)
def test_where_efi_variables_are_built_in_the_target_has_no_firmware(built_in: str, said: str, tmp_path: Path) -> None:
    """Ubuntu's and Fedora's kernels: there is no module that a target could be kept from."""
    modules = tmp_path / "lib/modules/6.14.0-1-generic"
    for folder in (modules, tmp_path / "proc"):
        folder.mkdir(parents=True)
    (tmp_path / "proc/cmdline").write_text("root=/dev/x quiet\n")
    (modules / "modules.builtin").write_text(built_in)
    line = autokexec.target_line("6.14.0-1-generic", AutokexecConfig(target_args="splash"), tmp_path).text
    assert line == f"root=/dev/x quiet noresume systemd.swap=0{said} splash stiefel.role=target"
