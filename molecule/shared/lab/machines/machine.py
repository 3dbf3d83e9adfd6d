"""One virtual machine: its QEMU command line, its life, its console, its screen, ssh into it."""

from __future__ import annotations

import enum
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .console import PROGRESS_SECONDS, Console
from .hub import PORT_SUFFIX
from .layout import USUAL, Bus, Hardware
from .picture import Picture
from .qmp import qmp
from .shell import LabError, process_of, say, wait_exit
from .tpm import Tpm
from .volatile import VolatileDisk

OVMF = Path("/usr/share/OVMF")
START_SECONDS = 30
SSH_TRY_SECONDS = 15
PUT_SECONDS = 600
INSTALL_SECONDS = 900
SCREEN_SECONDS = 2.0
ON_USB = "bus=usb.0"
SLOT, ADAPTER = "cable-slot", "cable-adapter"  # no properties of the devices: QEMU wants names of their own
DRIVE, DRIVE_SERIAL = "drive", "STIEFEL-DRIVE-1"
CHORDS = {" ": "spc", "-": "minus", ";": "semicolon", ":": "shift-semicolon", "/": "slash", ">": "shift-dot"}
CHORDS |= {".": "dot", "=": "equal", "$": "shift-4", "*": "shift-8", "&": "shift-7", "|": "shift-backslash"}


class Firmware(enum.Enum):
    """What a machine starts with: SeaBIOS, OVMF, or OVMF with Microsoft's keys and Secure Boot enforced."""

    BIOS = "bios"
    UEFI = "uefi"
    SECURE = "secure"


@dataclass(frozen=True)
class DirectStart:
    """A kernel that QEMU hands to the firmware, which loads none from a disk then."""

    kernel: Path
    initrd: Path
    command_line: str

    @property
    def arguments(self) -> list[str]:
        """For QEMU."""
        return ["-kernel", str(self.kernel), "-initrd", str(self.initrd), "-append", self.command_line]


@dataclass(frozen=True)
class Spec:
    """What a machine is made of."""

    number: int  # ends its MAC addresses
    firmware: Firmware
    cpus: int
    memory_mib: int
    nic: str  # QEMU's model of the NIC on the cable; empty: there is none yet, but its slot
    lifetime_seconds: int  # then it is ended, whatever it does
    disk: Path | None = None  # qcow2
    second_disk: Path | None = None  # qcow2, like the first
    own_disks: tuple[Path, ...] = ()  # raw: a desktop's own disks, on SATA; what is written to them stays
    hardware: Hardware = USUAL  # what the disk is
    nic_pluggable: bool = False  # in a slot of its own, for `plug_adapter` and `unplug_adapter`
    stick: Path | None = None  # raw image of the USB drive; the machine's writes to it are thrown away
    same_mac: bool = False  # its second NIC has the address of the one on the cable
    volatile: bool = False  # its first disk has a volatile write cache: see `cut_power`
    direct_start: DirectStart | None = None
    tpm: Path | None = None  # folder of its TPM's secrets
    clock_ahead: int = 0  # seconds by which its hardware clock is ahead


