"""The ramdisk: how big it is, and how long it takes to make."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from .figures import Round
from .ground import OUTPUT, ROOT, ansible, said

BUILT = OUTPUT / "build"
ORIGINAL_MB, ORIGINAL_SECONDS = 152.0, 96.0
"""What the original's generator made (pigz -9), and how long it took, in a virtual machine of two processors."""


def _made(*settings: str) -> float:
    """Make the ramdisk as a person does, without the stick; return the seconds."""
    start = time.monotonic()
    said(*ansible("--tags=ramdisk", f"--extra-vars=stiefel_build_dir={BUILT}", *settings))
    return time.monotonic() - start


def made_folder() -> Path:
    """Make the ramdisk if it is not up to date; return the folder that holds vmlinuz, client.img and server.img."""
    _made()
    return BUILT / "ramdisk"


def size(quick: bool) -> Iterator[Round]:
    """Yield the size in MB of what a stick gets with the defaults."""
    built = made_folder()
    while True:
        yield Round(json.loads((built / "manifest.json").read_text())["client.img"]["bytes"] / 1e6, ORIGINAL_MB)


def cold(quick: bool) -> Iterator[Round]:
    """Yield the seconds of a build that finds nothing in the cache."""
    cache = OUTPUT / "cold"
    while True:
        shutil.rmtree(cache, ignore_errors=True)
        shutil.rmtree(BUILT, ignore_errors=True)
        try:
            yield Round(_made(f"--extra-vars=stiefel_cache_dir={cache}"), ORIGINAL_SECONDS)
        finally:
            shutil.rmtree(cache, ignore_errors=True)


def agent_changed(quick: bool) -> Iterator[Round]:
    """Yield the seconds of a build of which only the agent is new: what the role takes, and the packing."""
    _made()
    plan = json.loads((BUILT / "ramdisk/plan.json").read_text())
    changed = BUILT / "changed.json"
    plan["output"] = str(BUILT / "changed")
    Path(plan["output"]).mkdir(exist_ok=True)
    while True:
        role = _made()
        plan["overlay"]["usr/lib/stiefel/stiefel_agent/changed.py"] = {"content": f"WHEN = {time.time()}\n"}
        changed.write_text(json.dumps(plan))
        start = time.monotonic()
        said(sys.executable, ROOT / "roles/ramdisk/files/pack.py", changed)
        yield Round(role + time.monotonic() - start)
