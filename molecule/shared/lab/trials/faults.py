"""The half of docs/faults.md that only machines can show: one session in which everything goes wrong.

Its desktop has a disk and EFI variables of its own. Needs a laptop laid out as "lvm", a hub, and the ramdisk's feature
debug: see molecule/faults.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..machines.bench import DESKTOP, LAPTOP, LOGIN_SECONDS, Bench, Pc
from ..machines.cache import REPOSITORY
from ..machines.machine import Firmware, Machine
from ..machines.shell import step
from .command import Command, bench_of, output
from .crash import Laboratory, the_agent_is_killed, the_export_is_killed
from .facts import Facts, ask, laptop_checks, target_checks, write_something
from .outage import CABLE_SECONDS, Outages
from .own_disk import digest, left_alone, own_disk
from .result import Result
from .watch import BEACON, LAPTOP_LOGIN, LOAD, MOVE, RELEASED, Watch

SHOWN = REPOSITORY / "build" / "faults" / "machines.json"
UPGRADE_SECONDS = 1800
INSTALL = "sudo DEBIAN_FRONTEND=noninteractive apt-get -qy"
OWN_INITRAMFS = "sha256sum /boot/initrd.img-$(uname -r)"
UPGRADE = f"""
set -e
echo MODULES=dep | sudo tee /etc/initramfs-tools/conf.d/driver-policy
echo 'grub-efi-amd64 grub2/update_nvram boolean true' | sudo debconf-set-selections
sudo apt-get -q update && {INSTALL} install --no-install-recommends mdadm efibootmgr
{INSTALL} install --reinstall grub-efi-amd64 shim-signed
sudo udevadm trigger --action=add --subsystem-match=block --settle
"""
"""What an evening of upgrades does in a target: an initramfs made for "this" hardware, boot loaders, assembly."""
SEEN = """
lsblk --noheadings --nodeps --output NAME,SERIAL | grep DESKTOP- | sed 's/^/disk: /'
tail -n +2 /proc/swaps | sed 's/^/swap: /'
grep '^md' /proc/mdstat | sed 's/^/array: /'
sudo vgs --noheadings 2>&1 | tail -n +2 | sed 's/^/group: /'
ls /sys/firmware/efi/efivars | grep -v README | sed 's/^/variable: /'
sudo mount -t efivarfs efivarfs /mnt 2>/dev/null && echo 'variables: can be mounted'
sudo efibootmgr >/dev/null 2>&1 && echo 'efibootmgr: works'
systemctl is-active --quiet fwupd && echo 'fwupd: runs'
true
"""
"""What a target must not see: nothing is to be printed."""


def upgrades(lab: Laboratory, variables: Path) -> None:
    """Let the target be upgraded; what is the desktop's must stay as it is (F38, F39, F40)."""
    before, own = digest(variables), lab.target.ssh(OWN_INITRAMFS)
    with step("upgrading what a target may upgrade"):
        lab.target.ssh(UPGRADE, seconds=UPGRADE_SECONDS)
    lab.result.check("the laptop's own initramfs was made anew", lab.target.ssh(OWN_INITRAMFS) != own)
    seen = lab.target.ssh(SEEN).split("\n")
    lab.result.facts["what the target sees of the desktop"] = [line for line in seen if line]
    lab.result.check("the target sees nothing of the desktop's disk, variables and firmware", not any(seen))
    lab.result.check("the desktop's EFI variables are what they were", digest(variables) == before)


THE_SESSION = {
    "F10": "written without sync, and found on the laptop",
    "F19": "root is a partition of /dev/nbd0",
    "F20": "root is a logical volume",
    "F26": "NetworkManager has the other adapter only",
    "F30": "autokexec is not active",
    "F38": "the laptop boots by what was made in a target with MODULES=dep",
    "F39": "GRUB and shim installed anew in a target, its EFI variables have the same hash",
    "F40": "a disk with the same group, UUID, swap and an array has the same hash, and is not seen",
}
"""What a session that went well shows by its checks."""


@contextmanager
def shown(figures: dict[str, str]) -> Iterator[None]:
    """Keep for docs/faults.md what the session has shown, however it ends."""
    try:
        yield
    finally:
        SHOWN.parent.mkdir(parents=True, exist_ok=True)
        seen = {"test": "molecule/faults", "outcome": "passed"}
        rows = [{"row": row, "figure": figure} | seen for row, figure in figures.items()]
        SHOWN.write_text(json.dumps(rows, indent=2) + "\n")


def boots(watch: Watch, stick: Path, disk: Path) -> Machine:
    """Start the desktop with its own disk, to its login."""
    watch.follow_laptop()
    desktop = watch.start_desktop(stick, pc=Pc("e1000e", (disk,), pluggable=True))
    watch.until("session", BEACON, *MOVE, *LOAD)
    desktop.wait_ssh(seconds=LOGIN_SECONDS)
    return desktop


def run_faults(bench: Bench, stick: Path, report: Path) -> None:
    """One session, about forty minutes without KVM.

    Raises:
        LabError: input and output stopped, something of the desktop's was touched, or the laptop did not come home.
    """
    laptop, result = bench.machine(LAPTOP), Result()
    laptop.wait_ssh(seconds=LOGIN_SECONDS)
    before = ask(laptop)
    disk = own_disk(bench.folder, before.root_uuid)
    figures: dict[str, str] = {}
    with result.kept(report), Watch(bench) as watch, left_alone(disk), shown(figures):
        target = boots(watch, stick, disk)
        for what, is_so in target_checks(before, ask(target), encrypted=True).items():
            result.check(what, is_so)
        lab = Laboratory(watch, target, result)
        outages = Outages(target, lab.load, result, figures)
        for seconds in CABLE_SECONDS:
            outages.cable_out(seconds)
        outages.adapter_hangs()
        outages.adapter_out()
        the_agent_is_killed(lab)
        the_export_is_killed(lab)
        lab.load.stop()
        upgrades(lab, bench.folder / f"{DESKTOP}.{Firmware.UEFI.value}.vars")
        comes_home(watch, lab, before)
        result.verdict()
        figures |= THE_SESSION


def comes_home(watch: Watch, lab: Laboratory, before: Facts) -> None:
    """Shut the target down; the laptop boots by the initramfs that was made on the desktop."""
    written = write_something(lab.target)
    lab.target.press_power()
    watch.until("session", RELEASED, LAPTOP_LOGIN)
    lab.target.wait_off(seconds=300, why="the target was told to shut down")
    said = lab.target.log.read_text(errors="replace")
    lab.result.check(
        "nothing of ours was waited for at its shutdown", not re.search(r"Waiting for process.*stiefel", said)
    )
    lab.result.check("nothing was killed for waiting for its disk", "Failed with result 'watchdog'" not in said)
    watch.laptop.wait_ssh(seconds=LOGIN_SECONDS)
    for what, is_so in laptop_checks(before, ask(watch.laptop), written).items():
        lab.result.check(what, is_so)


def faults(options: argparse.Namespace) -> None:
    """Let everything go wrong in one session, on a desktop with a disk of its own; needs `up --hub --layout lvm`."""
    run_faults(bench_of(options), options.stick, output(options) / "faults.json")


TRIALS = (Command("faults", faults),)
