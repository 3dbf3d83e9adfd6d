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
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .accelerator import accelerator
from .cache import REPOSITORY, forget_unused, ssh_key, used
from .capture import datagrams
from .console import last_lines
from .hub import HUB, PORT_SUFFIX
from .image import Image
from .layout import Bus
from .machine import Firmware, Machine, Spec, cable_mac
from .shell import LabError, process_of, run, say, wait_exit

LAPTOP = "laptop"
DESKTOP = "desktop"
DESKTOP2 = "desktop2"
ATTACKER = "attacker"
# Who may be on the cable. The first two need no hub between them.
NAMES = (LAPTOP, DESKTOP, DESKTOP2, ATTACKER)

# At least five times what a busy two-core host without KVM needs.
LOGIN_SECONDS = 600
# Then a machine is ended, whatever it does: nothing is left running for ever.
LIFETIME_SECONDS = 2 * 3600
QUEUE_FRAMES = 512
PROCESSORS = 2
"""One is for many starts in a row, of which each must go well: a kernel that changes its own code puts an int3 where
another processor must not go on yet, and an emulated one sometimes sees it when it is gone (docs/testing.md)."""
CAPTURE_SECONDS = 5.0
RUNS = REPOSITORY / "build" / "lab"
STATE = "lab.json"
ADAPTERS = {
    "e1000e": "e1000e",
    "virtio": "virtio-net-pci",
    "igb": "igb",  # QEMU 8 and later
    "rtl8139": "rtl8139",
    "vmxnet3": "vmxnet3",
    "usb": "usb-net",  # its kernel drivers differ in the address that they give it (F32)
}
"""What a desktop's network adapter may be, and what QEMU calls it."""
PACKAGES = Path(__file__).resolve().parents[2]
"""Where Python finds the package `lab`."""


@dataclass(frozen=True)
class Pc:
    """What differs from one desktop to the other."""

    adapter: str = "e1000e"
    """One of ADAPTERS."""
    disks: tuple[Path, ...] = ()
    """Raw files: the desktop's own disks."""
    pluggable: bool = False
    """Whether the adapter can be taken out while the machine runs."""
    late: bool = False
    """The adapter is not there yet, only its slot: see `plug_late_adapter`."""
    same_mac: bool = False
    """Its other adapter has the same address, as cheap ones and docks do."""
    clock_ahead: int = 0
    """Seconds by which its clock is ahead, as one in local time is."""


USUAL_PC = Pc()


