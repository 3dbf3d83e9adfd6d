"""A file that becomes a disk holds what was copied onto it, whatever else the machine does meanwhile."""

import os
import shutil
import subprocess

import pytest
from lab.machines import volumes
from lab.machines.layout_image import Uuids
from lab.machines.shell import run

NEEDED = ("mke2fs", "debugfs", "losetup", "unshare")


@pytest.mark.skipif(os.geteuid() != 0 or not all(map(shutil.which, NEEDED)), reason="only root mounts")
def test_a_filesystem_is_in_its_file_though_another_namespace_still_has_it_mounted(tmp_path):
    """The fault bench makes namespaces; a laptop that was laid out beside it had an empty disk."""
    file = volumes.sparse_file(tmp_path / "root.part", 16)
    volumes.filesystem("ext4", file, Uuids().root, 512)
    (tmp_path / "mountpoint").mkdir()
    with volumes.mounted(file, tmp_path / "mountpoint") as there:
        namespace = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", "echo made; exec cat"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert namespace.stdout.readline() == "made\n"
        (there / "word").write_text("kept")
    with namespace:  # ends with its standard input
        assert run(["debugfs", "-R", "cat /word", shutil.copy(file, tmp_path / "copy")]) == "kept"
