"""What a person may rely on when a USB drive is written: nothing else is erased, and what was written is there."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import load_script

stick = load_script("stick", "roles/usbdrive/files/stick.py")


def device(**changes: Any) -> dict[str, Any]:
    facts = {
        "path": "/dev/sdb", "type": "disk", "size": 16_000_000_000, "model": "Ultra ", "serial": "4C53",
        "rm": True, "ro": False, "mountpoints": [None],
    }  # fmt: skip
    return facts | changes


def layer(path: str, kind: str, mountpoints: list[str | None], *children: dict[str, Any]) -> dict[str, Any]:
    return {"path": path, "type": kind, "mountpoints": mountpoints, "children": list(children)}


def drive(**changes: Any) -> Any:
    return stick.drive_of({"blockdevices": [device(**changes)]}, "/dev/disk/by-id/usb-Ultra")


def objections(found: Any, needs: int = 80_000_000, serial: str = "4C53", fixed: bool = False) -> list[str]:
    return list(stick.objections(found, needs, serial, fixed))


def test_a_confirmed_removable_drive_is_accepted() -> None:
    assert objections(drive()) == []


@pytest.mark.parametrize(
    ("child", "told"),
    [
        (layer("/dev/sdb1", "part", ["/boot"]), "/boot on /dev/sdb1"),
        (layer("/dev/sdb2", "part", ["[SWAP]"]), "swap on /dev/sdb2"),
        (layer("/dev/sdb3", "part", [None], layer("/dev/mapper/l", "crypt", ["/"])), "/ on /dev/mapper/l"),
        (layer("/dev/sdb3", "part", [None], layer("/dev/vg/r", "lvm", ["/"])), "/ on /dev/vg/r"),
        (layer("/dev/sdb3", "part", [None], layer("/dev/mapper/l", "crypt", [None])), "an open crypt volume"),
        (layer("/dev/sdb1", "part", [None], layer("/dev/md0", "raid1", [None])), "an open raid1 volume"),
    ],
)
def test_a_drive_that_holds_something_in_use_is_refused(child: dict[str, Any], told: str) -> None:
    (problem,) = objections(drive(children=[child]))
    assert "in use" in problem
    assert told in problem


def test_a_drive_mounted_whole_is_refused() -> None:
    assert "in use (/mnt on /dev/sdb)" in objections(drive(mountpoints=["/mnt"]))[0]


def test_each_reason_is_given_with_its_remedy() -> None:
    problems = objections(drive(rm=False, ro=True, size=50_000_000), serial="")
    assert len(problems) == 4
    assert "write-protected" in problems[0]
    assert "usbdrive_allow_fixed" in problems[1]
    assert "needs 80.0 MB, has 50.0 MB" in problems[2]
    assert "-e usbdrive_confirm_serial=4C53" in problems[3]


def test_another_serial_is_refused_and_both_are_named() -> None:
    (problem,) = objections(drive(), serial="4C54")
    assert "'4C54'" in problem
    assert "4C53" in problem


def test_a_fixed_drive_is_accepted_when_allowed() -> None:
    assert objections(drive(rm=False), fixed=True) == []


def test_a_partition_is_refused() -> None:
    assert objections(drive(type="part")) == ["it is not a whole drive but a 'part': give the name without -partN"]


def test_a_drive_without_a_serial_goes_by_its_name() -> None:
    assert drive(serial=None).serial == "usb-Ultra"


def test_a_name_that_may_come_to_mean_another_drive_is_refused() -> None:
    with pytest.raises(stick.StickError, match="below /dev/disk/by-id"):
        stick.examine("/dev/sdb")


def test_a_drive_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stick, "BY_ID", tmp_path)
    with pytest.raises(stick.StickError, match="there is no such device"):
        stick.examine(str(tmp_path / "usb-Nothing"))


def test_a_plain_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stick, "BY_ID", tmp_path)
    (tmp_path / "usb-File").touch()
    with pytest.raises(stick.StickError, match="not a block device"):
        stick.examine(str(tmp_path / "usb-File"))


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Path]:
    """A whole block device of 8 MiB that really is one, full of old data."""
    backing = tmp_path / "backing"
    backing.write_bytes(b"old data" * (1 << 20))
    if os.geteuid() != 0:
        pytest.skip("needs root for a loop device")
    done = subprocess.run(["losetup", "--find", "--show", str(backing)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    name = tmp_path / "usb-Loop"
    name.symlink_to(done.stdout.strip())
    yield name
    subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(os.urandom((3 << 20) + 512))
    return path


def run(*arguments: object) -> int:
    return int(stick.main([str(argument) for argument in arguments]))


def write_all(loop: Path, image: Path, parts: int) -> None:
    for part in reversed(range(parts)):
        assert run("write", loop, image, "--part", part, "--parts", parts) == 0


@pytest.mark.parametrize("parts", [1, 3, 10])
def test_the_whole_image_arrives_and_nothing_behind_it_changes(loop: Path, image: Path, parts: int) -> None:
    write_all(loop, image, parts)
    data = loop.read_bytes()
    assert data[: image.stat().st_size] == image.read_bytes()
    assert data[image.stat().st_size :] == (b"old data" * (1 << 20))[image.stat().st_size :]


def test_a_drive_that_holds_the_image_needs_no_writing(
    loop: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("same", loop, image) == 0
    write_all(loop, image, 3)
    assert run("same", loop, image) == 0
    before, *_, after = (json.loads(line)["changed"] for line in capsys.readouterr().out.splitlines())
    assert (before, after) == (True, False)


def test_an_interrupted_drive_does_not_boot(loop: Path, image: Path) -> None:
    write_all(loop, image, 3)
    image.write_bytes(os.urandom(image.stat().st_size))
    run("write", loop, image, "--part", 2, "--parts", 3)
    assert loop.read_bytes()[: 1 << 20] == bytes(1 << 20)


def test_a_drive_that_forgets_what_was_written_is_found_out(
    loop: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("write", loop, image, "--part", 2, "--parts", 3) == 0
    assert run("write", loop, image, "--part", 0, "--parts", 3) == 1  # part 1 is missing
    assert "gives back other data" in capsys.readouterr().err


def test_a_drive_that_somebody_holds_is_left_alone(loop: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holder = os.open(loop, os.O_RDONLY | os.O_EXCL)
    try:
        assert run("write", loop, image, "--part", 0, "--parts", 1) == 1
    finally:
        os.close(holder)
    assert "in use" in capsys.readouterr().err
    assert loop.read_bytes() == b"old data" * (1 << 20)


def test_a_real_device_is_looked_at(
    loop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stick, "BY_ID", loop.parent)
    assert run("look", loop, "--needs", 9 << 20) == 1
    told = capsys.readouterr().err
    assert "needs 9.4 MB, has 8.4 MB" in told
    assert "usbdrive_confirm_serial=usb-Loop" in told
    assert run("look", loop, "--needs", 1 << 20, "--serial", "usb-Loop", "--allow-fixed") == 0
    assert "8.4 MB" in json.loads(capsys.readouterr().out)["title"]
