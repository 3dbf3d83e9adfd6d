"""The image of a laptop whose disk is laid out in another way, cached by what went in."""

from __future__ import annotations

import os
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from . import volumes
from .cache import cache_dir, fingerprint, locked
from .image import ESP_MIB as BASE_ESP_MIB
from .image import Image, laptop_image, run_inside
from .layout import (
    BOOT_MIB,
    HOME_MIB,
    MIB,
    PASSPHRASE,
    PLAIN,
    ROOT_MIB,
    ROOT_SUBVOLUME,
    SWAP_MIB,
    VOLUME_GROUP,
    Bus,
    Layout,
)
from .shell import run, step
from .tpm import Tpm

SETUP = Path(__file__).with_name("layout-setup.sh")
MADE_BY = (SETUP, Path(__file__), Path(volumes.__file__))
LVM_SPARE_MIB = 8
"""For the group's own metadata, and rounding to extents of 4 MiB."""


@dataclass(frozen=True)
class Uuids:
    """What the parts of one image are called; new ones for each image, as an installer makes them."""

    root: str = field(default_factory=lambda: str(uuid.uuid4()))
    boot: str = field(default_factory=lambda: str(uuid.uuid4()))
    home: str = field(default_factory=lambda: str(uuid.uuid4()))
    swap: str = field(default_factory=lambda: str(uuid.uuid4()))
    luks: str = field(default_factory=lambda: str(uuid.uuid4()))
    esp: str = field(default_factory=lambda: os.urandom(4).hex().upper())


def image_of(layout: Layout) -> Image:
    """The image of a laptop with that layout, built if no one has built this one before (about a minute)."""
    base = laptop_image(layout.initramfs)
    if layout == PLAIN:
        return base
    made_of = fingerprint([str(base.folder), repr(layout), *layout.packages, *MADE_BY])
    image = Image(cache_dir() / f"laptop-{layout.name}-{made_of}")
    with locked(f"laptop-{layout.name}"):
        if not image.folder.exists():
            with step(f"building the laptop's image: {layout.what}"):
                _build(image, layout, base)
    return image


def _build(image: Image, layout: Layout, base: Image) -> None:
    """Make the image in a temporary folder and rename it when it is complete."""
    with TemporaryDirectory(prefix=".building-", dir=cache_dir()) as temporary:
        work, uuids = Path(temporary), Uuids()
        root, esp = work / "root", work / "esp"
        built = Image(work / "image")
        for folder in (built.folder, esp):
            folder.mkdir()
        _copy_base(base, root, esp)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        shutil.copytree(esp, root / "boot/efi", dirs_exist_ok=True)
        run_inside(root, SETUP, _environment(layout, uuids))
        if layout.bus is Bus.MMC:  # OVMF has no driver for it
            built.keep_direct_start(root / "boot", f"root=UUID={uuids.root} ro {_kernel_args(layout, uuids)}")
        with step("disk"):
            _Workshop(layout, uuids, root, work).write_disks(built)
        for file in (base.kernel, base.host_key):
            shutil.copy(file, built.folder)
        built.hardware_file.write_text(layout.hardware.write())
        built.folder.rename(image.folder)


def _copy_base(base: Image, root: Path, esp: Path) -> None:
    """Copy what is in the base image's root filesystem and in its EFI system partition."""
    mountpoint = esp.with_name("mountpoint")
    mountpoint.mkdir()
    with volumes.mounted(base.disk, mountpoint, "ro", "noload", f"offset={(1 + BASE_ESP_MIB) * MIB}"):
        run(["cp", "--archive", mountpoint, root])
    run(["mcopy", "-i", f"{base.disk}@@1M", "-s", "::", esp])


def _environment(layout: Layout, uuids: Uuids) -> dict[str, str]:
    """What layout-setup.sh has to know."""
    options = "luks,discard,tpm2-device=auto" if layout.tpm else "luks,discard"
    opened = f"{layout.mapping} UUID={uuids.luks} none {options}" if layout.encrypted else ""
    extra = layout.crypttab.format(swap=layout.device("swap")) if layout.crypttab else ""
    # x-initrd.attach is what the installer writes; without the disk the hook would not know that / is on it.
    return {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "INITRAMFS": layout.initramfs,
        "LOADER": layout.loader,
        "PACKAGES": " ".join(layout.packages),
        "FSTAB": _fstab(layout, uuids),
        "CRYPTTAB": "\n".join([*([f"{opened},initramfs"] if opened else []), extra]).strip(),
        "CRYPTTAB_KEPT": "\n".join([*([f"{opened},x-initrd.attach"] if opened else []), extra]).strip(),
        "ROOT_DEVICE": layout.root_device,
        "ROOT_UUID": uuids.root,
        "ROOT_TYPE": layout.filesystem,
        "GRUB_FS": {"ext4": "ext2"}.get(layout.filesystem, layout.filesystem),
        "ABSTRACTION": "lvm" if layout.lvm else "",
        "BOOT_UUID": uuids.boot if layout.boot_apart else uuids.root,
        "SUBVOLUME": ROOT_SUBVOLUME if layout.filesystem == "btrfs" else "",
        "KERNEL_ARGS": _kernel_args(layout, uuids),
    }


def _kernel_args(layout: Layout, uuids: Uuids) -> str:
    """A prompt for a passphrase belongs on the screen: there the last console is what programs call the console."""
    consoles = "console=tty0 console=ttyS0,115200"
    if layout.encrypted:
        consoles = "console=ttyS0,115200 console=tty0"
    words = [consoles, "norandmaps panic=1 oops=panic"]  # as laptop-setup.sh has it
    if layout.encrypted and layout.initramfs == "dracut":
        words.append(f"rd.luks.uuid={uuids.luks}")
    if layout.plymouth:
        words.append("splash plymouth.ignore-serial-consoles")
    return " ".join(words)


