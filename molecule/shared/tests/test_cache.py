"""What the lab keeps between runs, and what it forgets."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from lab.machines.cache import KEPT_DAYS, cache_dir, forget_unused, used


def test_what_nobody_uses_is_forgotten_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STIEFEL_CACHE_DIR", str(tmp_path))
    old = time.time() - (KEPT_DAYS + 1) * 24 * 3600
    folder = cache_dir()
    for name in ("laptop-old", "laptop-in-use"):
        (folder / name).mkdir()
        (folder / name / "disk.img").touch()
    for name in ("set-up-old.qcow2", "id_ed25519"):
        (folder / name).touch()
    for entry in folder.iterdir():
        os.utime(entry, (old, old))
    used(folder / "laptop-in-use")
    forget_unused()
    assert {entry.name for entry in folder.iterdir()} == {"laptop-in-use", "id_ed25519"}
