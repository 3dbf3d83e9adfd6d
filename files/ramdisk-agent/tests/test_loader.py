"""Where kexec hangs, the boot loader starts the server: once, with nothing left behind (F24)."""

import io
import shutil
import subprocess

import pytest

from stiefel_agent.errors import LoaderRefused
from stiefel_agent.laptop import boot, loader
from stiefel_agent.laptop.loader import NAME, Grub, SystemdBoot
from stiefel_agent.machine.kexec import System

PIECE = "if [ -s $prefix/stiefel/entry.cfg ]; then\n  source $prefix/stiefel/entry.cfg\nfi\n"
needs_grub = pytest.mark.skipif(not shutil.which("grub-editenv"), reason="grub-common is not installed")


def system(line="stiefel.role=server quiet panic=30"):
    return System(io.BytesIO(b"kernel"), io.BytesIO(b"ramdisk."), line, {"etc/stiefel/key.json": b"secret"})


@pytest.fixture
def grub(tmp_path):
    (tmp_path / "grub.cfg").write_text(PIECE)
    subprocess.run(["grub-editenv", str(tmp_path / "grubenv"), "create"], check=True)
    return Grub(tmp_path)


def chosen(grub):
    return boot.grub_environment((grub.home / "grubenv").read_text()).get("next_entry")


@pytest.mark.fault("F24")
@needs_grub
def test_grub_starts_ramdisk_keys_and_bundle_at_its_next_start(grub):
    loader.arrange(system(), grub)
    assert chosen(grub) == NAME
    (entry,) = boot.grub_menu((grub.folder / "entry.cfg").read_text())
    assert (entry.identity, entry.kernel) == (NAME, "$prefix/stiefel/vmlinuz")
    assert (grub.folder / "vmlinuz").read_bytes() == b"kernel"
    initrd = (grub.folder / "initrd.img").read_bytes()
    assert initrd.startswith(b"ramdisk.070701")
    assert b"secret" in initrd


@needs_grub
@pytest.mark.skipif(not shutil.which("grub-script-check"), reason="grub-common is not installed")
def test_grub_reads_the_entry_whatever_words_are_for_the_kernel(grub):
    loader.arrange(system('stiefel.role=server dyndbg="file drivers/usb/* +p" a=$b;c it\'s'), grub)
    subprocess.run(["grub-script-check", str(grub.folder / "entry.cfg")], check=True)
    entry = (grub.folder / "entry.cfg").read_text()
    assert "'dyndbg=file drivers/usb/* +p' 'a=$b;c'" in entry


@needs_grub
def test_only_root_reads_what_lies_there(grub):
    loader.arrange(system(), grub)
    assert grub.folder.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in grub.folder.iterdir()} == {0o600}


@needs_grub
def test_the_laptop_that_is_back_takes_everything_away(grub):
    loader.arrange(system(), grub)
    loader.forget(grub)
    assert chosen(grub) is None
    assert not grub.folder.exists()
    loader.forget(grub)  # where nothing is, nothing happens


@needs_grub
def test_another_choice_for_the_next_start_is_left_alone(grub):
    subprocess.run(["grub-editenv", str(grub.home / "grubenv"), "set", "next_entry=windows"], check=True)
    loader.forget(grub)
    assert chosen(grub) == "windows"


@pytest.mark.parametrize("menu", ["", "menuentry 'Debian' {\n}\n"])
def test_a_menu_without_a_place_for_the_entry_is_refused_and_nothing_is_left(tmp_path, menu):
    (tmp_path / "grub.cfg").write_text(menu)
    with pytest.raises(LoaderRefused, match="Run update-grub"):
        loader.arrange(system(), Grub(tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["grub.cfg"]


@pytest.mark.fault("F24")
def test_systemd_boot_gets_an_entry_that_logind_chooses_once(tmp_path):
    (tmp_path / "loader/entries").mkdir(parents=True)
    boot_loader = SystemdBoot(tmp_path)
    loader.arrange(system(), boot_loader)
    (entry,) = (tmp_path / "loader/entries").iterdir()
    assert boot_loader.restart == ("reboot", f"--boot-loader-entry={entry.name}")
    fields = dict(line.split(" ", 1) for line in entry.read_text().splitlines())
    assert fields["options"] == "stiefel.role=server quiet panic=30"
    for name in ("linux", "initrd"):
        assert (tmp_path / fields[name].lstrip("/")).exists()
    loader.forget(boot_loader)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_partition_that_bootctl_does_not_name_is_refused(monkeypatch):
    """Otherwise the folder to remove would be one of the same name wherever the service stands."""
    silent = subprocess.CompletedProcess((), 1, "", "Couldn't find EFI system partition.")
    monkeypatch.setattr(boot, "is_systemd_boot", lambda: True)
    monkeypatch.setattr(loader.program, "run", lambda *_: silent)
    with pytest.raises(LoaderRefused, match="Couldn't find"):
        loader.loader()
