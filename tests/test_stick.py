"""What a person may rely on when a USB drive is written: nothing else is erased, and what was written is there."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import load_script

ROOT = Path(__file__).parent.parent
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
    return list(stick.objections(found, stick.Confirmed(needs, serial, fixed)))


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


def test_another_drive_than_was_looked_at_is_refused_whatever_its_serial() -> None:
    found = stick.drive_of({"blockdevices": [device()]}, "/dev/disk/by-id/usb-Ultra", "8:16-7")
    for looked_at in ("8:16-6", "8:32-7", "8:16"):
        (problem,) = stick.objections(found, stick.Confirmed(80_000_000, "4C53", False, looked_at))
        assert "not the drive that was looked at" in problem
    assert list(stick.objections(found, stick.Confirmed(80_000_000, "4C53", False, "8:16-7"))) == []


def test_a_name_that_may_come_to_mean_another_drive_is_refused() -> None:
    with pytest.raises(stick.StickError, match="below /dev/disk/by-id"):
        stick.check_name("/dev/sdb")


def test_a_drive_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stick, "BY_ID", tmp_path)
    with pytest.raises(stick.StickError, match="there is no such device"):
        stick.check_name(str(tmp_path / "usb-Nothing"))


def test_a_plain_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(stick, "BY_ID", tmp_path)
    (tmp_path / "usb-File").touch()
    assert run("look", tmp_path / "usb-File", "--needs", 1) == 1
    assert "not a block device" in capsys.readouterr().err


OLD = b"old data" * (1 << 20)


@contextmanager
def loop_device(backing: Path) -> Iterator[str]:
    """A whole block device of 8 MiB that really is one, full of old data."""
    backing.write_bytes(OLD)
    if os.geteuid() != 0:
        pytest.skip("needs root for a loop device")
    done = subprocess.run(["losetup", "--find", "--show", str(backing)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no loop device here: {done.stderr.strip()}")
    try:
        yield done.stdout.strip()
    finally:
        subprocess.run(["losetup", "--detach", done.stdout.strip()], check=True)


@pytest.fixture
def loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Such a device by its name in a folder of such names."""
    monkeypatch.setattr(stick, "BY_ID", tmp_path)
    with loop_device(tmp_path / "backing") as device:
        name = tmp_path / "usb-Loop"
        name.symlink_to(device)
        yield name


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(os.urandom((3 << 20) + 512))
    return path


def run(*arguments: object) -> int:
    return int(stick.main([str(argument) for argument in arguments]))


CONFIRMED = ("--serial", "usb-Loop", "--allow-fixed")


def write(loop: Path, image: Path, part: int, parts: int, *more: object) -> int:
    return run("write", loop, image, "--part", part, "--parts", parts, *CONFIRMED, *more)


def write_all(loop: Path, image: Path, parts: int) -> None:
    for part in reversed(range(parts)):
        assert write(loop, image, part, parts) == 0


