"""--check on a machine where nothing was ever built: it says what would be done, and does nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT


@pytest.mark.skipif(os.geteuid() != 0, reason="site.yml would ask for sudo's password")
def test_the_first_check_says_what_would_be_built(tmp_path: Path) -> None:
    tools = Path(sys.executable).parent
    build, cache = tmp_path / "build", tmp_path / "cache"
    settings = {"stiefel_build_dir": build, "stiefel_cache_dir": cache}
    ran = subprocess.run(
        [tools / "ansible-playbook", "site.yml", "--check", "--tags=key,ramdisk,usbdrive",
         *(f"--extra-vars={name}={value}" for name, value in settings.items())],
        cwd=ROOT, env=os.environ | {"LC_ALL": "C.UTF-8"}, text=True, capture_output=True, check=False, timeout=300,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "would be made with mmdebstrap" in " ".join(ran.stdout.split())
    assert not build.exists()
    assert not cache.exists()
