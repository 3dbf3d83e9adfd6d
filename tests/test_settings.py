"""Which settings are refused before anything is changed; bad input ends with one message that says what to do."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, load_script

sys.path.insert(0, str(ROOT / "files/ramdisk-agent/src"))
from stiefel_agent.protocol import keys

settings = load_script("settings", "plugins/filter/refused.py")
space = load_script("space", "plugins/filter/short_of_space.py")


def refused(**chosen: Any) -> list[str]:
    """Return the messages about settings that somebody chose."""
    messages: list[str] = settings.refused(chosen, str(ROOT))
    return messages


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("usbdrive_devce", "Did you mean usbdrive_device?"),
        ("stiefel_releases", "Did you mean stiefel_release?"),
        ("autokexc_consent", "Did you mean autokexec_consent?"),
        ("usbdrive_zzzzzzzzzzzz", "docs/variables.md"),
    ],
)
def test_a_misspelt_setting_is_named_with_its_remedy(name: str, told: str) -> None:
    (message,) = refused(**{name: "x", "key_sticks": ["red"]})
    assert name in message
    assert told in message


def test_settings_and_other_peoples_variables_pass() -> None:
    ours = {"usbdrive_device": "/dev/disk/by-id/x", "autokexec_countdown": "60", "key_sticks": ["a"], "key_rotate": 0}
    others = {"ansible_host": "anna", "backup_dir": 3, "__usbdrive_size": [], "packages_common": ["vim"]}
    assert refused(**ours, **others) == []


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("ramdisk_compression", 22, "from 1 to 19"),
        ("ramdisk_features", ["wired", "sound"], "thunderbolt"),
        ("autokexec_consent", "perhaps", "countdown, ask, none"),
        ("autokexec_connections", 0, "from 1 to 16"),
        ("autokexec_mtu", 1200, "from 1280 to 9000"),
        ("autokexec_mtu", "jumbo", "auto, or a number"),
        ("autokexec_countdown", -3, "seconds"),
        ("autokexec_countdown", "soon", "int"),
        ("autokexec_disk", "nvme0n1", "/dev/disk/by-id"),
        ("autokexec_trigger_macs", ["52:54:00:12:34"], "52:54:00:12:34:56"),
        ("autokexec_trigger_usb_ids", ["0bda-8153"], "lsusb"),
        ("key_sticks", ["anna's"], "letters"),
        ("key_sticks", "red", '["red"]'),
        ("key_sticks", [], "1 to 16 names"),
        ("key_sticks", ["a", "a"], "each another"),
        ("stiefel_encryption", "tls", "wireguard, none"),
        ("stiefel_release", "bookworm", "must be one of: trixie"),
        ("usbdrive_kernel_args", "quiet\nsplash", "one line"),
        ("usbdrive_stick", "yellow", "key_sticks has only: stick"),
    ],
)
def test_a_value_that_cannot_be_is_refused_in_words(name: str, value: object, told: str) -> None:
    (message,) = refused(**{name: value})
    assert name in message
    assert told in message


def test_a_passphrase_is_never_shown() -> None:
    assert "secret" not in str(refused(usbdrive_passphrase="secret\n", key_rotate="maybe"))


def test_each_wrong_setting_is_told_at_once() -> None:
    assert len(refused(autokexec_connections=99, ramdisk_compression=99, usbdrive_devce="x")) == 3


def test_sticks_are_named_and_counted_as_the_agent_does() -> None:
    names = [f"stick{number}" for number in range(keys.KEYS_LIMIT + 1)]
    assert refused(key_sticks=names[1:]) == []
    assert refused(key_sticks=names) != []
    assert settings.RULES["key_sticks"][0] == keys._NAME.pattern


def test_every_rule_is_about_a_setting() -> None:
    assert set(settings.RULES) <= set(settings.known_settings(ROOT))


def test_folders_on_one_disk_need_room_for_both(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free >> 20
    folders = {"stiefel_build_dir": str(tmp_path / "not/yet"), "stiefel_cache_dir": str(tmp_path)}
    half = {"stiefel_build_dir": free // 2, "stiefel_cache_dir": free // 4}
    assert space.short_of_space(folders, half) == []
    (message,) = space.short_of_space(folders, {"stiefel_build_dir": free, "stiefel_cache_dir": free})
    assert "stiefel_build_dir and stiefel_cache_dir" in message
    assert f"{2 * free} MiB are needed" in message


def site(build: Path, tag: str, **chosen: object) -> str:
    """Run site.yml with bad input, and return what it says; nothing may have changed."""
    if os.geteuid() != 0:
        pytest.skip("site.yml would ask for sudo's password")
    tools = Path(sys.executable).parent
    chosen |= {"stiefel_build_dir": str(build)}
    run = subprocess.run(
        [tools / "ansible-playbook", "site.yml", f"--tags={tag}", f"--extra-vars={json.dumps(chosen)}"],
        cwd=ROOT, env=os.environ | {"LC_ALL": "C.UTF-8", "PATH": f"{tools}:{os.environ['PATH']}"},
        text=True, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert run.returncode != 0
    assert "changed=0" in run.stdout
    return run.stdout + run.stderr


def test_wrong_settings_end_it_before_anything_else(tmp_path: Path) -> None:
    assert "Did you mean usbdrive_device? Nothing was changed." in site(tmp_path, "usbdrive", usbdrive_devce="x")
    assert "from 1 to 19. Nothing was changed." in site(tmp_path, "key", ramdisk_compression=22)


def test_a_device_that_is_not_there_is_named(tmp_path: Path) -> None:
    said = site(tmp_path, "usbdrive", usbdrive_device="/dev/disk/by-id/nobody")
    assert "usbdrive_device is /dev/disk/by-id/nobody: there is no such device." in said


def test_a_key_file_that_is_none_names_the_way_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "key").mkdir(mode=0o700)
    (tmp_path / "key/key.json").write_text("{}")
    assert "key/key.json: The key file cannot be used. Remove it" in site(tmp_path, "key")


def test_a_truncated_ramdisk_is_not_put_on_a_stick(tmp_path: Path) -> None:
    for folder in ("key", "ramdisk"):
        (tmp_path / folder).mkdir(mode=0o700)
    (tmp_path / "key/key.json").write_text("{}")
    (tmp_path / "ramdisk/vmlinuz").write_bytes(b"kernel")
    (tmp_path / "ramdisk/client.img").write_bytes(b"half of ")
    (tmp_path / "ramdisk/manifest.json").write_text(
        json.dumps({"kernel": "6", "client.img": {"bytes": 16, "sha256": "0" * 64}})
    )
    assert "client.img is not what was built (truncated" in site(tmp_path, "usbdrive")
