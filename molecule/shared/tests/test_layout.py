"""A laptop's layout is the same story everywhere: partitions, fstab, crypttab, what QEMU is told."""

import argparse
import json
import re
import shutil
import socket
from pathlib import Path

import pytest
from lab.machines import volumes
from lab.machines.bench import ADAPTERS
from lab.machines.layout import LAYOUTS, PASSPHRASE, Bus, Hardware
from lab.machines.layout_image import Uuids, _environment
from lab.machines.machine import Firmware, Machine, Spec
from lab.machines.shell import LabError, run
from lab.machines.tpm import Tpm
from lab.machines.unlock import ASKED_AGAIN, PROMPT
from lab.trials import matrix
from lab.trials.rows import ROWS

UUIDS = Uuids()
by_name = pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)


def environment(name):
    return _environment(LAYOUTS[name], UUIDS)


@by_name
def test_what_qemu_is_told_is_kept_beside_the_image(layout):
    assert Hardware.read(layout.hardware.write()) == layout.hardware


@by_name
def test_fstab_has_one_root_and_only_what_is_there(layout):
    lines = [line.split() for line in _environment(layout, UUIDS)["FSTAB"].splitlines()]
    assert [words[1] for words in lines].count("/") == 1
    assert all(len(words) == 6 for words in lines)
    assert ("/home" in {words[1] for words in lines}) == (layout.home_apart or layout.filesystem == "btrfs")
    assert ("/boot" in {words[1] for words in lines}) == layout.boot_apart


def test_the_guided_laptop_is_what_debians_installer_makes():
    told = environment("guided-luks")
    assert told["CRYPTTAB_KEPT"] == f"nvme0n1p3_crypt UUID={UUIDS.luks} none luks,discard,x-initrd.attach"
    assert told["FSTAB"].splitlines()[0] == "/dev/mapper/debian--vg-root / ext4 errors=remount-ro 0 1"
    assert "/dev/mapper/debian--vg-swap_1 none swap sw 0 0" in told["FSTAB"]
    assert told["BOOT_UUID"] == UUIDS.boot
    assert LAYOUTS["guided-luks"].hardware.passphrase == PASSPHRASE


@by_name
def test_who_has_a_crypttab_has_somebody_who_reads_it(layout):
    """Without it a laptop waits at its start for what nobody opens."""
    assert bool(_environment(layout, UUIDS)["CRYPTTAB_KEPT"]) == ("systemd-cryptsetup" in layout.packages)


def test_a_passphrase_is_asked_for_on_the_screen():
    def console(name):
        return [word for word in environment(name)["KERNEL_ARGS"].split() if word.startswith("console=")][-1]

    assert console("guided-luks") == "console=tty0"
    assert console("lvm").startswith("console=ttyS0")


@pytest.mark.parametrize(
    ("name", "part", "device"),
    [("sata", "main", "/dev/sda2"), ("mmc", "main", "/dev/mmcblk0p2"), ("xfs", "esp", "/dev/nvme0n1p1")],
)
def test_partitions_are_called_as_the_kernel_calls_them(name, part, device):
    assert LAYOUTS[name].device(part) == device


def command(spec):
    return " ".join(Machine("laptop", Path("/f"), Path("/s"), 2222, "desktop.link").command(spec, ()))


def test_the_disk_hangs_where_the_layout_says():
    def spec(hardware):
        return Spec(1, Firmware.UEFI, 1, 512, "virtio-net-pci", 60, disk=Path("/disk.qcow2"), hardware=hardware)

    assert "nvme,drive=disk0" in command(spec(Hardware()))
    assert "logical_block_size=4096" in command(spec(Hardware(sector_bytes=4096)))
    assert "ide-hd,drive=disk0" in command(spec(Hardware(bus=Bus.SATA)))
    assert "sd-card,drive=disk0" in command(spec(Hardware(bus=Bus.MMC)))


def test_an_adapter_on_usb_comes_after_its_controller_and_has_no_rom():
    words = command(Spec(2, Firmware.UEFI, 1, 512, ADAPTERS["usb"], 60))
    assert words.index("qemu-xhci") < words.index("usb-net,netdev=cable")
    assert "usb-net,netdev=cable,mac=52:54:00:00:00:02,bus=usb.0" in words


def test_an_adapter_that_comes_late_is_not_there_at_the_start_but_its_slot_and_its_cable_are():
    told = command(Spec(2, Firmware.UEFI, 1, 512, "", 60, nic_pluggable=True))
    assert "-netdev dgram,id=cable" in told
    assert "pcie-root-port" in told
    assert "netdev=cable" not in told