def _fstab(layout: Layout, uuids: Uuids) -> str:
    """As Debian's installer writes it: volumes by their names, everything else by UUID."""
    named = f"/dev/mapper/{VOLUME_GROUP.replace('-', '--')}-"
    root = layout.root_device if layout.lvm or layout.encrypted else f"UUID={uuids.root}"
    options = {"ext4": "errors=remount-ro", "btrfs": f"defaults,subvol={ROOT_SUBVOLUME}"}
    lines = [f"{root} / {layout.filesystem} {options.get(layout.filesystem, 'defaults')} 0 1"]
    lines.append(f"UUID={uuids.esp[:4]}-{uuids.esp[4:]} /boot/efi vfat umask=0077 0 2")
    if layout.boot_apart:
        lines.insert(1, f"UUID={uuids.boot} /boot ext4 defaults 0 2")
    if layout.filesystem == "btrfs":
        lines.append(f"UUID={uuids.root} /home btrfs defaults,subvol=@home 0 0")
    if layout.home_apart:
        lines.append(f"{named + 'home' if layout.lvm else 'UUID=' + uuids.home} /home ext4 defaults 0 2")
    if layout.lvm:
        lines.append(f"{named}swap_1 none swap sw 0 0")
    if layout.swap_file:
        lines.append("/swapfile none swap sw 0 0")
    return "\n".join([*lines, layout.fstab]).strip()


@dataclass(frozen=True)
class _Workshop:
    """Takes a root folder apart into what the layout has; files end up in `folder`."""

    layout: Layout
    uuids: Uuids
    root: Path
    folder: Path

    def write_disks(self, built: Image) -> None:
        """Put everything into one or two disks."""
        parts = self._parts(built)
        second = {"main": parts.pop("second")} if "second" in parts else {}
        names = self.layout.partition_names
        volumes.gpt_disk(built.disk, {name: parts[name] for name in names}, self.layout.sector_bytes)
        if second:
            volumes.gpt_disk(built.second_disk, second, self.layout.sector_bytes)
        for disk in built.disks:
            disk.chmod(0o444)

    def _parts(self, built: Image) -> dict[str, Path]:
        """The content of each partition, as a file; the secrets of the laptop's TPM are the image's."""
        layout, uuids, root = self.layout, self.uuids, self.root
        parts = {"esp": self._esp()}
        if layout.boot_apart:
            parts["boot"] = self._filled("boot", BOOT_MIB, uuids.boot, root / "boot")
        if layout.home_apart:
            parts["second" if layout.disks > 1 else "home"] = self._filled("home", HOME_MIB, uuids.home, root / "home")
        if layout.swap_file:
            self._swap(root / "swapfile").chmod(0o600)
        parts["main"] = self._filled("root", ROOT_MIB, uuids.root, root, layout.filesystem)
        if layout.lvm:
            parts |= self._group(parts)
        if layout.encrypted:
            volumes.encrypt(parts["main"], PASSPHRASE, uuids.luks, layout.sector_bytes)
        if layout.tpm:
            Tpm(built.tpm, self.folder / "tpm").bind(parts["main"], PASSPHRASE)
        if layout.crypttab:
            parts["swap"] = self._swap(self.folder / "swap.part")
        return parts

    def _esp(self) -> Path:
        """The EFI system partition; its mount point stays."""
        file, content = volumes.sparse_file(self.folder / "esp.part", self.layout.esp_mib), self.root / "boot/efi"
        volumes.fat(file, self.uuids.esp, content, self.layout.sector_bytes)
        _empty(content)
        return file

    def _swap(self, file: Path) -> Path:
        """A swap area without holes."""
        run(["fallocate", f"--length={SWAP_MIB}MiB", file])
        volumes.filesystem("swap", file, self.uuids.swap, self.layout.sector_bytes)
        return file

    def _filled(self, name: str, mib: int, uuid_: str, content: Path, kind: str = "ext4") -> Path:
        """A filesystem with what is in a folder, which is left empty; btrfs gets its subvolumes."""
        file = volumes.sparse_file(self.folder / f"{name}.part", mib)
        volumes.filesystem(kind, file, uuid_, self.layout.sector_bytes)
        with volumes.mounted(file, self.folder / "mountpoint") as there:
            place = there
            if kind == "btrfs":
                place = there / ROOT_SUBVOLUME
                for subvolume in (ROOT_SUBVOLUME, "@home"):
                    run(["btrfs", "--quiet", "subvolume", "create", there / subvolume])
                run(["cp", "--archive", f"{content}/home/.", there / "@home"])
                _empty(content / "home")
            run(["cp", "--archive", f"{content}/.", place])
        _empty(content)
        return file

    def _group(self, parts: dict[str, Path]) -> dict[str, Path]:
        """A volume group on one or two physical volumes, in place of the root's own partition."""
        contents = {"root": parts["main"], "swap_1": self._swap(self.folder / "swap.part")}
        if "home" in parts:
            contents["home"] = parts["home"]
        whole = sum(file.stat().st_size for file in contents.values()) // MIB + LVM_SPARE_MIB
        disks = [volumes.sparse_file(self.folder / f"pv{number}.part", whole) for number in range(self.layout.disks)]
        volumes.volume_group(VOLUME_GROUP, contents, disks)
        return dict(zip(("main", "second"), disks, strict=False))


def _empty(folder: Path) -> None:
    """Take out what is in a folder: it is a mount point from now on."""
    for entry in folder.iterdir():
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
