"""Look for the key in everything that a run leaves behind: the build folder, system logs, running processes.

The key may lie in its own folder, in the stick's image and on a laptop's own disk, which are readable by root
alone, and nowhere else.
"""

import base64
import hashlib
import json
import mmap
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = (Path("/var/log"), Path("/run/log/journal"))
PRIVATE = ("key/*.json", "sticks/*.json", "stiefel-usb.img", "*.qcow2")
"""What is made to hold the key: keyring, sticks' key files, the stick's image, virtual laptops' disks."""


def traces(secret: bytes) -> tuple[bytes, ...]:
    """Return what would give a key away: its bytes, its usual spellings and its hashes."""
    digest = hashlib.sha256(secret)
    encoded = base64.b64encode(secret)
    return (secret, encoded.rstrip(b"="), secret.hex().encode(), digest.digest(), digest.hexdigest().encode())


def secrets(key_file: Path) -> list[bytes]:
    """Return the keys of a laptop's key file, and the private halves of its pairs."""
    entries = json.loads(key_file.read_text())["keys"]
    return [base64.b64decode(entry[field]) for entry in entries for field in ("key", "laptop_private")]


def files(build: Path) -> Iterator[Path]:
    """Yield the files that must not hold a key."""
    for folder in (build, *LOGS):
        for path in folder.rglob("*") if folder.exists() else ():
            private = any(path.match(pattern) for pattern in PRIVATE)
            if path.is_file() and not path.is_symlink() and path.stat().st_size and not private:
                yield path


def holds(path: Path, wanted: list[bytes]) -> bool:
    """Return whether a file holds one of the byte strings; zstd frames, as the ramdisk's, are unpacked first."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if any(content.find(trace) >= 0 for trace in wanted):
            return True
        packed = content[:4] == b"\x28\xb5\x2f\xfd"
    if not packed:
        return False
    plain = subprocess.run(["zstd", "--decompress", "--stdout", str(path)], capture_output=True, check=True).stdout
    return any(trace in plain for trace in wanted)


def command_lines() -> Iterator[tuple[str, bytes]]:
    """Yield name and command line of every process that still runs."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            yield str(path), path.read_bytes()
        except OSError:  # it has ended meanwhile
            continue


def found(build: Path) -> list[str]:
    """Return where a key of this build folder was found, outside of the places made for it."""
    wanted = [trace for secret in secrets(build / "key/key.json") for trace in traces(secret)]
    places = [str(path) for path in files(build) if holds(path, wanted)]
    return places + [name for name, line in command_lines() if any(trace in line for trace in wanted)]


def main() -> int:
    """Look into every build folder that has a key; return 1 when a key was found where it must not be."""
    builds = [path.parent.parent for path in (ROOT / "build").rglob("key/key.json")]
    if not builds:
        print("SKIPPED: no key has been made in build/ yet, so there is nothing to look for")
    places = [place for build in builds for place in found(build)]
    for place in places:
        print(f"a key lies in {place}")
    print(f"{len(builds)} build folders looked through")
    return 1 if places else 0


if __name__ == "__main__":
    sys.exit(main())
