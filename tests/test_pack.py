"""What a person may rely on when the ramdisk is packed: what is laid over it is what was asked for, no more."""

from pathlib import Path
from typing import Any

from conftest import load_script

pack = load_script("pack", "roles/ramdisk/files/pack.py")


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