@dataclass(frozen=True)
class Machine:
    """A machine's place in a run: `folder` keeps disk, logs and screenshots, `sockets` goes with it."""

    name: str
    folder: Path
    sockets: Path
    ssh_port: int
    cable_to: str  # the name of the socket that the cable leads to

    @property
    def log(self) -> Path:
        """Everything that the serial console said since the last start."""
        return self.folder / f"{self.name}.serial.log"

    @property
    def _qmp(self) -> Path:
        return self.sockets / f"{self.name}.qmp"

    @property
    def _pidfile(self) -> Path:
        return self.sockets / f"{self.name}.pid"

    def command(self, spec: Spec, accelerator: Sequence[str]) -> list[str]:
        """QEMU's whole command line."""
        return [
            *["timeout", "--kill-after=10", str(spec.lifetime_seconds)],
            *["qemu-system-x86_64", "-name", self.name, "-nodefaults", *accelerator],
            *["-smp", str(spec.cpus), "-m", str(spec.memory_mib)],
            *["-display", "none", "-device", "VGA", "-device", "virtio-rng-pci"],
            *["-serial", f"file:{self.log}", "-qmp", f"unix:{self._qmp},server=on,wait=off"],
            *["-pidfile", str(self._pidfile)],
            *self._firmware(spec.firmware),
            *["-device", "qemu-xhci,id=usb"],
            *self._network(spec),
            *_storage(spec, self._volatile(spec).url if spec.disk and spec.volatile else str(spec.disk)),
            *(spec.direct_start.arguments if spec.direct_start else []),
            *(self._tpm(spec.tpm).arguments if spec.tpm else []),
            *(["-rtc", f"base={_time(spec.clock_ahead)}"] if spec.clock_ahead else []),
        ]

    def _tpm(self, secrets: Path) -> Tpm:
        return Tpm(secrets, self.sockets / f"{self.name}.tpm")

    def _volatile(self, spec: Spec) -> VolatileDisk:
        assert spec.disk
        return VolatileDisk(spec.disk, self._disk_socket)

    @property
    def _disk_socket(self) -> Path:
        return self.sockets / f"{self.name}.disk"

    def _firmware(self, firmware: Firmware) -> list[str]:
        """Machine type and firmware; UEFI's variables are the machine's own file."""
        if firmware is Firmware.BIOS:
            return ["-machine", "q35"]
        secure = firmware is Firmware.SECURE
        code = OVMF / ("OVMF_CODE_4M.ms.fd" if secure else "OVMF_CODE_4M.fd")
        return [
            *["-machine", "q35,smm=on" if secure else "q35"],
            *(["-global", "driver=cfi.pflash01,property=secure,value=on"] if secure else []),
            *["-drive", f"if=pflash,format=raw,readonly=on,file={code}"],
            *["-drive", f"if=pflash,format=raw,file={self._variables(firmware)}"],
        ]

    def _variables(self, firmware: Firmware) -> Path:
        return self.folder / f"{self.name}.{firmware.value}.vars"

    def _network(self, spec: Spec) -> list[str]:
        """The cable to the other machine, and a second NIC for ssh, DNS and packages."""
        here, there = self.sockets / (self.name + PORT_SUFFIX), self.sockets / self.cable_to
        cable = f"dgram,id=cable,local.type=unix,local.path={here},remote.type=unix,remote.path={there}"
        forward = f"user,id=management,hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22"
        usb = spec.nic == "usb-net"
        cabled = cable_mac(spec.number)
        other = cabled if spec.same_mac else f"52:54:00:00:01:{spec.number:02x}"
        slot = ["-device", f"pcie-root-port,id={SLOT},chassis=1"] if spec.nic_pluggable else []
        place = ON_USB if usb else f"romfile=,id={ADAPTER},bus={SLOT}" if spec.nic_pluggable else "romfile="
        return [
            *slot,
            *["-netdev", cable],
            *(["-device", f"{spec.nic},netdev=cable,mac={cabled},{place}"] if spec.nic else []),
            *["-netdev", forward, "-device", f"virtio-net-pci,netdev=management,mac={other},romfile="],
        ]

    def start(self, spec: Spec, accelerator: Sequence[str]) -> None:
        """Switch the machine on; returns when QEMU runs and answers.

        Raises:
            LabError: it runs already, or QEMU refuses, with QEMU's own words.
        """
        if self.pid is not None:
            raise LabError(f"{self.name} runs already: stop it first")
        for left_over in (self._qmp, self._pidfile, self.sockets / (self.name + PORT_SUFFIX)):
            left_over.unlink(missing_ok=True)
        self._prepare_variables(spec)
        if spec.volatile:
            self._volatile(spec).start(spec.lifetime_seconds)
        if spec.tpm:
            self._tpm(spec.tpm).start(spec.lifetime_seconds)
        self.log.write_bytes(b"")
        errors = self.folder / f"{self.name}.qemu.log"
        command = self.command(spec, accelerator)
        with errors.open("w") as output:
            qemu = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._pidfile.exists() or not self._qmp.exists():
            if qemu.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{self.name} did not start: {errors.read_text().strip()}")
            time.sleep(0.05)

    def _prepare_variables(self, spec: Spec) -> None:
        """A machine with a disk keeps its UEFI variables (boot order); one without begins with fresh ones."""
        variables = self._variables(spec.firmware)
        if spec.firmware is Firmware.BIOS or (spec.disk and variables.exists()):
            return
        kind = "OVMF_VARS_4M.ms.fd" if spec.firmware is Firmware.SECURE else "OVMF_VARS_4M.fd"
        shutil.copyfile(OVMF / kind, variables)

    @property
    def pid(self) -> int | None:
        """QEMU's process id, or None when the machine is off."""
        return process_of(self._pidfile, str(self._qmp))

    def console(self, *, from_end: bool = False) -> Console:
        """A follower of the serial console."""
        if self.pid is None:
            raise LabError(f"{self.name} is not running")
        return Console(self.name, self.log, self.pid, from_end=from_end)

    def picture(self) -> Picture:
        """What the screen shows."""
        with tempfile.NamedTemporaryFile(dir=self.sockets, suffix=".ppm") as file:
            qmp(self._qmp, "screendump", filename=file.name)
            return Picture.from_ppm(Path(file.name).read_bytes())

    def screenshot(self, file: Path) -> Picture:
        """Write what the screen shows as a PNG."""
        picture = self.picture()
        picture.save(file)
        return picture

    def wait_screen(self, pattern: str, *, seconds: float, why: str) -> Picture:
        """Wait until a text stands on the screen, as a person does: by looking again and again.

        Raises:
            LabError: it did not within `seconds`, with what stands there instead; or the machine is off.
        """
        start = report_at = time.monotonic()
        seen, text = None, ""
        while True:
            picture = self.picture()
            if picture != seen:
                seen, text = picture, picture.text()
                if re.search(pattern, text):
                    return picture
            now = time.monotonic()
            if now - start > seconds:
                raise LabError(f"{self.name}: {why} ({pattern!r}) is not on the screen after {seconds:.0f} s:\n{text}")
            if now - report_at > PROGRESS_SECONDS:
                say(f"{self.name}: {now - start:.0f} s (of {seconds:.0f}): waiting on the screen for {why}")
                report_at = now
            time.sleep(SCREEN_SECONDS)  # a screen tells nobody that it changes

    def pause(self) -> None:
        """Stop the machine's CPUs; its devices keep still too."""
        qmp(self._qmp, "stop")

    def resume(self) -> None:
        """Let a paused machine run on, unaware of the gap."""
        qmp(self._qmp, "cont")

    def press_power(self) -> None:
        """Press the power button: a request to the operating system."""
        qmp(self._qmp, "system_powerdown")

    def plug(self, *, connected: bool) -> None:
        """Pull the cable out of the machine, or put it back in."""
        qmp(self._qmp, "set_link", name="cable", up=connected)

    def unplug_adapter(self) -> None:
        """Take the adapter that the cable leads to out of its slot, and wait until it is out."""
        qmp(self._qmp, "device_del", id=ADAPTER)
        self._wait_gone(f"/machine/peripheral/{ADAPTER}")

    def plug_adapter(self, nic: str, address: str) -> None:
        """Put an adapter of QEMU's model `nic` with this MAC address into the slot; the cable is in it."""
        qmp(self._qmp, "device_add", driver=nic, bus=SLOT, id=ADAPTER, netdev="cable", mac=address)

    def _wait_gone(self, path: str) -> None:
        """Wait until the guest has let go of a device: QEMU forgets it then."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                qmp(self._qmp, "qom-list", path=path)
            except LabError:
                return
            if time.monotonic() > deadline:
                raise LabError(f"{self.name} has not let go of its adapter after {START_SECONDS} s")
            time.sleep(0.2)

    def plug_usb_adapter(self, address: str) -> None:
        """Plug a USB network adapter with this MAC address in."""
        qmp(self._qmp, "netdev_add", type="user", id="plugged")
        qmp(self._qmp, "device_add", driver="usb-net", bus="usb.0", netdev="plugged", mac=address)

    def plug_usb_drive(self, file: Path) -> None:
        """Plug a USB drive in whose content is the file; its size is the drive's."""
        qmp(self._qmp, "blockdev-add", driver="raw", node_name=DRIVE, file={"driver": "file", "filename": str(file)})
        drive = {"driver": "usb-storage", "bus": "usb.0", "removable": True, "serial": DRIVE_SERIAL}
        qmp(self._qmp, "device_add", id=DRIVE, drive=DRIVE, **drive)

    def unplug_usb_drive(self) -> None:
        """Pull that drive out; then the file holds what was written to it."""
        qmp(self._qmp, "device_del", id=DRIVE)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                qmp(self._qmp, "blockdev-del", node_name=DRIVE)
                return
            except LabError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)  # until the guest has let go of it

    def wait_off(self, *, seconds: float, why: str) -> float:
        """Wait until the machine has switched itself off; returns when (time.monotonic)."""
        pid = self.pid
        if pid is not None and not wait_exit(pid, seconds):
            raise LabError(f"{self.name} is still on after {seconds:.0f} s: {why}")
        return time.monotonic()

    def stop(self) -> None:
        """Switch the machine off at once, as by pulling the plug. A machine that is off stays off."""
        pid = self.pid
        if pid is not None:
            try:
                qmp(self._qmp, "quit")
            except LabError as error:
                say(str(error))
            if not wait_exit(pid, 10):
                os.kill(pid, signal.SIGKILL)
                wait_exit(pid, 10)
        VolatileDisk(Path(), self._disk_socket).stop()

    def cut_power(self) -> None:
        """Take the power from a machine whose disk has a volatile write cache: what was not flushed is gone."""
        if pid := self.pid:
            os.kill(pid, signal.SIGSTOP)  # before its disk: nothing in it sees that go
            VolatileDisk(Path(), self._disk_socket).stop()
            os.kill(pid, signal.SIGKILL)
            wait_exit(pid, 10)

    @property
    def ssh_command(self) -> list[str]:
        """The command that logs in as the laptop's owner; append what is to run there."""
        return ["ssh", "-F", str(self.folder / "ssh_config"), self.name]

    def ssh(self, command: str, *, script: str | None = None, seconds: float = 120) -> str:
        """Run a shell command there, with `script` as its standard input; returns its standard output.

        Raises:
            LabError: no connection, another host key, a failing command, or no end within `seconds`.
        """
        try:
            done = subprocess.run(
                [*self.ssh_command, command],
                input=script or "",
                timeout=seconds,
                check=False,
                text=True,
                capture_output=True,
            )
        except subprocess.TimeoutExpired as error:
            raise LabError(f"{self.name}: no answer within {seconds:.0f} s from: {command}") from error
        if done.returncode != 0:
            said = (done.stdout + done.stderr).strip()
            raise LabError(f"{self.name}: exit code {done.returncode} from: {command}\n{said}")
        return done.stdout

    def ssh_lines(self, command: str, *, script: str = "") -> Iterator[str]:
        """Run a shell command there and yield the lines of its standard output as they come.

        Raises:
            LabError: it failed, with the last that it said on standard error.
        """
        process = subprocess.Popen(
            [*self.ssh_command, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdin and process.stdout and process.stderr
        with process:
            process.stdin.write(script)
            process.stdin.close()
            yield from process.stdout
            errors = process.stderr.read().strip()
        if process.returncode:
            raise LabError(f"{self.name}: exit code {process.returncode} from: {command}\n{errors[-2000:]}")

    def put(self, data: bytes, path: str) -> None:
        """Write a file into the home of the laptop's owner, or wherever `path` says."""
        done = subprocess.run(
            [*self.ssh_command, f"cat > {path}"], input=data, capture_output=True, timeout=PUT_SECONDS, check=False
        )
        if done.returncode:
            raise LabError(f"{self.name}: cannot write {path}: {done.stderr.decode(errors='replace').strip()}")

    def install(self, *packages: str, seconds: float = INSTALL_SECONDS) -> None:
        """Install Debian packages there, from the archives as they are now."""
        install = f"apt-get -qy install --no-install-recommends {' '.join(packages)}"
        self.ssh(f"sudo apt-get -q update && sudo DEBIAN_FRONTEND=noninteractive {install}", seconds=seconds)

    def type_keys(self, *chords: str) -> None:
        """Press keys on its keyboard, one chord after the other (QEMU's names: a, ret, shift-a, alt-f2 ...)."""
        for chord in chords:
            qmp(self._qmp, "send-key", keys=[{"type": "qcode", "data": key} for key in chord.split("-")])

    def type_line(self, text: str) -> None:
        """Type on its keyboard, which is an American one: letters, digits and what CHORDS has; then Enter."""
        self.type_keys(*(_chord(one) for one in text), "ret")

    def wait_ssh(self, *, seconds: float) -> None:
        """Wait until one can log in by ssh; each try is a real login."""
        start = report_at = time.monotonic()
        while True:
            try:
                self.ssh("true", seconds=SSH_TRY_SECONDS)
                return
            except LabError as error:
                now = time.monotonic()
                if self.pid is None or now - start > seconds:
                    raise LabError(f"{self.name}: no ssh login within {seconds:.0f} s: {error}") from error
                if now - report_at > PROGRESS_SECONDS:
                    say(f"{self.name}: {now - start:.0f} s (of {seconds:.0f}): waiting for an ssh login")
                    report_at = now
                time.sleep(1)  # between tries: a refused connection answers at once


def _chord(one: str) -> str:
    """The keys for a character."""
    return f"shift-{one.lower()}" if one.isupper() else CHORDS.get(one, one)


def cable_mac(number: int) -> str:
    """The MAC address of machine `number` on the cable."""
    return f"52:54:00:00:00:{number:02x}"


def _time(ahead: int) -> str:
    """The time in so many seconds, as QEMU's -rtc takes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + ahead))


def _storage(spec: Spec, first: str) -> list[str]:
    """The disk with a serial number (`first`: where it is), the stick as a removable USB drive; either one boots."""
    arguments = []
    for number, disk in enumerate((spec.disk and first, spec.second_disk)):
        if disk:
            cache = "writeback" if spec.volatile else "unsafe"
            arguments += ["-drive", f"if=none,id=disk{number},file={disk},format=qcow2,discard=unmap,cache={cache}"]
            arguments += _on_bus(spec.hardware, number)
    for number, disk in enumerate(spec.own_disks):
        arguments += ["-drive", f"if=none,id=own{number},file={disk},format=raw"]
        arguments += ["-device", f"ide-hd,drive=own{number},bus=ide.{number},serial=DESKTOP-{number}"]
    if spec.stick:
        arguments += ["-drive", f"if=none,id=stick,file={spec.stick},format=raw,snapshot=on"]
        arguments += [
            "-device",
            "usb-storage,bus=usb.0,drive=stick,removable=on,serial=STIEFEL-STICK-1,bootindex=1",
        ]
    return arguments


def _on_bus(hardware: Hardware, number: int) -> list[str]:
    """The device for the laptop's disk 0 or 1; it boots from the first."""
    # Real ones have blocks of 4096 bytes, whatever their sectors are. QEMU's NVMe (7.2) does not tell the kernel of it.
    size = f"logical_block_size={hardware.sector_bytes},physical_block_size=4096"
    words = {
        Bus.NVME: f"nvme,drive=disk{number},serial=STIEFEL-LAB-{number + 1},{size}",
        Bus.SATA: f"ide-hd,drive=disk{number},bus=ide.{number},serial=STIEFEL-LAB-{number + 1},{size}",
        Bus.MMC: f"sd-card,drive=disk{number}",
    }
    if hardware.bus is Bus.MMC:  # which has no boot index
        return ["-device", "sdhci-pci", "-device", words[Bus.MMC]]
    return ["-device", words[hardware.bus] + (",bootindex=1" if number == 0 else "")]
