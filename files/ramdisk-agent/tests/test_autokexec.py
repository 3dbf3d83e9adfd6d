"""What the target is started with, which kernel, and who is told."""

import json
import os
import pty
from pathlib import Path

import pytest

from stiefel_agent.config import AutokexecConfig
from stiefel_agent.errors import NothingToBoot
from stiefel_agent.laptop.autokexec import held_up_by, newest_kernel, target_command_line, tell_users, terminals


def test_the_target_gets_the_laptops_command_line() -> None:
    running = "BOOT_IMAGE=/boot/vmlinuz-6.12 root=UUID=1-2 ro quiet console=tty0"
    line = target_command_line(running, AutokexecConfig()).split()
    assert line == ["root=UUID=1-2", "ro", "quiet", "console=tty0", "noresume", "stiefel.role=target"]


def test_the_target_never_resumes_and_never_believes_to_be_a_server() -> None:
    running = "root=/dev/x resume=UUID=3 resume_offset=5 stiefel.role=server initrd=\\initrd.img"
    line = target_command_line(running, AutokexecConfig()).split()
    assert line == ["root=/dev/x", "noresume", "stiefel.role=target"]


def test_parameters_are_added_and_dropped_by_name() -> None:
    settings = AutokexecConfig(target_args="panic=5 video=1", target_args_dropped=("splash",))
    line = target_command_line("root=/dev/x splash splash=silent", settings)
    assert line == "root=/dev/x noresume panic=5 video=1 stiefel.role=target"


def test_the_newest_kernel_that_has_a_target_initrd_is_taken(tmp_path: Path) -> None:
    for version in ("6.12.9-amd64", "6.12.38+deb13-amd64", "6.12.107+deb13-amd64", "6.13.1-amd64"):
        (tmp_path / f"vmlinuz-{version}").touch()
        if not version.startswith("6.13"):
            (tmp_path / f"initrd.img-{version}").touch()
    assert newest_kernel(tmp_path, tmp_path) == "6.12.107+deb13-amd64"


def test_without_one_the_remedy_is_named(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz-6.12").touch()
    with pytest.raises(NothingToBoot, match=r"--tags nbd_root.*6\.12"):
        newest_kernel(tmp_path, tmp_path)


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
