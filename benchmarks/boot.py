"""A client's way from its kernel to its first beacon, in a virtual machine that gets kernel and ramdisk from QEMU."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from . import ramdisk
from .figures import Round
from .ground import ROOT, SOURCE, LeftOut, said

ORIGINAL_SECONDS = 26.0
"""The original's client in the same kind of machine: two emulated processors, 2 GiB."""
DEADLINE = 300.0
"""No verdict, only an end: ten times and more what an emulated machine takes beside others."""
BEACON = re.compile(r"event=beacon .*uptime=([0-9.]+)")
KEY = """
import pathlib, sys
from stiefel_agent.protocol.keys import Key, serialise
pathlib.Path(sys.argv[1]).write_text(serialise([Key.generate("bench").for_stick()]))
"""
QUICK = yaml.safe_load((ROOT / "roles/usbdrive/vars/main.yml").read_text())["__usbdrive_quick"]
LINE = f"stiefel.role=client loglevel=3 {QUICK} console=tty0 console=ttyS0,115200"
MACHINE = ("-machine", "q35", "-cpu", "max,-erms,-fsrm", "-m", "2048", "-nodefaults", "-display", "none", "-no-reboot")
TIMED = ("-smp", "2", "-accel", "tcg,thread=multi")
COUNTED = ("-smp", "1", "-accel", "tcg,thread=single", "-icount", "shift=1,sleep=off")
"""Two nanoseconds for an instruction, and no time for waiting: however fast and busy the machine is."""
CABLE = ("-netdev", "hubport,id=cable,hubid=0", "-device", "e1000e,netdev=cable,romfile=")


def _initrd(packed: Path, folder: Path) -> Path:
    """Return a ramdisk with a key appended, as a stick has it."""
    secret = folder / "etc/stiefel"
    secret.mkdir(parents=True)
    said(sys.executable, "-c", KEY, str(secret / "key.json"), PYTHONPATH=str(SOURCE))
    names = "etc\netc/stiefel\netc/stiefel/key.json\n"
    packing = ["cpio", "--quiet", "--create", "--format=newc", "--owner=+0:+0"]
    key = subprocess.run(packing, cwd=folder, input=names.encode(), stdout=subprocess.PIPE, check=True).stdout
    initrd = folder / "initrd.img"
    # A second archive begins at a multiple of four bytes (docs.kernel.org, early-userspace/buffer-format).
    data = packed.read_bytes()
    initrd.write_bytes(data + bytes(-len(data) % 4) + key)
    return initrd


def seconds_to_beacon(kernel: Path, packed: Path, clock: tuple[str, ...] = TIMED) -> float:
    """Boot once; return what the client says of its first beacon: seconds since its kernel began, by its clock."""
    with tempfile.TemporaryDirectory() as folder:
        boot = ["-kernel", str(kernel), "-initrd", str(_initrd(packed, Path(folder))), "-append", LINE]
        command = ["timeout", f"{DEADLINE:.0f}", "qemu-system-x86_64", *clock, *MACHINE, *CABLE, *boot]
        with subprocess.Popen([*command, "-serial", "stdio"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as qemu:
            assert qemu.stdout
            try:
                for line in qemu.stdout:
                    if found := BEACON.search(line.decode(errors="replace")):
                        return float(found[1])
            finally:
                qemu.terminate()
    raise LeftOut(f"the client sent no beacon within {DEADLINE:.0f} s")


def client(quick: bool) -> Iterator[Round]:
    """Yield the seconds of the ramdisk that is made with the defaults."""
    built = ramdisk.made_folder()
    while True:
        yield Round(seconds_to_beacon(built / "vmlinuz", built / "client.img"), ORIGINAL_SECONDS)


def client_counted(quick: bool) -> Iterator[Round]:
    """Yield the same by a clock that counts instructions."""
    built = ramdisk.made_folder()
    while True:
        yield Round(seconds_to_beacon(built / "vmlinuz", built / "client.img", COUNTED))


if __name__ == "__main__":
    print(seconds_to_beacon(Path(sys.argv[1]), Path(sys.argv[2])))
