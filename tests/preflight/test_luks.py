"""What preflight says about LUKS: can somebody open it at a desktop?"""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from recorded import device, disk, laptop, one, said
from stiefel_preflight.laptop import Laptop, Luks
from stiefel_preflight.luks import judged
from stiefel_preflight.read import read_luks

TPM = {"type": "systemd-tpm2", "keyslots": ["1"], "tpm2-pin": False}
CLEVIS = {"type": "clevis", "keyslots": ["1"]}
FIDO2 = {"type": "systemd-fido2", "keyslots": ["1"]}
RECOVERY = {"type": "systemd-recovery", "keyslots": ["2"]}


def encrypted(slots: str, *tokens: dict[str, Any]) -> Laptop:
    """Return a laptop whose root is LUKS with these key slots and tokens."""
    root = device("/dev/mapper/root", "crypt", "ext4", "1")
    tree = disk("/dev/nvme0n1", device("/dev/nvme0n1p3", "part", "crypto_LUKS", "l", root))
    metadata = {"keyslots": {slot: {} for slot in slots}, "tokens": dict(enumerate(tokens))}
    crypttab = "root UUID=l none luks,tpm2-device=auto\n"
    return laptop(tree, root="/dev/mapper/root", luks={"/dev/nvme0n1p3": metadata}, crypttab=crypttab)


KEYRING = {"type": "luks2-keyring", "keyslots": ["0"], "key_description": "somebody's"}


@pytest.mark.parametrize(
    ("slots", "tokens"),
    [("0", ()), ("01", (FIDO2,)), ("12", (TPM, RECOVERY)), ("2", (RECOVERY,)), ("0", (KEYRING,))],
)
def test_what_can_be_typed_on_any_machine_gets_no_word(slots: str, tokens: tuple[dict[str, Any], ...]) -> None:
    """A recovery key beside the TPM: systemd#23544."""
    assert said(encrypted(slots, *tokens)) == []


def test_a_security_token_alone_can_be_carried() -> None:
    """systemd#20230."""
    told = one(said(encrypted("1", FIDO2)))
    assert told.startswith("know: ")
    assert "Bring it along" in told


@pytest.mark.fault("F21")
@pytest.mark.parametrize("token", [TPM, CLEVIS])
def test_a_tpm_alone_opens_nothing_on_a_desktop(
    token: dict[str, Any], record_property: Callable[[str, object], None]
) -> None:
    told = one(said(encrypted("1", token)))
    record_property("figure", told)
    assert told.startswith("mend: /dev/nvme0n1p3 (LUKS) can only be opened by this laptop's TPM")
    assert told.endswith("cryptsetup luksAddKey /dev/nvme0n1p3")


def test_who_never_types_the_passphrase_is_asked_whether_it_is_known() -> None:
    """Beside the TPM is a slot that may be a passphrase, or a key file that nobody named: only its owner can tell."""
    told = one(said(encrypted("01", TPM)))
    assert told.startswith("know: ")
    assert "--test-passphrase /dev/nvme0n1p3" in told


def test_a_key_file_alone_is_told() -> None:
    header = Luks(
        metadata={"keyslots": {"0": {}, "1": {}}, "tokens": {"0": TPM}}, key_file="/etc/keys/root", file_slots=("0",)
    )
    (told,) = judged("/dev/sda3", header)
    assert (told.kind, "only be opened by /etc/keys/root" in told.text) == ("mend", True)


def test_a_passphrase_beside_a_key_file_gets_no_word() -> None:
    header = Luks(metadata={"keyslots": {"0": {}, "1": {}}, "tokens": {}}, key_file="/etc/keys/root", file_slots=("1",))
    assert list(judged("/dev/sda3", header)) == []


def test_only_what_a_target_opens_is_judged() -> None:
    """Another system's LUKS on the same disk is none of ours; the one that fstab waits for is."""
    tree = disk("/dev/sda", device("/dev/sda1", "part", "ext4", "1"), device("/dev/sda2", "part", "crypto_LUKS", "l"))
    luks = {"/dev/sda2": {"keyslots": {"1": {}}, "tokens": {"0": TPM}}}
    assert said(laptop(tree, root="/dev/sda1", luks=luks)) == []
    assert "LUKS" in one(said(laptop(tree, root="/dev/sda1", luks=luks, crypttab="home UUID=l none luks\n")))


@pytest.mark.parametrize("kind", ["hw-opal", "hw-opal-crypt"])
def test_a_disk_that_encrypts_itself_is_refused(kind: str) -> None:
    """cryptsetup-luksFormat(8), --hw-opal."""
    (told,) = judged("/dev/sda3", Luks(metadata={"keyslots": {"0": {}}, "segments": {"0": {"type": kind}}}))
    assert (told.kind, "OPAL" in told.text) == ("impossible", True)


@pytest.mark.skipif(not shutil.which("cryptsetup"), reason="cryptsetup is not installed here")
def test_a_real_header_says_which_slots_a_key_file_opens(tmp_path: Path) -> None:
    """The header lies in a file: nothing is opened, so that no device mapper is needed."""
    disk_image, key, typed = tmp_path / "disk", tmp_path / "key", tmp_path / "typed"
    disk_image.touch()
    os.truncate(disk_image, 32 << 20)
    key.write_bytes(b"a file's")
    typed.write_text("a person's")
    quick = ["--batch-mode", "--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000", f"--key-file={key}"]
    subprocess.run(["cryptsetup", "luksFormat", "--type=luks2", *quick, disk_image], check=True)
    path = str(disk_image)
    found = laptop(
        disk(path, fstype="crypto_LUKS", uuid="l"), root=path, crypttab=f"root UUID=l {key} luks\n", links={path: path}
    )
    alone = read_luks(path, found)
    assert alone == Luks(metadata=ANY, key_file=str(key), file_slots=("0",))
    assert [told.kind for told in judged(path, alone)] == ["mend"]
    subprocess.run(["cryptsetup", "luksAddKey", *quick, disk_image, typed], check=True)
    both = read_luks(path, found)
    assert both == Luks(metadata=ANY, key_file=str(key), file_slots=("0",))
    assert list(judged(path, both)) == []


def test_what_is_no_luks2_header_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    assert read_luks(str(tmp_path / "disk"), encrypted("0")) is None
