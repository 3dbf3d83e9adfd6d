"""Configuration files: what is wrong is named, and nothing is guessed."""

import json
from pathlib import Path

import pytest

from stiefel_agent.config import AutokexecConfig, Consent, Encryption, ServerConfig
from stiefel_agent.errors import BadConfiguration


def written(folder: Path, document: object) -> Path:
    path = folder / "settings.json"
    path.write_text(json.dumps(document))
    return path


def test_settings_are_read_with_their_types(tmp_path: Path) -> None:
    path = written(tmp_path, {"consent": "ask", "encryption": "none", "target_args_dropped": ["splash"]})
    settings = AutokexecConfig.load(path)
    assert (settings.consent, settings.encryption) == (Consent.ASK, Encryption.NONE)
    assert settings.target_args_dropped == ("splash",)


@pytest.mark.parametrize(
    ("document", "named"),
    [
        ({"disk": "/dev/x", "laptop": "l", "encription": "none"}, "encription"),
        ({"laptop": "l"}, "disk"),
        ({"disk": "/dev/x", "laptop": "l", "encryption": "rot13"}, "wireguard | none"),
        ({"disk": "/dev/x", "laptop": "l", "connections": "four"}, "connections"),
        ({"disk": "/dev/x", "laptop": "l", "connections": True}, "connections"),
        ([], "object"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, document: object, named: str) -> None:
    with pytest.raises(BadConfiguration, match=named.replace("|", r"\|")):
        ServerConfig.load(written(tmp_path, document))


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfiguration, match="absent"):
        ServerConfig.load(tmp_path / "absent.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BadConfiguration, match="broken"):
        ServerConfig.load(tmp_path / "broken.json")