@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="not installed: qemu-system-x86")
@pytest.mark.parametrize("model", ["", "e1000e", "virtio-net-pci"])
def test_qemu_starts_a_desktop_whose_adapter_has_a_slot_of_its_own(tmp_path, model):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    machine = Machine("desktop", tmp_path, tmp_path, port, "laptop.link")
    machine.start(Spec(2, Firmware.BIOS, 1, 128, model, 60, nic_pluggable=True), ["-accel", "tcg"])
    machine.pause()  # it answers: all its devices are there
    machine.stop()


def test_two_adapters_may_have_one_address():
    told = command(Spec(2, Firmware.UEFI, 1, 512, "e1000e", 60, same_mac=True))
    assert told.count("mac=52:54:00:00:00:02") == 2


@pytest.mark.parametrize(
    "question",
    [
        "Please unlock disk nvme0n1p3_crypt:",
        "Please enter passphrase for disk QEMU (luks-1)",
        "Please unlock dlsk sda3",
    ],
)
def test_the_question_is_known_as_a_reader_of_screens_may_read_it(question):
    assert re.search(PROMPT, question)


def test_a_question_that_comes_again_is_another_one():
    once = "Please unlock disk nvme0n1p3_crypt: ****\n"
    assert not re.search(ASKED_AGAIN, once)
    assert re.search(ASKED_AGAIN, f"{once}cryptsetup failed, bad password or options?\n{once}")


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_every_row_of_the_matrix_can_be_run(row):
    assert row.adapter != "usb" or not row.late
    assert row.disk.encrypted or not row.mistypes
    assert row.layout in LAYOUTS
    assert row.adapter in ADAPTERS
    assert bool(row.refused) == bool(row.because)


def test_the_page_says_what_was_seen_and_what_was_not(tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, "SEEN", tmp_path / "matrix.json")
    monkeypatch.setattr(matrix, "PAGE", tmp_path / "compatibility.md")
    matrix.note(ROWS["xfs"], matrix.BOOTS)
    matrix.note(ROWS["random-key-swap"], f"refused: {ROWS['random-key-swap'].because}")
    page = (tmp_path / "compatibility.md").read_text()
    assert "| xfs | initramfs-tools | BIOS | e1000e, its other one has the same MAC | boots |" in page
    assert page.count("not tried yet") == len(ROWS) - 2
    assert page.count("| refused: ") == 1
    (tmp_path / "matrix.json").unlink()  # another tree, which has seen one row only
    matrix.note(ROWS["sata"], matrix.BOOTS)
    page = (tmp_path / "compatibility.md").read_text()
    assert page.count("| boots |") == 2
    assert page.count("| refused: ") == 1
    assert page.count("not tried yet") == len(ROWS) - 3


def test_a_refusal_is_read_as_ansible_folds_and_colours_it(tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, "SEEN", tmp_path / "matrix.json")
    monkeypatch.setattr(matrix, "PAGE", tmp_path / "compatibility.md")
    said = tmp_path / "refusal.txt"
    said.write_text("msg: '/ needs 2\n    disks (vda, vdb). Nothing was\x1b[0m\n\x1b[0;32m    changed.'\n")
    matrix.matrix_refused(argparse.Namespace(row="lvm-on-two-disks", said=said))
    assert (tmp_path / "compatibility.md").read_text().count("| refused: ") == 1
    said.write_text("/ needs 2 disks (vda, vdb).\n")
    with pytest.raises(LabError, match="does not say"):
        matrix.matrix_refused(argparse.Namespace(row="lvm-on-two-disks", said=said))


def test_a_boot_loader_that_reads_kernels_from_the_esp_has_room_for_them():
    assert LAYOUTS["unified"].esp_mib > LAYOUTS["plain"].esp_mib
    assert (environment("unified")["LOADER"], environment("systemd-boot")["LOADER"]) == ("uki", "bls")
    assert "systemd-boot" not in LAYOUTS["plain"].packages


def test_a_row_that_fails_is_noted_in_words_without_colours(tmp_path, monkeypatch):
    monkeypatch.setattr(matrix, "SEEN", tmp_path / "matrix.json")
    monkeypatch.setattr(matrix, "PAGE", tmp_path / "compatibility.md")
    failed = argparse.Namespace(rows=["lvm", "lvm-twins"], why="Set it up: \x1b[1;31munreachable\x1b[0m")
    matrix.matrix_failed(failed)
    assert (tmp_path / "compatibility.md").read_text().count("| fails: Set it up: unreachable |") == 2


