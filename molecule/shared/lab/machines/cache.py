"""What is kept between runs, outside the tree: images by the hash of what went in, and the lab's ssh key."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .shell import run

KEPT_DAYS = 30
REPOSITORY = Path(__file__).resolve().parents[4]


def cache_dir() -> Path:
    """The lab's cache: `lab` in STIEFEL_CACHE_DIR, by default in the project's `stiefel_cache_dir`."""
    folder = Path(os.environ.get("STIEFEL_CACHE_DIR", "/var/cache/stiefelsystem")) / "lab"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock `name` in the cache: two runs never build the same thing at once."""
    with (cache_dir() / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def used(entry: Path) -> None:
    """Note that something in the cache was used now."""
    os.utime(entry)


def forget_unused() -> None:
    """Remove images that nobody has used for KEPT_DAYS: each change of what they are made from leaves one behind."""
    oldest = time.time() - KEPT_DAYS * 24 * 3600
    for entry in (*cache_dir().glob("laptop-*/"), *cache_dir().glob("*.qcow2")):
        if entry.stat().st_mtime < oldest:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()


def fingerprint(parts: Iterable[str | Path]) -> str:
    """16 hexadecimal digits over strings, files and whole folders, in the order given.

    A path counts with its name and content; a missing path is an error. Python's byte code does not count.
    """
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            digest.update(part.encode() + b"\0")
            continue
        for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
            if file.is_file() and "__pycache__" not in file.parts:
                name = str(file.relative_to(part)) if part.is_dir() else file.name
                digest.update(name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]


def ssh_key() -> Path:
    """The private key that opens every machine of the lab, made once; the public one is beside it."""
    key = cache_dir() / "id_ed25519"
    with locked("id_ed25519"):
        if not key.exists():
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "stiefelsystem lab", "-f", key])
    return key
