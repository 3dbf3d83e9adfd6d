"""The disk over a cable: ours against iperf3 and against NVMe/TCP, both ends in one virtual machine.

Two network namespaces of it are laptop and desktop, a veth pair is the cable, and the laptop's disk is null_blk. What
each end does is the product's own: nbdkit as the server starts it, the tunnel, the kernel's nbd as the target attaches
it. The machine's clock counts instructions (QEMU's -icount), so that a second is always the same work of its one
processor: what else this machine does, and how fast it is, has no part in the figures.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from .figures import Round
from .ground import OUTPUT, ROOT, SOURCE, LeftOut, said

RELEASE = "trixie"
PACKAGES = (
    "fio", "initramfs-tools", "iperf3", "iproute2", "kmod", "linux-image-amd64", "nbdkit", "python3", "udev",
    "wireguard-tools", "zstd",
)  # fmt: skip
SETUP = """
cd "$1"
mkdir -p etc/initramfs-tools/conf.d usr/share/initramfs-tools/modules.d
echo MODULES=list >etc/initramfs-tools/conf.d/bench
printf '%s\\n' virtio_pci virtio_blk ext4 >usr/share/initramfs-tools/modules.d/bench
"""
"""A small initrd: it has to find one disk."""
IMAGE_MIB, TOOLS_MIB = 2048, 32
MIRROR = "from lab.machines.image import apt_mirror; print(apt_mirror())"
LINE = "root=/dev/vda rw console=ttyS0 loglevel=3 panic=-1 init=/bin/sh -- -c"
INIT = "mount /dev/vdb /mnt && exec python3 /mnt/pair_inside.py"
MACHINE = ("-machine", "q35", "-m", "3072", "-nodefaults", "-display", "none", "-no-reboot")
COUNTED = ("-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off", "-cpu", "max,-erms,-fsrm")
"""One instruction is two nanoseconds; a machine that waits for nothing but its clock does not wait. The fast string
instructions would copy by the byte, where a real processor takes 32 at a time: eight are nearer to that."""
DEADLINE = 3600.0
"""No verdict, only an end."""


def _root(folder: Path) -> None:
    """Make the machine's / with all that both ends need, and an initrd that finds it."""
    mirror = said(sys.executable, "-c", MIRROR, PYTHONPATH=str(ROOT / "molecule/shared")).strip()
    wanted = [f"--include={','.join(PACKAGES)}", f"--setup-hook={SETUP}"]
    said("mmdebstrap", "--variant=apt", *wanted, RELEASE, folder / "root", mirror)


def _image() -> Path:
    """Return a folder with the machine's disk, kernel and initrd; made once."""
    kept = OUTPUT / f"pair-{RELEASE}"
    if kept.exists():
        return kept
    OUTPUT.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=OUTPUT) as temporary:
        folder, made = Path(temporary), Path(temporary) / "made"
        made.mkdir()
        _root(folder)
        for name in ("vmlinuz", "initrd.img"):
            said("cp", "--dereference", folder / "root" / name, made / name)
        said("mke2fs", "-q", "-t", "ext4", "-d", folder / "root", made / "disk.img", f"{IMAGE_MIB}M")
        made.rename(kept)
    return kept


def _tools(disk: Path) -> None:
    """Write the agent and what is to be done inside on a disk of their own, for they change."""
    with TemporaryDirectory() as folder:
        said("cp", "-r", SOURCE / "stiefel_agent", Path(__file__).with_name("pair_inside.py"), folder)
        said("mke2fs", "-q", "-t", "ext2", "-d", folder, disk, f"{TOOLS_MIB}M")


def _rounds(row: str, seconds: float) -> Iterator[Round]:
    """Start the machine; yield each pair of figures that it tells, for as long as it is asked."""
    image = _image()
    with TemporaryDirectory(dir=OUTPUT) as temporary:
        tools = Path(temporary) / "tools.img"
        _tools(tools)
        disks = [
            word
            for file in (image / "disk.img", tools)
            for word in ("-drive", f"file={file},format=raw,if=virtio,snapshot=on")
        ]
        append = f'{LINE} "{INIT} {row} {seconds:g}"'
        boot = ["-kernel", f"{image}/vmlinuz", "-initrd", f"{image}/initrd.img", "-append", append]
        command = ["timeout", f"{DEADLINE:.0f}", "qemu-system-x86_64", *COUNTED, *MACHINE, *disks, *boot]
        log = OUTPUT / f"pair-{row}.log"
        with (
            log.open("w") as kept,
            subprocess.Popen(
                [*command, "-serial", "stdio"],
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, errors="replace",
            ) as qemu,
        ):  # fmt: skip
            assert qemu.stdout
            try:
                for line in qemu.stdout:
                    kept.write(line)
                    kept.flush()
                    if line.startswith("FIGURES "):
                        yield Round(**json.loads(line.removeprefix("FIGURES ")))
            finally:
                qemu.terminate()
    raise LeftOut(f"the machine ended: {log} has its last words")


def compared(row: str) -> Callable[[bool], Iterator[Round]]:
    """Return what yields the figures of one comparison of pair_inside.py."""

    def measure(quick: bool) -> Iterator[Round]:
        yield from _rounds(row, 0.2 if quick else 2)

    return measure
