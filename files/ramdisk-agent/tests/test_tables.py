"""fstab and crypttab, as mount(8) and systemd read them."""

import pytest

from stiefel_agent.laptop import tables

FSTAB = """\
# a comment
UUID=1\t/\text4\terrors=remount-ro\t0\t1
UUID="2" /mnt/My\\040Drive vfat noauto,x-systemd.automount 0 0
/swap.img none swap sw 0 0
//nas/Fotos#2024 /mnt/nas cifs _netdev
short
/dev/sda1 /data ext4
"""


def test_fstab_is_read_with_its_escapes_and_quotes():
    found = [(entry.line, entry.source, entry.point) for entry in tables.fstab(FSTAB)]
    assert found == [
        (2, "UUID=1", "/"),
        (3, "UUID=2", "/mnt/My Drive"),
        (4, "/swap.img", "none"),
        (5, "//nas/Fotos#2024", "/mnt/nas"),
        (7, "/dev/sda1", "/data"),
    ]


@pytest.mark.parametrize(
    ("options", "needed"),
    [
        ("defaults", True),
        ("rw,x-systemd.device-timeout=5", True),
        ("noauto", False),
        ("nofail,x-systemd.device-timeout=1", False),
        ("x-systemd.automount", False),
    ],
)
def test_a_boot_waits_only_for_what_must_be_there(options, needed):
    assert tables.fstab(f"/dev/sdb1 /media auto {options}")[0].needed == needed
    assert tables.crypttab(f"data /dev/sdb1 none luks,{options}")[0].needed == needed


def test_a_target_waits_for_no_swap():
    assert not tables.fstab("/dev/sda6 none swap sw")[0].needed
    assert not tables.crypttab("cswap /dev/sda6 /dev/urandom swap")[0].needed


def test_crypttab_tells_keys_from_passphrases_and_random_ones():
    keys = ("", "none luks", "- luks", "/etc/key luks", "/dev/urandom tmp")
    entries = tables.crypttab("".join(f"name UUID=1 {key}\n" for key in keys))
    assert [entry.key for entry in entries] == ["", "", "", "/etc/key", "/dev/urandom"]
    assert [entry.random_key for entry in entries] == [False, False, False, False, True]
