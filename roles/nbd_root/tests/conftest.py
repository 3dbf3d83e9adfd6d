"""Laptops to build a target's initrd on: root folders by debootstrap, with the real initrd tools and a real kernel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import jinja2
import pytest
import yaml

ROLE = Path(__file__).resolve().parent.parent
PROJECT = ROLE.parent.parent
CACHE = Path(os.environ.get("STIEFEL_CACHE_DIR", "/var/cache/stiefelsystem")) / "laptop-root"
sys.path.insert(0, str(PROJECT / "molecule/shared"))

RELEASE = "trixie"
COMMON = [
    "btrfs-progs",
    "busybox",
    "console-setup",
    "cpio",
    "cryptsetup",
    "e2fsprogs",
    "iproute2",
    "kbd",
    "kmod",
    "linux-image-amd64",
    "lvm2",
    "mdadm",
    "plymouth",
    "python3",
    "systemd-sysv",
    "udev",
    "umockdev",
    "wireguard-tools",
    "zstd",
]
TOOLS = {
    "initramfs-tools": ["initramfs-tools", "cryptsetup-initramfs"],
    "dracut": ["dracut", "systemd-cryptsetup"],
}
ON_THE_ROOT_OF = {"mkinitcpio": "initramfs-tools"}
"""What no Debian package has runs beside another tool."""
BUILD_SECONDS = 600
INSTALL_SECONDS = 1800

ENTER = """
mount -t overlay -o "lowerdir=$1,upperdir=$2,workdir=$3" overlay "$4"
cd "$4"; script=$5
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for d in null zero full random urandom tty; do touch dev/$d; mount --bind /dev/$d dev/$d; done
ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr; mkdir dev/shm dev/pts
mount -t tmpfs tmpfs run; mount -t sysfs -o ro sysfs sys
exec chroot . env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 HOME=/root \
    DEBIAN_FRONTEND=noninteractive INITRD=No sh -c "$script"
"""
"""In a mount namespace of its own: a root folder, what is changed laid over it, and none of this machine's devices."""


@dataclass(frozen=True)
class Laptop:
    """A laptop without a machine: what its programs say and leave behind is real."""

    root: Path
    folder: Path

    @property
    def changed(self) -> Path:
        """What differs from the root folder."""
        return self.folder / "upper"

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a shell script there, as root; standard output and standard error come as one text."""
        for name in ("upper", "work", "merged"):
            (self.folder / name).mkdir(exist_ok=True)
        places = [str(path) for path in (self.root, self.changed, self.folder / "work", self.folder / "merged")]
        command = [
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "sh",
            "-ec",
            ENTER,
            "enter",
            *places,
            script,
        ]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_SECONDS, check=False
        )

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file, its folders included."""
        file = self.changed / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def build(self) -> subprocess.CompletedProcess[str]:
        """Build the target's initrd for the one kernel there is."""
        return self.run('/usr/lib/stiefel/build-target-initrd "$(ls /lib/modules)"')

    def install_role(self, provider: str) -> None:
        """Lay the role's files where its tasks put them."""
        library = self.changed / "usr/lib/stiefel"
        package = PROJECT / "files/ramdisk-agent/src/stiefel_agent"
        shutil.copytree(package, library / "stiefel_agent", ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("attach", "hide-firmware", "initrd-files", "adapt_initrd.py"):
            shutil.copy(ROLE / "files" / name, library)
            (library / name).chmod(0o755)
        shutil.copytree(ROLE / "files/udev", self.changed / "usr/lib/udev/rules.d")
        template = (ROLE / "templates/build-target-initrd.j2").read_text()
        values = yaml.safe_load((ROLE / f"vars/{provider}.yml").read_text())
        environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
        environment.filters["comment"] = lambda text: f"# {text}"
        builder = environment.from_string(template).render(ansible_managed="a test's", **values)
        self.write("usr/lib/stiefel/build-target-initrd", builder + "\n", 0o755)
        own = shutil.copytree(ROLE / "files" / provider, library / provider)
        if provider == "mkinitcpio":
            self._stand_in_for_mkinitcpio()
            shutil.copy(own / "own-in-target.conf", self._folder("etc/mkinitcpio.conf.d") / "90-stiefel.conf")
        elif provider == "dracut":
            module = shutil.copytree(own / "90stiefel", self.changed / "usr/lib/dracut/modules.d/90stiefel")
            for file in module.iterdir():
                file.chmod(0o755)
            shutil.copy(own / "own-in-target.conf", self._folder("usr/lib/dracut/dracut.conf.d") / "90-stiefel.conf")
        else:
            for script in ("hooks/stiefel", "scripts/init-premount/stiefel"):
                (own / script).chmod(0o755)
            shutil.copy(own / "own-in-target", self._folder("usr/share/initramfs-tools/conf-hooks.d") / "stiefel")

    def _stand_in_for_mkinitcpio(self) -> None:
        """No Debian package has it: what its manual pages document, and a list of an image's files."""
        self.write("usr/local/bin/mkinitcpio", Path(__file__).with_name("mkinitcpio").read_text(), 0o755)
        self.write("usr/local/bin/lsinitcpio", '#!/bin/sh\nzstd -dcq "$1" | cpio --quiet -t\n', 0o755)

    def _folder(self, path: str) -> Path:
        folder = self.changed / path
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def root_folder(provider: str) -> Path:
    """Return the root folder of a laptop with this initrd tool, made once (some minutes)."""
    from lab.machines.image import apt_mirror

    root = CACHE / f"{RELEASE}-{provider}"
    if root.exists():
        return root
    CACHE.mkdir(parents=True, exist_ok=True)
    made = root.with_suffix(f".{os.getpid()}")
    install = ["apt-get", "-qq", "install", "--no-install-recommends", *COMMON, *TOOLS[provider]]
    quiet = {"DEBIAN_FRONTEND": "noninteractive", "INITRD": "No", "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
    debootstrap = ["debootstrap", "--variant=minbase", "--include=ca-certificates", RELEASE, made, apt_mirror()]
    subprocess.run(debootstrap, check=True, timeout=INSTALL_SECONDS, capture_output=True)
    shutil.copy("/etc/resolv.conf", made / "etc/resolv.conf")
    subprocess.run(
        ["chroot", made, *install, "-y"], check=True, timeout=INSTALL_SECONDS, env=quiet, capture_output=True
    )
    made.rename(root)
    return root


@pytest.fixture(scope="module")
def new_laptop(tmp_path_factory):
    """A function that gives a laptop with this initrd tool, whose changes vanish with the test."""
    if os.geteuid() != 0 or not shutil.which("debootstrap"):
        pytest.skip("a laptop's root folder needs root and debootstrap")

    def make(provider: str = "initramfs-tools") -> Laptop:
        laptop = Laptop(root_folder(ON_THE_ROOT_OF.get(provider, provider)), tmp_path_factory.mktemp(provider))
        laptop.changed.mkdir()
        laptop.install_role(provider)
        return laptop

    return make
