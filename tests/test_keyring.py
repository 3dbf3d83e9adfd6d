"""What a person may rely on about keys: kept, private, revocable, and sealed when a passphrase is given."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "roles/key/files/keyring.py"


def keyring(*arguments: object, passphrase: str = "", fails: bool = False) -> dict[str, Any]:
    """Run the script as the role does; return its JSON, or with `fails` its message."""
    done = subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)],
        input=passphrase, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT / "files/ramdisk-agent/src")},
    )  # fmt: skip
    assert (done.returncode != 0) == fails, done.stderr
    return {"message": done.stderr} if fails else json.loads(done.stdout)


UNCHANGED = {"changed": False, "added": [], "removed": [], "upgraded": []}


def entries(path: Path) -> dict[str, str]:
    return {entry["name"]: entry.get("key", "sealed") for entry in json.loads(path.read_text())["keys"]}


def halves(path: Path) -> set[str]:
    """All that is secret in a laptop's key file."""
    return {entry[field] for entry in json.loads(path.read_text())["keys"] for field in ("key", "laptop_private")}


@pytest.fixture
def ring(tmp_path: Path) -> Path:
    path = tmp_path / "key" / "key.json"
    keyring("ring", path, "red", "blue")
    return path


def test_a_new_ring_has_a_key_of_its_own_for_each_stick(ring: Path) -> None:
    assert list(entries(ring)) == ["red", "blue"]
    assert len(set(entries(ring).values())) == 2


def test_only_its_owner_reads_the_ring(ring: Path) -> None:
    assert stat.S_IMODE(ring.stat().st_mode) == 0o600
    assert stat.S_IMODE(ring.parent.stat().st_mode) == 0o700


def test_what_is_there_is_kept(ring: Path) -> None:
    before = ring.read_bytes()
    assert keyring("ring", ring, "red", "blue") == UNCHANGED
    assert ring.read_bytes() == before


def test_a_removed_name_is_revoked_and_the_others_stay(ring: Path) -> None:
    red = entries(ring)["red"]
    told = keyring("ring", ring, "red", "green")
    assert told == {"changed": True, "added": ["green"], "removed": ["blue"], "upgraded": []}
    assert entries(ring)["red"] == red


def test_a_name_that_returns_gets_another_key(ring: Path) -> None:
    lost = entries(ring)["blue"]
    keyring("ring", ring, "red")
    keyring("ring", ring, "red", "blue")
    assert entries(ring)["blue"] != lost


def test_rotation_keeps_no_key(ring: Path) -> None:
    before = halves(ring)
    assert keyring("ring", ring, "red", "blue", "--rotate")["changed"]
    assert before.isdisjoint(halves(ring))


def test_check_changes_nothing(ring: Path) -> None:
    before = ring.read_bytes()
    assert keyring("ring", ring, "green", "--check")["changed"]
    assert ring.read_bytes() == before


def test_a_stick_carries_its_key_and_no_other(ring: Path, tmp_path: Path) -> None:
    carried = tmp_path / "sticks" / "blue.json"
    assert keyring("stick", ring, "blue", carried)["changed"]
    assert entries(carried) == {"blue": entries(ring)["blue"]}
    assert stat.S_IMODE(carried.stat().st_mode) == 0o600
    assert not keyring("stick", ring, "blue", carried)["changed"]


def test_the_laptops_private_half_stays_off_the_stick(ring: Path, tmp_path: Path) -> None:
    private = [entry["laptop_private"] for entry in json.loads(ring.read_text())["keys"]]
    assert len(set(private)) == 2
    for passphrase in ("", "käse"):
        keyring("stick", ring, "blue", tmp_path / "blue.json", passphrase=passphrase)
        carried = (tmp_path / "blue.json").read_text()
        assert "laptop_public" in carried
        assert not any(half in carried for half in private)


def test_a_ring_of_version_1_keeps_its_keys_gets_its_pairs_once_and_makes_its_sticks_anew(
    ring: Path, tmp_path: Path
) -> None:
    before = entries(ring)
    old = [{"name": name, "key": key} for name, key in before.items()]
    ring.write_text(json.dumps({"version": 1, "keys": old}))
    carried = tmp_path / "blue.json"
    carried.write_text(json.dumps({"version": 1, "keys": old[1:]}))
    assert "--tags key" in keyring("stick", ring, "blue", carried, fails=True)["message"]
    assert keyring("ring", ring, "red", "blue", "--check")["upgraded"] == ["red", "blue"]
    assert keyring("ring", ring, "red", "blue") == UNCHANGED | {"changed": True, "upgraded": ["red", "blue"]}
    assert entries(ring) == before
    assert keyring("ring", ring, "red", "blue") == UNCHANGED
    assert keyring("stick", ring, "blue", carried)["changed"]
    assert not keyring("stick", ring, "blue", carried)["changed"]


def test_a_stick_with_a_passphrase_does_not_carry_its_key_in_clear(ring: Path, tmp_path: Path) -> None:
    carried = tmp_path / "blue.json"
    assert keyring("stick", ring, "blue", carried, passphrase="käse")["changed"]
    assert entries(ring)["blue"] not in carried.read_text()
    assert not keyring("stick", ring, "blue", carried, passphrase="käse")["changed"]
    assert keyring("stick", ring, "blue", carried, passphrase="brot")["changed"]
    assert keyring("stick", ring, "blue", carried)["changed"]


def test_a_rotated_key_makes_the_stick_anew(ring: Path, tmp_path: Path) -> None:
    carried = tmp_path / "blue.json"
    keyring("stick", ring, "blue", carried, passphrase="käse")
    keyring("ring", ring, "red", "blue", "--rotate")
    assert keyring("stick", ring, "blue", carried, passphrase="käse")["changed"]


def test_a_stick_without_a_key_is_refused_and_the_names_are_given(ring: Path, tmp_path: Path) -> None:
    told = keyring("stick", ring, "green", tmp_path / "green.json", fails=True)["message"]
    assert "usbdrive_stick" in told
    assert "red, blue" in told


def test_a_damaged_ring_is_refused_not_overwritten(ring: Path) -> None:
    ring.write_text(ring.read_text()[:-20])
    damaged = ring.read_bytes()
    assert "Traceback" not in keyring("ring", ring, "red", fails=True)["message"]
    assert ring.read_bytes() == damaged


def test_no_output_holds_a_key(ring: Path) -> None:
    told = json.dumps(keyring("ring", ring, "red", "blue", "--rotate"))
    assert not any(secret in told for secret in halves(ring))
