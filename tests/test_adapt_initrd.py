"""What is taken out of a target's initrd, and what is put right in it; roles/nbd_root/tests has the real ones."""

from pathlib import Path
from typing import Any

import pytest
from conftest import load_script

adapt = load_script("adapt_initrd", "roles/nbd_root/files/adapt_initrd.py")
ROOT = [adapt.Encrypted("root_crypt", "1111")]


def entries(text: str) -> list[Any]:
    return list(adapt.Entry.parse(text))


def test_root_on_lvm_on_luks_is_found_below_both() -> None:
    part = {"name": "sda3", "type": "part", "uuid": "1111"}
    tree = {"name": "vg-root", "type": "lvm", "children": [{"name": "root_crypt", "type": "crypt", "children": [part]}]}
    assert list(adapt.encrypted_below({"blockdevices": [tree]})) == ROOT


@pytest.mark.fault("F43")
@pytest.mark.parametrize(
    ("laptop", "target"),
    [
        ("root_crypt /dev/sda3 none luks", "root_crypt UUID=1111 none luks,tries=0"),
        ("root_crypt UUID=1111 none luks,discard,fido2-device=auto", "root_crypt UUID=1111 none luks,discard,tries=0"),
        ("root_crypt UUID=1111 /crypto_keyfile.bin luks", "root_crypt UUID=1111 none luks,tries=0"),
        ("root_crypt UUID=1111 - tries=1", "root_crypt UUID=1111 none luks,tries=0"),
        ("root_crypt UUID=1111", "root_crypt UUID=1111 none luks,tries=0"),
        ("# a comment\nroot_crypt UUID=1111 none bitlk,timeout=30", "root_crypt UUID=1111 none bitlk,tries=0"),
    ],
)
def test_root_is_opened_by_a_passphrase_as_often_as_it_takes(laptop: str, target: str) -> None:
    assert [str(entry) for entry in adapt.crypttab(entries(laptop), [], ROOT)] == [target]


def test_a_volume_whose_key_is_not_typed_is_left_to_the_running_system(
    capsys: pytest.CaptureFixture[str],
) -> None:
    initrd = entries("data UUID=2 /cryptroot/keyfiles/data.key luks\nmore UUID=3 none luks")
    assert [entry.name for entry in adapt.crypttab([], initrd, [])] == ["more"]
    assert "data is not opened in the initrd" in capsys.readouterr().out


@pytest.mark.parametrize(
    "line",
    [
        "blacklist r8169",
        "blacklist  e1000e ",
        "install igb /bin/false",
        "alias pci:v000010ECd* r8125",
        "alias usb:v0BDA* r8153-ecm",
    ],
)
def test_what_keeps_a_wired_adapter_from_its_driver_is_taken_out(line: str) -> None:
    assert adapt.hinders(line, {"r8169", "e1000e", "igb"}, {"r8169", "e1000e", "igb"})


@pytest.mark.parametrize(
    "line",
    [
        "blacklist nouveau",
        "# blacklist r8169",
        "options r8169 debug=1",
        "alias pci:v000010ECd* r8169",
        "alias eth0 r8125",
        "",
        "blacklist",
    ],
)
def test_everything_else_stays(line: str) -> None:
    assert not adapt.hinders(line, {"r8169"}, {"r8169"})


@pytest.fixture
def encrypted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The initrd of a laptop whose / is encrypted; its crypttab and command line are files in the same folder."""
    monkeypatch.setattr(adapt, "CRYPTTAB", tmp_path / "laptop-crypttab")
    monkeypatch.setattr(adapt, "COMMAND_LINE", tmp_path / "cmdline")
    (tmp_path / "cmdline").write_text("root=/dev/mapper/vg-root ro")
    (tmp_path / "usr/sbin").mkdir(parents=True)
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr/sbin/cryptsetup").touch()
    return tmp_path


def test_root_that_no_crypttab_names_is_refused_before_a_desktop_waits_for_it(encrypted: Path) -> None:
    with pytest.raises(adapt.Unfit, match="root_crypt, which /etc/crypttab does not name"):
        adapt.adapt_prompts(encrypted, ROOT)


def test_root_that_the_command_line_names_is_fine(encrypted: Path) -> None:
    (encrypted / "cmdline").write_text("root=/dev/mapper/vg-root rd.luks.uuid=1111 ro")
    adapt.adapt_prompts(encrypted, ROOT)


def test_dracuts_crypttab_is_written_for_root_alone(encrypted: Path) -> None:
    (encrypted / "laptop-crypttab").write_text("root_crypt UUID=1111 none tpm2-device=auto\ndata UUID=2 /k luks\n")
    adapt.adapt_prompts(encrypted, ROOT)
    written = encrypted / "etc/crypttab"
    assert written.read_text() == "root_crypt UUID=1111 none luks,tries=0\n"
    assert written.stat().st_mode & 0o777 == 0o600


def test_without_a_program_that_opens_root_it_is_refused(encrypted: Path) -> None:
    (encrypted / "usr/sbin/cryptsetup").unlink()
    with pytest.raises(adapt.Unfit, match="Install cryptsetup-initramfs"):
        adapt.adapt_prompts(encrypted, ROOT)


def test_the_laptops_own_md_arrays_are_looked_for_on_its_disk_only(tmp_path: Path) -> None:
    mdadm = tmp_path / "etc/mdadm/mdadm.conf"
    mdadm.parent.mkdir(parents=True)
    mdadm.write_text("DEVICE partitions\nARRAY /dev/md0 UUID=1\n")
    adapt.adapt_volumes(tmp_path)
    said = mdadm.read_text().splitlines()
    assert "ARRAY /dev/md0 UUID=1" in said
    assert [line for line in said if line.startswith("DEVICE")] == ["DEVICE /dev/nbd0* /dev/mapper/*"]


def test_modules_are_known_by_one_name() -> None:
    assert adapt.module_name("kernel/drivers/net/usb/r8153-ecm.ko.xz") == "r8153_ecm"
    assert adapt.wanted_modules(Path("/nowhere")) == set()


def test_drivers_of_disks_are_left_out_but_for_what_others_need(tmp_path: Path) -> None:
    modules = tmp_path / "usr/lib/modules/6.12"
    scsi, usb = "kernel/drivers/scsi/scsi_mod.ko.xz", "kernel/drivers/usb/storage/usb-storage.ko.xz"
    ahci, nbd = "kernel/drivers/ata/ahci.ko.xz", "kernel/drivers/block/nbd.ko.xz"
    needs: dict[str, list[str]] = {scsi: [], usb: [scsi], ahci: [scsi], nbd: [], "kernel/drivers/nvme/nvme.ko.xz": []}
    for path in needs:
        (modules / path).parent.mkdir(parents=True, exist_ok=True)
        (modules / path).touch()
    adapt.leave_out(adapt.STORAGE, tmp_path, "6.12", needs, adapt.PLUGGED_IN)
    assert {str(path.relative_to(modules)) for path in modules.rglob("*.ko*")} == {scsi, usb, nbd}