@pytest.fixture
def looked_at(loop: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The drive's identity as the look at it said."""
    assert run("look", loop, "--needs", 1 << 20, *CONFIRMED) == 0
    return str(json.loads(capsys.readouterr().out)["identity"])


def test_a_name_that_was_pointed_at_another_drive_meanwhile_erases_nothing(
    loop: Path, image: Path, looked_at: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with loop_device(tmp_path / "other") as other:
        loop.unlink()
        loop.symlink_to(other)
        assert write(loop, image, 0, 1, "--identity", looked_at) == 1
        assert "not the drive that was looked at" in capsys.readouterr().err
        assert (tmp_path / "other").read_bytes() == OLD


def test_a_name_that_is_pointed_at_another_drive_while_it_is_judged_erases_nothing(
    loop: Path, image: Path, looked_at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was opened and judged is written, not what the name means a moment later."""
    examine = stick.examine
    with loop_device(tmp_path / "other") as other:

        def examine_and_point_elsewhere(*arguments: Any) -> Any:
            drive = examine(*arguments)
            loop.unlink()
            loop.symlink_to(other)
            return drive

        monkeypatch.setattr(stick, "examine", examine_and_point_elsewhere)
        assert write(loop, image, 0, 1, "--identity", looked_at) == 0
        assert (tmp_path / "other").read_bytes() == OLD
    assert (tmp_path / "backing").read_bytes()[: image.stat().st_size] == image.read_bytes()


def test_a_drive_that_was_taken_out_and_another_put_in_its_place_is_left_alone(
    loop: Path, image: Path, looked_at: str, tmp_path: Path
) -> None:
    """Same name, same numbers: only the disk's sequence number tells."""
    device = str(loop.readlink())
    subprocess.run(["losetup", "--detach", device], check=True)
    (tmp_path / "other").write_bytes(OLD)
    subprocess.run(["losetup", device, str(tmp_path / "other")], check=True)
    assert write(loop, image, 0, 1, "--identity", looked_at) == 1
    assert (tmp_path / "other").read_bytes() == OLD


def test_what_was_not_confirmed_is_not_written_whoever_asks(loop: Path, image: Path) -> None:
    for confirmed in ((), ("--serial", "usb-Loop"), ("--serial", "4C53", "--allow-fixed")):
        assert run("write", loop, image, "--part", 0, "--parts", 1, *confirmed) == 1
    image.write_bytes(bytes(9 << 20))
    assert write(loop, image, 0, 1) == 1
    assert loop.read_bytes() == OLD


@pytest.mark.parametrize("parts", [1, 3, 10])
def test_the_whole_image_arrives_and_nothing_behind_it_changes(loop: Path, image: Path, parts: int) -> None:
    write_all(loop, image, parts)
    data = loop.read_bytes()
    assert data[: image.stat().st_size] == image.read_bytes()
    assert data[image.stat().st_size :] == OLD[image.stat().st_size :]


def test_a_drive_that_holds_the_image_needs_no_writing(
    loop: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("same", loop, image, *CONFIRMED) == 0
    write_all(loop, image, 3)
    assert run("same", loop, image, *CONFIRMED) == 0
    before, *_, after = (json.loads(line)["changed"] for line in capsys.readouterr().out.splitlines())
    assert (before, after) == (True, False)


def test_an_interrupted_drive_does_not_boot(loop: Path, image: Path) -> None:
    write_all(loop, image, 3)
    image.write_bytes(os.urandom(image.stat().st_size))
    write(loop, image, 2, 3)
    assert loop.read_bytes()[: 1 << 20] == bytes(1 << 20)


def test_a_drive_that_forgets_what_was_written_is_found_out(
    loop: Path, image: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write(loop, image, 2, 3) == 0
    assert write(loop, image, 0, 3) == 1  # part 1 is missing
    assert "gives back other data" in capsys.readouterr().err


def test_a_drive_that_somebody_holds_is_left_alone(loop: Path, image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    holder = os.open(loop, os.O_RDONLY | os.O_EXCL)
    try:
        assert write(loop, image, 0, 1) == 1
    finally:
        os.close(holder)
    assert "in use" in capsys.readouterr().err
    assert loop.read_bytes() == OLD


def test_a_real_device_is_looked_at(loop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("look", loop, "--needs", 9 << 20) == 1
    told = capsys.readouterr().err
    assert "needs 9.4 MB, has 8.4 MB" in told
    assert "usbdrive_confirm_serial=usb-Loop" in told
    assert run("look", loop, "--needs", 1 << 20, *CONFIRMED) == 0
    assert "8.4 MB" in json.loads(capsys.readouterr().out)["title"]


def test_no_role_lays_anything_into_a_folder_that_others_may_look_into() -> None:
    """A stick's key without passphrase lies among the parts of its image: those are packed where only root looks."""
    for path in (ROOT / "roles").rglob("tasks/*.yml"):
        for folder in tempfiles(yaml.safe_load(path.read_text()) or []):
            assert folder.startswith("{{ stiefel_build_dir }}/"), f"{path}: {folder!r}"


def tempfiles(tasks: list[dict[str, Any]]) -> Iterator[str]:
    """Yield where each temporary file or folder of these tasks is made; "" is the system's /tmp."""
    for task in tasks:
        if made := task.get("ansible.builtin.tempfile"):
            yield made.get("path", "")
        for part in ("block", "rescue", "always"):
            yield from tempfiles(task.get(part, []))