def test_the_rows_of_one_laptop_are_seen_together_but_no_refused_one_among_them():
    rows = [ROWS[name] for name in ("lvm", "xfs", "lvm-twins", "random-key-swap")]
    assert matrix.laptops(rows) == [
        {"layout": "lvm", "refused": False, "rows": ["lvm", "lvm-twins"]},
        {"layout": "xfs", "refused": False, "rows": ["xfs"]},
        {"layout": "random-key-swap", "refused": True, "rows": ["random-key-swap"]},
    ]


def test_a_disk_holds_its_partitions_where_its_table_says(tmp_path):
    parts = {}
    for number, name in enumerate(("esp", "main")):
        parts[name] = volumes.sparse_file(tmp_path / name, 2)
        parts[name].write_bytes(bytes([number + 1]) * (2 << 20))
    volumes.gpt_disk(tmp_path / "disk", parts, 512)
    disk = (tmp_path / "disk").read_bytes()
    assert disk[1 << 20] == disk[(3 << 20) - 1] == 1
    assert disk[3 << 20] == disk[(5 << 20) - 1] == 2
    assert disk[512:520] == b"EFI PART"


def test_a_volume_group_is_written_without_being_activated(tmp_path):
    contents = {}
    for volume in ("root", "swap_1"):
        contents[volume] = tmp_path / volume
        contents[volume].write_bytes(f"this is {volume}".encode().ljust(4096) * 1024)
    disks = [volumes.sparse_file(tmp_path / f"pv{number}", 16) for number in range(2)]
    volumes.volume_group("debian-vg", contents, disks)
    for volume, disk in zip(contents, disks, strict=True):
        assert b"LVM2 001" in disk.read_bytes()[:4096]
        assert contents[volume].read_bytes() in disk.read_bytes()


def test_an_encrypted_device_no_longer_shows_what_is_in_it(tmp_path, monkeypatch):
    monkeypatch.chdir("/proc")  # no file can be made here: none may be left in a folder that others look through
    file = tmp_path / "main"
    file.write_bytes(b"written in clear".ljust(4096) * 1024)
    volumes.encrypt(file, PASSPHRASE, UUIDS.luks, 512)
    content = file.read_bytes()
    assert content.startswith(b"LUKS\xba\xbe\x00\x02")
    assert UUIDS.luks.encode() in content[:4096]
    assert b"written in clear" not in content
    assert b"argon2id" in content


def test_a_tpm_is_bound_to_a_device_that_its_passphrase_opens_as_well(tmp_path):
    file = tmp_path / "main"
    file.write_bytes(bytes(4 << 20))
    volumes.encrypt(file, PASSPHRASE, UUIDS.luks, 512)
    Tpm(tmp_path / "secrets", tmp_path / "socket").bind(file, PASSPHRASE)
    header = json.loads(run(["cryptsetup", "luksDump", "--dump-json-metadata", file]))
    (token,) = header["tokens"].values()
    assert token["type"] == "systemd-tpm2"
    assert set(header["keyslots"]) - set(token["keyslots"])


def test_where_the_tpm_opens_the_disk_nothing_is_typed_at_home():
    hardware = Hardware.read(LAYOUTS["luks-tpm2"].hardware.write())
    assert hardware.passphrase == PASSPHRASE
    assert not hardware.typed_at_home
    assert LAYOUTS["guided-luks"].hardware.typed_at_home == PASSPHRASE
    assert "tpm2-device=auto" in environment("luks-tpm2")["CRYPTTAB"]


def test_the_desktops_own_disk_has_the_laptops_names_and_must_stay_as_it_is(tmp_path):
    class Folder:
        folder = tmp_path

    with matrix.twins(ROWS["xfs"], Folder(), UUIDS.root) as disks:
        assert disks == ()
    with matrix.twins(ROWS["lvm-twins"], Folder(), UUIDS.root) as (disk,):
        assert b"debian-vg" in disk.read_bytes()
        found = run(["blkid", "--probe", "--offset", str((1 + 5 * 64) << 20), disk])
        assert 'TYPE="linux_raid_member"' in found
    with (
        pytest.raises(LabError, match="was written to"),
        matrix.twins(ROWS["lvm-twins"], Folder(), UUIDS.root) as disks,
        disks[0].open("r+b") as opened,
    ):
        opened.seek(5 << 20)
        opened.write(b"x")
