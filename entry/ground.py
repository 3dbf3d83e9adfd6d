"""What a command needs on this machine: Debian packages, and Ansible in .venv."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

import debian

LAB = ("qemu-system-x86", "qemu-utils", "ovmf", "debootstrap", "gdisk", "dosfstools", "mtools", "openssh-client")
"""What the virtual machines of "demo" and "test" are made of."""
LAYOUTS = ("btrfs-progs", "cryptsetup-bin", "libtss2-dev", "lvm2", "swtpm", "tesseract-ocr", "xfsprogs")
"""What lays a virtual laptop's disk out in other ways, and reads what stands on a screen.

libtss2-dev brings the libraries that systemd-cryptenroll loads, whose own names differ from release to release."""
MEASURED = (
    "cpio", "iproute2", "mmdebstrap", "nbdkit", "nftables", "openssl", "python3-pycryptodome", "wireguard-go",
    "wireguard-tools", "zstd",
)  # fmt: skip
"""What `bench` measures, or measures against."""
TEST = (
    *LAB, *LAYOUTS, *MEASURED, "dbus-daemon", "git", "grub-common", "libglib2.0-bin", "libnbd-bin", "python3-dbusmock",
    "shellcheck", "strace",
)  # fmt: skip
PACKAGES = {"bench": TEST, "demo": LAB, "test": TEST}
"""Debian packages that a command needs beside python3-venv. Roles install what they need themselves."""
RUNNING, TESTING = "requirements.txt", "requirements-test.txt"


class GroundError(Exception):
    """Something is missing on this machine; the text says what, and what to do."""


def install_packages(command: str, yes: bool) -> None:
    """Install what a command needs, after a question. Elsewhere than on Debian a person's own tools count."""
    if shutil.which("apt-get") is None:
        return
    missing = debian.missing(("python3-venv", *PACKAGES.get(command, ())))
    if not missing:
        return
    print(f"stiefel: these Debian packages are needed: {' '.join(missing)}", flush=True)
    if not yes:
        if not sys.stdin.isatty():
            raise GroundError("nobody is here to ask. Install them, or say --yes.")
        if input("Install them now? [Y/n] ").lower().startswith("n"):
            raise GroundError("nothing was done. Install them yourself, then run this again.")
    if not debian.apt("update"):
        raise GroundError("apt-get update failed: is this machine online?")
    if not debian.apt("install", "-y", "--no-install-recommends", *missing):
        raise GroundError(f"apt-get could not install: {' '.join(missing)}")


def stamp(root: Path, requirements: str) -> str:
    """Return what a .venv was made from: its place, the Python, the list of packages."""
    return f"{root} {sys.version} {hashlib.sha256((root / requirements).read_bytes()).hexdigest()}"


def works(venv: Path) -> bool:
    """Say whether the Python in a .venv still runs."""
    python = venv / "bin/python"
    return python.exists() and subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0


def make_venv(root: Path, command: str) -> None:
    """Make .venv unless it is there; the tests' holds what every other command needs, too."""
    wanted = TESTING if command in ("bench", "test") else RUNNING
    venv = root / ".venv"
    made = venv / "stamp"
    fitting = {stamp(root, name) for name in (wanted, TESTING)}
    if made.exists() and made.read_text() in fitting and works(venv):
        return
    print("stiefel: making .venv (once) ...", flush=True)
    if subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=False).returncode != 0:
        raise GroundError("python3 could not make .venv (Debian: is python3-venv installed?)")
    pip = (str(venv / "bin/pip"), "install", "-qq", "--disable-pip-version-check", "--require-hashes")
    # Even with -qq pip warns, in lines of 300 characters, of each try that fails; its last line says why it gave up.
    ran = subprocess.run((*pip, "-r", str(root / wanted)), check=False, capture_output=True, text=True)
    if ran.returncode != 0:
        why = ran.stderr.strip().rpartition("\n")[2]
        raise GroundError(f"pip could not install {wanted}: is this machine online? pip says: {why}")
    made.write_text(stamp(root, wanted))
