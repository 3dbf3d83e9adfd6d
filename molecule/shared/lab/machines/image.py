"""The laptop's disk: a real Debian, made by debootstrap without loop devices, cached by what went in."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from .cache import cache_dir, fingerprint, locked, ssh_key
from .layout import USUAL, Hardware
from .machine import DirectStart
from .shell import LabError, run, step

RELEASE = "trixie"
INITRAMFS_TOOLS = ("initramfs-tools", "dracut")
SETUP = Path(__file__).with_name("laptop-setup.sh")
DISK_MIB = 6144
ESP_MIB = 64
MIB = 1024 * 1024


@dataclass(frozen=True)
class Image:
    """A built base image: its disk is only ever read, machines write to overlays of it."""

    folder: Path

    @property
    def disk(self) -> Path:
        """Raw disk: GPT, EFI system partition, ext4 root."""
        return self.folder / "disk.img"

    @property
    def kernel(self) -> Path:
        """The kernel on that disk, for the accelerator's probe."""
        return self.folder / "vmlinuz"

    @property
    def direct_start(self) -> DirectStart | None:
        """What QEMU starts by itself, where the firmware cannot read the disk."""
        line = self.folder / "command-line"
        return DirectStart(self.kernel, self.folder / "initrd", line.read_text()) if line.exists() else None

    def keep_direct_start(self, boot: Path, command_line: str) -> None:
        """Copy what is in a /boot, for `direct_start`."""
        shutil.copy(next(boot.glob("initrd.img-*")), self.folder / "initrd")
        (self.folder / "command-line").write_text(command_line)

    @property
    def host_key(self) -> Path:
        """The laptop's public ssh host key."""
        return self.folder / "ssh_host_ed25519_key.pub"

    @property
    def second_disk(self) -> Path:
        """Raw second disk, of the layouts that have one."""
        return self.folder / "disk2.img"

    @property
    def tpm(self) -> Path:
        """The secrets of the laptop's TPM, of the layouts that have one."""
        return self.folder / "tpm"

    @property
    def disks(self) -> list[Path]:
        """One disk, or two."""
        return [disk for disk in (self.disk, self.second_disk) if disk.exists()]

    @property
    def hardware_file(self) -> Path:
        """What the disk is, unless it is what `Hardware` says by itself."""
        return self.folder / "hardware.json"

    @property
    def hardware(self) -> Hardware:
        """What QEMU has to know of the disk."""
        return Hardware.read(self.hardware_file.read_text()) if self.hardware_file.exists() else USUAL


def apt_mirror() -> str:
    """The Debian mirror that this machine's own apt uses; LAB_MIRROR overrides it."""
    if mirror := os.environ.get("LAB_MIRROR"):
        return mirror.rstrip("/")
    wanted = ["Created-By: Packages", "Origin: Debian", "Component: main"]
    sites = run(["apt-get", "indextargets", "--format", "$(SITE)", *wanted]).split()
    if not sites:
        raise LabError("apt knows no Debian mirror: run 'apt-get update', or set LAB_MIRROR to the mirror's address")
    return sites[0].rstrip("/")


def laptop_image(initramfs: str = INITRAMFS_TOOLS[0]) -> Image:
    """The laptop's base image, built if no one has built this one before (about two minutes)."""
    if initramfs not in INITRAMFS_TOOLS:
        raise LabError(f"initramfs must be one of {', '.join(INITRAMFS_TOOLS)}, not {initramfs!r}")
    mirror = apt_mirror()
    public_key = ssh_key().with_suffix(".pub")
    name = f"laptop-{initramfs}-{fingerprint([mirror, public_key, SETUP, Path(__file__)])}"
    image = Image(cache_dir() / name)
    with locked(f"laptop-{initramfs}"):
        if not image.folder.exists():
            with step(f"building the laptop's base image ({initramfs})"):
                _build(image, initramfs, mirror, public_key.read_text().strip())
    return image


def _build(image: Image, initramfs: str, mirror: str, public_key: str) -> None:
    """Make the image in a temporary folder and rename it when it is complete."""
    with TemporaryDirectory(prefix=".building-", dir=cache_dir()) as temporary:
        built = Image(Path(temporary) / "image")
        built.folder.mkdir()
        root = Path(temporary) / "root"
        root_uuid, esp_serial = str(uuid.uuid4()), os.urandom(4).hex().upper()
        with step("debootstrap"):
            run(["debootstrap", "--variant=minbase", RELEASE, root, mirror])
        with step("packages, boot loader, initramfs"):
            environment = {
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "INITRAMFS": initramfs,
                "ROOT_UUID": root_uuid,
                "ESP_UUID": f"{esp_serial[:4]}-{esp_serial[4:]}",
                "SSH_KEY": public_key,
                "MIRROR": mirror,
                "RELEASE": RELEASE,
            }
            run_inside(root, SETUP, environment)
        shutil.copy(next((root / "boot").glob("vmlinuz-*")), built.kernel)
        shutil.copy(root / "etc/ssh" / built.host_key.name, built.host_key)
        with step("disk"):
            _write_disk(built.disk, root, root_uuid, esp_serial)
        built.folder.rename(image.folder)


def run_inside(root: Path, script: Path, environment: dict[str, str]) -> None:
    """Run `script` with `root` as its /, in mount and process namespaces that vanish with it."""
    inside = root / "tmp" / script.name
    shutil.copy(script, inside)
    namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", f"--root={root}"]
    run([*namespaces, "/bin/sh", f"/tmp/{script.name}"], seconds=900, env=environment)
    inside.unlink()


def _write_disk(disk: Path, root: Path, root_uuid: str, esp_serial: str) -> None:
    """Write GPT, EFI system partition and root filesystem into the file `disk`; empties root/boot/efi."""
    esp_start, root_start = 1, 1 + ESP_MIB
    root_mib = DISK_MIB - root_start - 1  # the last MiB belongs to the second GPT
    with disk.open("wb") as file:
        file.truncate(DISK_MIB * MIB)
    partitions = [
        f"--new=1:{esp_start}M:+{ESP_MIB}M",
        "--typecode=1:ef00",
        f"--new=2:{root_start}M:+{root_mib}M",
    ]
    run(["sgdisk", "--set-alignment=2048", *partitions, disk])

    esp = f"{disk}@@{esp_start}M"
    run(["mformat", "-i", esp, "-F", "-T", str(ESP_MIB * 2048), "-N", esp_serial, "::"])
    run(["mcopy", "-i", esp, "-s", root / "boot/efi/EFI", "::"])
    shutil.rmtree(root / "boot/efi/EFI")

    where = ["-E", f"offset={root_start * MIB},root_owner=0:0"]
    run(["mke2fs", "-q", "-t", "ext4", "-U", root_uuid, *where, "-d", root, disk, f"{root_mib}M"])
    disk.chmod(0o444)