@dataclass(frozen=True)
class Bench:
    """A run's folder and what its machines share; `create` makes one, `find` takes up one that exists."""

    folder: Path
    sockets: Path
    ssh_ports: dict[str, int]
    image: Image
    hub: bool
    lifetime_seconds: int
    processors: int = PROCESSORS
    """Of laptop and desktops; see PROCESSORS."""

    @classmethod
    def create(
        cls,
        name: str,
        image: Image,
        *,
        hub: bool = False,
        lifetime_seconds: int = LIFETIME_SECONDS,
        processors: int = PROCESSORS,
    ) -> Bench:
        """A fresh run in build/lab/<name>; a finished run of that name is thrown away.

        Raises:
            LabError: that run is still going on.
        """
        cls.sweep(name)
        folder = RUNS / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        used(image.folder)
        forget_unused()
        # A UNIX socket's path has at most 107 bytes: they live in a short one, not in the tree.
        sockets = Path(tempfile.mkdtemp(prefix="stiefel-lab-"))
        bench = cls(folder, sockets, {one: _free_port() for one in NAMES}, image, hub, lifetime_seconds, processors)
        state = asdict(bench) | {"folder": str(folder), "sockets": str(sockets), "image": str(image.folder)}
        (folder / STATE).write_text(json.dumps(state, indent=2) + "\n")
        bench._write_ssh_config()
        return bench

    @classmethod
    def find(cls, name: str) -> Bench:
        """The run of that name, running or not.

        Raises:
            LabError: there is none.
        """
        try:
            state = json.loads((RUNS / name / STATE).read_text())
        except FileNotFoundError as error:
            raise LabError(f"there is no lab named {name!r}: start one with 'lab --name {name} up'") from error
        paths = {"folder": Path(state["folder"]), "sockets": Path(state["sockets"])}
        return cls(**state | paths | {"image": Image(Path(state["image"]))})

    @property
    def accelerator_name(self) -> str:
        """What runs the machines' CPUs: kvm or tcg."""
        return accelerator(self.image.kernel)[1].partition(",")[0]

    def machine(self, name: str) -> Machine:
        """One of the machines, running or not."""
        if name not in NAMES:
            raise LabError(f"there is no machine {name!r}: it is one of {', '.join(NAMES)}")
        other = DESKTOP if name == LAPTOP else LAPTOP
        return Machine(name, self.folder, self.sockets, self.ssh_ports[name], HUB if self.hub else other + PORT_SUFFIX)

    def start_laptop(
        self, *, backing: Path | None = None, firmware: Firmware = Firmware.UEFI, volatile: bool = False
    ) -> Machine:
        """Switch the laptop on; a first start makes its disk, an overlay of `backing` (or the base image).

        volatile: its disk has a volatile write cache, for `Machine.cut_power`.
        """
        disk, hardware = self._made_disk(LAPTOP, backing), self.image.hardware
        spec = Spec(
            1, firmware, self.processors, 3072, "virtio-net-pci", self.lifetime_seconds, disk=disk, hardware=hardware
        )
        spec = replace(spec, volatile=volatile, direct_start=self.image.direct_start)
        if self.image.second_disk.exists():
            second = self.disk("laptop-second")
            if not second.exists():
                overlay(second, self.image.second_disk)
            spec = replace(spec, second_disk=second)
        if hardware.tpm:
            secrets = self.folder / "laptop.tpm"
            if not secrets.exists():
                shutil.copytree(self.image.tpm, secrets)
            spec = replace(spec, tpm=secrets)
        return self._start(LAPTOP, spec)

    def start_attacker(self, *, backing: Path | None = None) -> Machine:
        """Switch on a machine with a system of its own that is on the cable without having any key."""
        disk = self._made_disk(ATTACKER, backing)
        number = NAMES.index(ATTACKER) + 1
        spec = Spec(number, Firmware.UEFI, 1, 1536, "virtio-net-pci", self.lifetime_seconds, disk=disk)
        return self._start(ATTACKER, spec)

    def disk(self, name: str) -> Path:
        """The file of a machine's disk."""
        return self.folder / f"{name}.qcow2"

    def _made_disk(self, name: str, backing: Path | None) -> Path:
        disk = self.disk(name)
        if not disk.exists():
            overlay(disk, backing or self.image.disk, card=name == LAPTOP and self.image.hardware.bus is Bus.MMC)
            if backing:
                used(backing)
        return disk

    def start_desktop(self, stick: Path, firmware: Firmware, *, name: str = DESKTOP, pc: Pc = USUAL_PC) -> Machine:
        """Switch on a machine with `stick` in its USB port, and no disk unless `pc` has one."""
        if not stick.is_file():
            raise LabError(f"there is no stick image {stick}: 'ansible-playbook site.yml --tags usbdrive' makes one")
        number = NAMES.index(name) + 1
        model = "" if pc.late else ADAPTERS[pc.adapter]
        spec = Spec(
            number,
            firmware,
            self.processors,
            2048,
            model,
            self.lifetime_seconds,
            stick=stick.resolve(),
            own_disks=pc.disks,
        )
        spec = replace(spec, nic_pluggable=pc.pluggable or pc.late, same_mac=pc.same_mac, clock_ahead=pc.clock_ahead)
        return self._start(name, spec)

    def plug_late_adapter(self, pc: Pc) -> None:
        """Plug in the adapter that the desktop was started without, with the cable in it."""
        self.machine(DESKTOP).plug_adapter(ADAPTERS[pc.adapter], cable_mac(NAMES.index(DESKTOP) + 1))

    def _start(self, name: str, spec: Spec) -> Machine:
        """Switch a machine on, with the cable in place."""
        self.sockets.mkdir(mode=0o700, exist_ok=True)  # `down` took it away
        _lengthen_queues()
        if self.hub and not self._hub_pid:
            self._start_hub()
        machine = self.machine(name)
        machine.start(spec, accelerator(self.image.kernel))
        return machine

    @classmethod
    def sweep(cls, name: str) -> None:
        """Remove what an ended run of that name left behind, if there was one.

        Raises:
            LabError: one of its machines is still on.
        """
        if not (RUNS / name / STATE).exists():
            return
        bench = cls.find(name)
        if running := [one for one in NAMES if bench.machine(one).pid]:
            lab = f"sudo env PYTHONPATH={PACKAGES} python3 -m lab --name {name}"
            raise LabError(f"still on: {' and '.join(running)} of the run {name!r}. Switch them off: {lab} down")
        bench.down()

    def down(self) -> None:
        """Switch everything off; logs, screenshots and the laptop's disk stay."""
        for name in NAMES:
            self.machine(name).stop()
        if hub := self._hub_pid:
            os.kill(hub, signal.SIGTERM)
            wait_exit(hub, 10)  # then the capture is complete
        shutil.rmtree(self.sockets, ignore_errors=True)

    @property
    def capture(self) -> Path:
        """Every frame that crossed the hub since it was started; without a hub there is no such file."""
        return self.folder / "cable.pcap"

    def sent(self, name: str, port: int, *, to: str = "") -> int:
        """How many UDP datagrams a machine has sent to a port across the hub; with `to`, only those to that machine."""
        return datagrams(self.capture, raw_mac(name), port, raw_mac(to) if to else b"")

    def wait_sent(self, name: str, port: int, count: int, *, seconds: float) -> int:
        """Wait until a machine has sent `count` UDP datagrams more to a port; returns how many it were.

        Raises:
            LabError: they did not come within `seconds`.
        """
        start, before = time.monotonic(), self.sent(name, port)
        while (sent := self.sent(name, port) - before) < count:
            waited = time.monotonic() - start
            if waited > seconds:
                raise LabError(f"{name} sent only {sent} of {count} datagrams to port {port} in {seconds:.0f} s")
            say(f"{name}: {waited:.0f} s (of {seconds:.0f}): waiting for datagrams to port {port}: {sent} of {count}")
            time.sleep(CAPTURE_SECONDS)  # the hub tells nobody
        return sent

    @property
    def _hub_pidfile(self) -> Path:
        return self.sockets / "hub.pid"

    @property
    def _hub_pid(self) -> int | None:
        return process_of(self._hub_pidfile, str(self.sockets))

    def keep_disk(self, file: Path, name: str = LAPTOP) -> None:
        """Copy a machine's disk to `file`, complete or not at all; it still reads from the base image."""
        if self.machine(name).pid:
            raise LabError(f"the {name} is on: its disk cannot be kept before 'lab shutdown'")
        unfinished = file.with_suffix(".unfinished")
        shutil.copyfile(self.disk(name), unfinished)
        unfinished.rename(file)

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
        command = [sys.executable, "-m", "lab.machines.hub", str(self.sockets), str(self.capture)]
        environment = os.environ | {"PYTHONPATH": str(PACKAGES)}
        # Its own log, too: it would keep the pipe open that somebody reads our output from.
        with (self.folder / "hub.log").open("w") as log:
            hub = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self._hub_pidfile.write_text(str(hub.pid))


