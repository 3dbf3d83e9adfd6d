"""What lies on what, as lsblk shows it, and which disk / is on."""

import json
import subprocess

import pytest

from stiefel_agent.errors import NoSuchDisk
from stiefel_agent.machine import disk, program, storage


def device(path, kind, *children, **more):
    """One entry of lsblk's JSON."""
    return {"path": path, "type": kind, "children": list(children), **more}


LV = device("/dev/mapper/vg-root", "lvm", kname="dm-1", fstype="ext4", uuid="1")
CRYPT = device("/dev/mapper/crypt", "crypt", LV, kname="dm-0", fstype="LVM2_member")
LAPTOP = [
    device("/dev/nvme0n1", "disk", device("/dev/nvme0n1p1", "part"), device("/dev/nvme0n1p3", "part", CRYPT)),
    device("/dev/sda", "disk", device("/dev/sda1", "part", fstype="LVM2_member")),
]


def test_a_stack_is_read_from_top_to_bottom():
    found = storage.parse(LAPTOP)
    stack = [one.path for one in found.stack(found.found("UUID=1"))]
    assert stack == ["/dev/mapper/vg-root", "/dev/mapper/crypt", "/dev/nvme0n1p3", "/dev/nvme0n1"]


def test_a_device_is_found_by_all_its_names():
    found = storage.parse(LAPTOP, {"/dev/vg/root": "/dev/dm-1", "/dev/disk/by-id/dm-uuid-LVM-x": "/dev/dm-1"})
    for name in ("/dev/mapper/vg-root", "/dev/dm-1", "/dev/vg/root", "UUID=1", "ID=dm-uuid-LVM-x"):
        assert [one.path for one in found.found(name)] == ["/dev/mapper/vg-root"], name
    assert found.found("UUID=") == found.found("UUID=2") == found.found("/dev/none") == []


def test_a_volume_group_needs_all_its_disks():
    groups = {"/dev/mapper/crypt": "vg", "/dev/sda1": "vg"}
    found = storage.parse(LAPTOP, {}, groups)
    assert found.disks(found.found("/dev/mapper/vg-root")) == ["/dev/nvme0n1", "/dev/sda"]
    assert found.disks(found.found("/dev/nvme0n1p1")) == ["/dev/nvme0n1"]


def machine(monkeypatch, source, tree):
    """Let findmnt and lsblk say this."""

    def run(*command):
        said = f"{source}\n" if command[0] == "findmnt" else json.dumps({"blockdevices": tree})
        return subprocess.CompletedProcess(command, 0, said, "")

    monkeypatch.setattr(program, "run", run)
    monkeypatch.setattr(disk, "describe", lambda path: path)
    monkeypatch.setattr("os.path.realpath", str)


BCACHE = device("/dev/bcache0", "disk")
BTRFS = {"fstype": "btrfs", "uuid": "b"}


@pytest.mark.parametrize(
    ("source", "tree", "found"),
    [
        ("/dev/mapper/vg-root", LAPTOP, "/dev/nvme0n1"),
        ("/dev/bcache0", [device("/dev/sda", "disk", device("/dev/sda2", "part", BCACHE))], "/dev/sda"),
        ("/dev/mmcblk0p2", [device("/dev/mmcblk0", "disk", device("/dev/mmcblk0p2", "part"))], "/dev/mmcblk0"),
    ],
)
def test_the_one_disk_below_a_file_system_is_found(monkeypatch, source, tree, found):
    machine(monkeypatch, source, tree)
    assert disk.disk_below("/") == found


@pytest.mark.parametrize(
    ("source", "tree"),
    [
        ("/dev/bcache0", [device("/dev/sda", "disk", BCACHE), device("/dev/nvme0n1", "disk", BCACHE)]),
        ("/dev/sda", [device("/dev/sda", "disk", **BTRFS), device("/dev/sdb", "disk", **BTRFS)]),
        ("/dev/gone", LAPTOP),
        ("rpool/ROOT/debian", LAPTOP),
    ],
)
def test_a_file_system_on_none_or_several_is_refused(monkeypatch, source, tree):
    machine(monkeypatch, source, tree)
    with pytest.raises(NoSuchDisk):
        disk.disk_below("/")


def recorded_sysfs(root):
    """A disk with one partition, as lsblk --sysroot reads it."""
    part = root / "sys/devices/block/sda/sda1"
    for folder in (
        part / "holders",
        part.parent / "slaves",
        root / "sys/block",
        root / "sys/dev/block",
        root / "proc/self",
    ):
        folder.mkdir(parents=True)
    for path, value in {
        "dev": "8:0",
        "size": "2048",
        "sda1/dev": "8:1",
        "sda1/size": "1024",
        "sda1/partition": "1",
    }.items():
        (part.parent / path).write_text(f"{value}\n")
    (root / "sys/block/sda").symlink_to("../devices/block/sda")
    (root / "sys/dev/block/8:0").symlink_to("../../devices/block/sda")
    (root / "sys/dev/block/8:1").symlink_to("../../devices/block/sda/sda1")
    for name in ("self/mountinfo", "swaps"):
        (root / "proc" / name).touch()


def test_lsblk_prints_a_tree_for_what_it_is_asked(tmp_path):
    recorded_sysfs(tmp_path)
    command = ["lsblk", "--sysroot", tmp_path, "--json", f"--output={storage.COLUMNS}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = storage.parse(json.loads(done.stdout)["blockdevices"])
    assert [one.path for one in found.stack(found.found("/dev/sda1"))] == ["/dev/sda1", "/dev/sda"]
