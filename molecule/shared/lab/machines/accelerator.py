"""KVM if it really works here, software emulation otherwise."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from .cache import cache_dir, locked
from .shell import say, step

KVM = ("-accel", "kvm", "-cpu", "host")
TCG = ("-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm")
"""No fast string instructions: emulated, they go byte by byte."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
MARKER = b"Kernel panic - not syncing: VFS"
PROBE_SECONDS = 20


def accelerator(kernel: Path) -> tuple[str, ...]:
    """QEMU's options for the fastest accelerator that boots `kernel`; probed once per boot of this host."""
    answer = cache_dir() / "accelerator.json"
    boot_id = BOOT_ID.read_text().strip()
    with locked("accelerator"):
        known = json.loads(answer.read_text()) if answer.exists() else {}
        if known.get("boot_id") != boot_id:
            known = {"boot_id": boot_id, "kvm": kvm_boots(kernel)}
            answer.write_text(json.dumps(known))
    return KVM if known["kvm"] else TCG


def kvm_boots(kernel: Path, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a stock kernel comes as far as looking for its root filesystem under KVM, within `seconds`.

    A /dev/kvm that opens proves little: nested ones may accept a machine and then never run it.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        say("no access to /dev/kvm: the machines run in software emulation, which is slower")
        return False
    arguments = ["-machine", "q35", "-m", "512", "-smp", "2", "-nodefaults", "-display", "none", "-no-reboot"]
    boot = ["-kernel", str(kernel), "-append", "console=ttyS0 panic=-1", "-serial", "stdio"]
    command = ["qemu-system-x86_64", *KVM, *arguments, *boot]
    with (
        step("trying KVM"),
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as qemu,
    ):
        try:
            said, _ = qemu.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            qemu.kill()
            said, _ = qemu.communicate(timeout=seconds)
    works = MARKER in said
    say("KVM works" if works else "KVM does not boot a kernel here: software emulation, which is slower")
    return works