def _lengthen_queues() -> None:
    """See that a UNIX socket's queue holds more than ten frames: a cable that loses every burst is slow.

    systemd sets the same figure on what it boots (sysctl.d/50-default.conf); a container may lack it.
    """
    length = Path("/proc/sys/net/unix/max_dgram_qlen")
    with suppress(OSError):
        if int(length.read_text()) < QUEUE_FRAMES:
            length.write_text(str(QUEUE_FRAMES))


def mac(name: str) -> str:
    """The address of a machine's network adapter on the cable."""
    return cable_mac(NAMES.index(name) + 1)


def raw_mac(name: str) -> bytes:
    """The same as it is in a frame."""
    return bytes.fromhex(mac(name).replace(":", ""))


def link_local(name: str) -> str:
    """The IPv6 address that follows from it (RFC 4291, appendix A)."""
    return f"fe80::5054:ff:fe00:{NAMES.index(name) + 1:x}"


def overlay(disk: Path, backing: Path, *, card: bool = False) -> None:
    """Make `disk`, a qcow2 file that reads from `backing` what it was never written.

    card: its size is the next power of two, as QEMU wants it of an SD card (hw/sd/sd.c).
    """
    kind = "raw" if backing.suffix == ".img" else "qcow2"
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", kind, disk])
    if card:
        size: int = json.loads(run(["qemu-img", "info", "--output=json", disk]))["virtual-size"]
        run(["qemu-img", "resize", "-q", disk, str(1 << (size - 1).bit_length())])


def _free_port() -> int:
    """A TCP port on 127.0.0.1 that no one uses now."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
