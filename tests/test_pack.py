"""What a person may rely on when the ramdisk is packed: what is laid over it is what was asked for, no more."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, load_script

pack = load_script("pack", "roles/ramdisk/files/pack.py")
follow = load_script("follow", "roles/ramdisk/files/follow.py")

SAID_BY_APT = """\
Reading package lists...
The following NEW packages will be installed:
  libgpg-error0 zstd
0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.
Get:1 http://deb.example/debian trixie/main amd64 libgpg-error0 amd64 1.51-4 [82.1 kB]
Get:2 http://deb.example/debian trixie/main amd64 zstd amd64 1.5.7 [689 kB]
Fetched 771 kB in 0s (9999 kB/s)
Selecting previously unselected package zstd.
Preparing to unpack .../zstd_1.5.7_amd64.deb ...
Unpacking libgpg-error0:amd64 (1.51-4) ...
Unpacking zstd (1.5.7) ...
Setting up libgpg-error0:amd64 (1.51-4) ...
Setting up zstd (1.5.7) ...
E: a word at the end
"""


def entries(tmp_path: Path) -> list[Any]:
    agent = tmp_path / "agent"
    for name in ("client.py", "part/deep.py", ".mypy_cache/x.json", "__pycache__/client.pyc", ".secret"):
        (agent / name).parent.mkdir(parents=True, exist_ok=True)
        (agent / name).write_text(name)
    overlay = {
        "usr/lib/agent": {"source": str(agent)},
        "usr/sbin/start": {"source": str(agent / "client.py"), "mode": "0755"},
        "etc/hostname": {"content": "ramdisk\n"},
        "init": {"link": "usr/lib/systemd/systemd"},
    }
    return list(pack.overlay_entries(overlay))


def test_files_folders_texts_and_links_are_laid(tmp_path: Path) -> None:
    pack.lay(entries(tmp_path), tmp_path / "laid")
    laid = tmp_path / "laid"
    assert (laid / "usr/lib/agent/part/deep.py").read_text() == "part/deep.py"
    assert (laid / "usr/sbin/start").stat().st_mode & 0o777 == 0o755
    assert (laid / "usr/lib/agent/client.py").stat().st_mode & 0o777 == 0o644
    assert (laid / "etc/hostname").read_text() == "ramdisk\n"
    assert (laid / "init").readlink() == Path("usr/lib/systemd/systemd")


def test_caches_and_hidden_files_stay_out(tmp_path: Path) -> None:
    paths = {entry.path for entry in entries(tmp_path)}
    assert paths == {
        "usr/lib/agent/client.py", "usr/lib/agent/part/deep.py", "usr/sbin/start", "etc/hostname", "init",
    }  # fmt: skip


def test_what_was_laid_before_is_gone(tmp_path: Path) -> None:
    old = tmp_path / "laid/etc/systemd/debug.service"
    old.parent.mkdir(parents=True)
    old.write_text("a shell")
    pack.lay(entries(tmp_path), tmp_path / "laid")
    assert not old.exists()


def test_every_change_makes_another_ramdisk(tmp_path: Path) -> None:
    before = entries(tmp_path)
    same = pack.overlay_inputs(before)
    assert pack.overlay_inputs(entries(tmp_path)) == same
    changed = pack.Entry("init", 0o777, b"bin/sh", is_link=True)
    for others in (before[1:], [*before[:-1], changed], [*before, pack.Entry("etc/fstab", 0o644, b"")]):
        assert pack.overlay_inputs(others) != same


def test_who_waits_is_told_how_far_the_packages_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "said").write_text(SAID_BY_APT)
    (tmp_path / "progress").touch()
    ran = subprocess.run(
        [sys.executable, ROOT / "roles/ramdisk/files/follow.py", "sh", "-c", f"cat {tmp_path}/said; exit 3"],
        env={"PATH": "/usr/bin:/bin", "STIEFEL_PROGRESS": str(tmp_path / "progress")},
        text=True, capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert ran.returncode == 3
    assert "E: a word at the end" in ran.stdout
    assert "Unpacking" not in ran.stdout
    told = (tmp_path / "progress").read_text().splitlines()
    assert told == [f"{percent} % of 2 packages" for percent in (16, 33, 50, 66, 83, 100)]


def test_nobody_has_to_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIEFEL_PROGRESS", str(tmp_path / "gone"))
    follow.note("45 % of 2 packages")
    assert not (tmp_path / "gone").exists()


def test_a_number_of_packages_that_is_not_known_is_not_told() -> None:
    assert [far for _, far in follow.followed(["Unpacking zstd (1.5.7) ...\n"]) if far] == []


@pytest.mark.skipif(not (shutil.which("cpio") and shutil.which("zstd")), reason="needs cpio and zstd")
def test_an_archive_is_the_same_each_time_and_who_waits_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, told = tmp_path / "folder", tmp_path / "told"
    folder.mkdir()
    (folder / "large").write_bytes(bytes(range(256)) * (4 * pack.MEBIBYTE // 256))
    told.touch()
    for name, waits in (("first", ""), ("second", str(told))):
        monkeypatch.setenv("STIEFEL_PROGRESS", waits)
        pack.pack(folder, pack.everything(folder), tmp_path / name, 1)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert told.read_text().splitlines()[-1] == "100 % of 4 MiB"
    assert len(told.read_text().splitlines()) > 2
    listed = subprocess.run(f"zstd -dcq {tmp_path}/first | cpio -t", shell=True, check=True, capture_output=True)
    assert listed.stdout == b"large\n"


def root_folder(tmp_path: Path, *names: str) -> Any:
    """A plan that packs a root folder of these files, whole."""
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return pack.Plan(tmp_path, {}, tmp_path, tmp_path, 1, (), (), (), (), (), (), ())


@pytest.mark.skipif(not (shutil.which("cpio") and shutil.which("zstd")), reason="needs cpio and zstd")
def test_what_only_the_laptop_needs_is_not_on_a_stick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, work = tmp_path / "root", tmp_path / "work"
    work.mkdir()
    kept, served, listed = "usr/bin/python3", "usr/bin/nbdkit", "var/lib/dpkg/info/nbdkit.list"
    plan = replace(root_folder(root, kept, served, listed, "etc/stiefel-root.stamp"), work=work)
    (root / listed).write_text("/.\n/usr\n/usr/bin\n/usr/bin/nbdkit\n")
    plan = replace(plan, modules=("net",), server_modules=("disk",), server_packages=("nbdkit",))

    def stage(_: Any, modules: list[str], _firmware: Path, folder: Path) -> None:
        """Lay modules and a list of them, as depmod makes it."""
        folder.mkdir()
        for name, text in {"modules.dep": " ".join(modules), **dict.fromkeys(modules, "")}.items():
            (folder / name).write_text(text)

    monkeypatch.setattr(pack, "stage_drivers", stage)
    monkeypatch.setattr(pack, "stage_firmware", lambda *_: None)
    base = pack.base_frames(plan, None, "1")

    def found(frame: Path) -> set[str]:
        """Return the names in two archives, of which cpio reads one at a time."""
        unpacked = subprocess.run(["zstd", "-dcq", frame], check=True, capture_output=True).stdout
        names = set()
        for archive in unpacked.split(b"TRAILER!!!")[:-1]:
            cpio = subprocess.run(["cpio", "-t"], input=archive.lstrip(b"\0"), capture_output=True, check=False)
            names |= set(cpio.stdout.decode().split())
        return names

    assert {kept, "net", "modules.dep", "usr/bin"} <= found(base.client)
    assert not {served, "disk"} & found(base.client)
    assert found(base.server) == {served, "disk", "modules.dep"}


@pytest.mark.skipif(not shutil.which("zstd"), reason="needs zstd")
def test_firmware_lies_compressed_where_the_kernel_looks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, stage = tmp_path / "root", tmp_path / "stage"
    plan = root_folder(root, "usr/lib/firmware/maker/chip-2.fw", "usr/lib/firmware/maker/unwanted.fw")
    (root / "usr/lib/firmware/maker/chip-2.fw").write_bytes(b"microcode")
    (root / "usr/lib/firmware/maker/chip-1.fw").symlink_to("chip-2.fw")
    (root / "usr/lib/firmware/old.fw").symlink_to("maker/chip-2.fw")
    (root / "usr/lib/modules/6").mkdir(parents=True)
    (root / "usr/lib/modules/6/modules.dep").touch()
    monkeypatch.setattr(pack, "module_closure", lambda *_: set())
    monkeypatch.setattr(pack, "firmware_of", lambda _: {"maker/chip-1.fw", "old.fw", "/maker/chip-3*"})
    pack.stage_firmware(plan, (), stage)
    assert sorted(pack.everything(stage)) == ["maker", "maker/chip-1.fw.zst", "maker/chip-2.fw.zst", "old.fw.zst"]
    for name in ("maker/chip-1.fw.zst", "old.fw.zst"):
        assert subprocess.run(
            ["zstd", "-dcq"], input=(stage / name).read_bytes(), capture_output=True, check=True
        ).stdout == (b"microcode")


LIBRARY = "usr/lib/python3.13"
MODULES = (f"{LIBRARY}/json/__init__.py", f"{LIBRARY}/lib-dynload/_json.cpython-313-x86_64-linux-gnu.so")
OTHERS = (f"{LIBRARY}/ftplib.py", f"{LIBRARY}/lib-dynload/_lsprof.cpython-313-x86_64-linux-gnu.so")


def test_of_python_s_library_only_what_is_imported_is_kept(tmp_path: Path) -> None:
    compiled = f"{LIBRARY}/json/__pycache__/__init__.cpython-313.pyc"
    data = f"{LIBRARY}/EXTERNALLY-MANAGED"
    plan = root_folder(tmp_path, *MODULES, *OTHERS, compiled, data, f"{LIBRARY}/__pycache__/ftplib.cpython-313.pyc")
    files = {path for path in pack.kept_files(plan, frozenset(MODULES)) if (tmp_path / path).is_file()}
    assert files == {*MODULES, compiled, data}


def test_python_s_library_is_kept_whole_where_somebody_adds_programs(tmp_path: Path) -> None:
    assert {*MODULES, *OTHERS} <= set(pack.kept_files(root_folder(tmp_path, *MODULES, *OTHERS), None))


def test_what_the_agent_imports_is_found_by_importing_it(tmp_path: Path) -> None:
    for name, text in {"__init__.py": "", "deep/__init__.py": "", "deep/one.py": "import json.tool"}.items():
        (tmp_path / "agent" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "agent" / name).write_text(text)
    said = subprocess.run(
        [sys.executable, "-B", "-c", pack.IMPORTED, str(tmp_path), "/nowhere", "colorsys"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = {Path(line).name for line in said.stdout.splitlines()}
    assert {"one.py", "tool.py", "decoder.py", "colorsys.py"} <= found
    assert "ftplib.py" not in found
