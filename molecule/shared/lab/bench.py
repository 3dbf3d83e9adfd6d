"""A run of the lab: one folder with its machines, and the cable between them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .accelerator import accelerator
from .cache import REPOSITORY, ssh_key
from .console import last_lines
from .hub import HUB, PORT_SUFFIX
from .image import Image, laptop_image
from .machine import Firmware, Machine, Spec
from .shell import LabError, run, say

LAPTOP = "laptop"
DESKTOP = "desktop"
# Who may be on the cable. The first two need no hub between them.
NAMES = (LAPTOP, DESKTOP, "desktop2", "attacker")

# At least five times what a busy two-core host without KVM needs.
LOGIN_SECONDS = 300
STATE = "lab.json"


@dataclass(frozen=True)
class Bench:
    """A run's folder and what its machines share; `create` makes one, `find` takes up one that exists."""

    folder: Path
    sockets: Path
    ssh_ports: dict[str, int]
    hub: bool
    initramfs: str

    @classmethod
    def create(cls, name: str, *, initramfs: str = "initramfs-tools", hub: bool = False) -> Bench:
        """A fresh run in build/lab/<name>; a finished run of that name is thrown away.

        Raises:
            LabError: that run is still going on.
        """
        folder = REPOSITORY / "build" / "lab" / name
        if (folder / STATE).exists():
            cls.find(name).require_off()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        # A UNIX socket's path has at most 107 bytes: they live in a short one, not in the tree.
        sockets = Path(tempfile.mkdtemp(prefix="stiefel-lab-"))
        bench = cls(folder, sockets, {machine: _free_port() for machine in NAMES}, hub, initramfs)
        state = {"sockets": str(sockets), "ssh_ports": bench.ssh_ports, "hub": hub, "initramfs": initramfs}
        (folder / STATE).write_text(json.dumps(state, indent=2) + "\n")
        bench._write_ssh_config()
        if hub:
            bench._start_hub()
        return bench

    @classmethod
    def find(cls, name: str) -> Bench:
        """The run of that name, running or not.

        Raises:
            LabError: there is none.
        """
        folder = REPOSITORY / "build" / "lab" / name
        try:
            state = json.loads((folder / STATE).read_text())
        except FileNotFoundError as error:
            raise LabError(
                f"there is no lab named {name!r}: start one with 'lab --name {name} up'"
            ) from error
        return cls(folder, Path(state["sockets"]), state["ssh_ports"], state["hub"], state["initramfs"])

    @property
    def image(self) -> Image:
        """The base image that the laptop's disk is an overlay of."""
        return laptop_image(self.initramfs)

    @property
    def accelerator_name(self) -> str:
        """What runs the machines' CPUs: kvm or tcg."""
        return accelerator(self.image.kernel)[1].partition(",")[0]

    def machine(self, name: str) -> Machine:
        """One of the machines, running or not."""
        if name not in NAMES:
            raise LabError(f"there is no machine {name!r}: it is one of {', '.join(NAMES)}")
        other = DESKTOP if name == LAPTOP else LAPTOP
        return Machine(
            name, self.folder, self.sockets, self.ssh_ports[name], HUB if self.hub else other + PORT_SUFFIX
        )

    def start_laptop(
        self, *, backing: Path | None = None, firmware: Firmware = Firmware.UEFI, lifetime: int = 7200
    ) -> Machine:
        """Switch the laptop on; a first start makes its disk, an overlay of `backing` (or the base image)."""
        disk = self.folder / "laptop.qcow2"
        if not disk.exists():
            overlay(disk, backing or self.image.disk)
        spec = Spec(1, firmware, 2, 3072, "virtio-net-pci", disk=disk, lifetime_seconds=lifetime)
        laptop = self.machine(LAPTOP)
        laptop.start(spec, accelerator(self.image.kernel))
        return laptop

    def start_desktop(
        self, stick: Path, *, name: str = DESKTOP, firmware: Firmware = Firmware.UEFI, lifetime: int = 7200
    ) -> Machine:
        """Switch on a machine that has no disk, with `stick` in its USB port."""
        if not stick.is_file():
            raise LabError(
                f"there is no stick image {stick}: make one with 'ansible-playbook site.yml --tags usbdrive'"
            )
        spec = Spec(
            NAMES.index(name) + 1,
            firmware,
            2,
            2048,
            "e1000e",
            stick=stick.resolve(),
            lifetime_seconds=lifetime,
        )
        desktop = self.machine(name)
        desktop.start(spec, accelerator(self.image.kernel))
        return desktop

    def require_off(self) -> None:
        """Refuse when a machine of this run is still on."""
        if running := [name for name in NAMES if self.machine(name).pid]:
            names, lab = ", ".join(running), self.folder.name
            raise LabError(f"still on in the lab {lab!r}: {names}; switch off with 'lab --name {lab} down'")

    def down(self) -> None:
        """Switch everything off; logs, screenshots and the laptop's disk stay."""
        for name in NAMES:
            self.machine(name).stop()
        if self.hub and (pidfile := self.sockets / "hub.pid").exists():
            os.kill(int(pidfile.read_text()), signal.SIGTERM)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def tell_last_lines(self) -> None:
        """Print the end of each console that said something: the first thing to read after a failure."""
        for name in NAMES:
            machine = self.machine(name)
            if machine.log.exists():
                say(f"---- the last lines of {machine.log}:\n{last_lines(machine.log)}\n----")

    def _write_ssh_config(self) -> None:
        """`ssh -F ssh_config laptop`; the host key is the laptop's on every machine that runs its system."""
        key = self.image.host_key.read_text().strip()
        known = self.folder / "known_hosts"
        known.write_text(f"stiefel-laptop {key}\n")
        lines = [
            "Host *",
            "  HostName 127.0.0.1",
            "  User anna",
            f"  IdentityFile {ssh_key()}",
            "  IdentitiesOnly yes",
            f"  UserKnownHostsFile {known}",
            "  HostKeyAlias stiefel-laptop",
            "  StrictHostKeyChecking yes",
            "  BatchMode yes",
            "  LogLevel ERROR",
        ]
        for name, port in self.ssh_ports.items():
            lines += [f"Host {name}", f"  Port {port}"]
        (self.folder / "ssh_config").write_text("\n".join(lines) + "\n")

    def _start_hub(self) -> None:
        """Start the hub as a process of its own that outlives this one."""
        command = [sys.executable, "-m", "lab.hub", str(self.sockets)]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
        hub = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
        (self.sockets / "hub.pid").write_text(str(hub.pid))


def overlay(disk: Path, backing: Path) -> None:
    """Make `disk`, a qcow2 file that reads from `backing` what it was never written."""
    kind = "raw" if backing.suffix == ".img" else "qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", kind, disk])


def _free_port() -> int:
    """A TCP port on 127.0.0.1 that no one uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
