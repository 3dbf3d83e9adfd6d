"""A target's own start without a virtual machine: the lab's laptop in namespaces of this machine, / behind a slow link.

The link is nbdkit, which takes a millisecond for each read (nbdkit-delay-filter(1) knows nothing shorter), nbdfuse and
a loop device that reads past the cache of what lies below. systemd is really started; there is no kernel and no initrd.

What is measured is for how long something stands still for the disk (docs.kernel.org/accounting/psi.html): how long the
start takes depends on whatever else this machine does.

Usage, in namespaces of its own: python -m benchmarks.target WAY DEVICE FOLDER GROUP: one object, of seconds.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from .figures import Round
from .ground import OUTPUT, ROOT, SOURCE, LeftOut, said

NOTE, AHEAD, WITHOUT = "note", "ahead", "without"
DELAY = "1ms"
TELLS = """
[Unit]
Wants=multi-user.target
After=multi-user.target
[Service]
Type=oneshot
ExecStart=sh -c 'systemctl show -P ActiveEnterTimestampMonotonic multi-user.target >/run/told'
"""
OWN = ("--mount", "--pid", "--fork", "--kill-child", "--cgroup", "--net", "--uts", "--ipc")
SECTOR = 512
POWER_OFF = 14
"""systemd(1): this signal after SIGRTMIN switches a machine off at once."""
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
DEADLINE = 300.0


def _image(file: Path) -> None:
    """Make a filesystem of what the lab's laptop has as its /, with a unit that tells when it is up."""
    folder = said(sys.executable, "-m", "lab", "image", PYTHONPATH=str(ROOT / "molecule/shared")).strip()
    disk = f"{folder}/disk.img"
    words = said("sgdisk", "--print", disk).splitlines()[-1].split()
    place = [f"skip={int(words[1]) * SECTOR}", f"count={(int(words[2]) - int(words[1]) + 1) * SECTOR}"]
    flags = ["iflag=skip_bytes,count_bytes", "conv=sparse", "bs=1M", "status=none"]
    said("dd", f"if={disk}", f"of={file}", *place, *flags)
    with tempfile.TemporaryDirectory() as root:
        said("mount", "-o", "loop", file, root)
        try:
            Path(root, "var/lib/stiefel").mkdir()
            Path(root, "etc/systemd/system/tells.service").write_text(TELLS)
        finally:
            said("umount", root)


def _served(file: Path, folder: Path, way: str, clear_up: ExitStack) -> str:
    """Serve a file over the link; return the block device at its other end. What is written is only kept for NOTE."""
    socket, far = folder / "socket", folder / "far"
    far.touch()
    filters = ["--filter=delay", *([] if way == NOTE else ["--filter=cow"])]
    server = subprocess.Popen(["nbdkit", "-f", "--unix", socket, *filters, "file", file, f"delay-read={DELAY}"])
    clear_up.callback(server.wait)
    clear_up.callback(server.terminate)
    _wait(socket.exists)
    link = subprocess.Popen(["nbdfuse", far, "--unix", socket])
    clear_up.callback(link.wait)
    clear_up.callback(said, "umount", far)
    _wait(lambda: far.stat().st_size > 0)
    device = said("losetup", "--find", "--show", "--direct-io=on", far).strip()
    clear_up.callback(said, "losetup", "--detach", device)
    return device


def _wait(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not ready():
        if time.monotonic() > deadline:
            raise LeftOut("nbdkit or nbdfuse does not begin")
        time.sleep(0.01)


def _group() -> Path:
    """Make a control group: what waits for the disk in it is the target."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    homes = [Path(words[1]) for words in mounts if words[2] == "cgroup2"]
    if not homes or not Path("/proc/pressure/io").exists():
        raise LeftOut("the kernel does not say what waits for a disk (PSI)")
    group = homes[0] / f"stiefel-bench-{os.getpid()}"
    group.mkdir()
    return group


def start(file: Path, way: str) -> dict[str, float]:
    """Start the target once; return the seconds until multi-user.target, and how many of them it stood still."""
    with tempfile.TemporaryDirectory(dir=OUTPUT) as folder, ExitStack() as clear_up:
        device = _served(file, Path(folder), way, clear_up)
        group = _group()
        clear_up.callback(said, "find", group, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";")
        inner = ["unshare", *OWN, sys.executable, "-m", "benchmarks.target", way, device, folder, str(group)]
        command = ["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "in-group", *inner]
        environment = os.environ | {"PYTHONPATH": str(SOURCE)}
        done = subprocess.run(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, timeout=DEADLINE, check=False
        )
    try:
        found: dict[str, float] = json.loads(done.stdout)
    except ValueError as error:
        raise LeftOut(f"the target does not come up: {done.stdout[-300:]}") from error
    print(f"   {way}: {found}", flush=True)
    return found


def reads_ahead(quick: bool) -> Iterator[Round]:
    """Yield the seconds of standing still with reads ahead, and without."""
    if os.geteuid():
        raise LeftOut("namespaces need root")
    if missing := [tool for tool in ("nbdkit", "nbdfuse", "sgdisk") if not shutil.which(tool)]:
        raise LeftOut(f"it needs {', '.join(missing)}")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    file = OUTPUT / "target.img"
    try:
        _image(file)
        start(file, NOTE)
        while True:
            without = start(file, WITHOUT)
            yield Round(start(file, AHEAD)["still"], without["still"])
    finally:
        file.unlink(missing_ok=True)


def _mount(root: Path) -> None:
    """Give a root folder what a kernel and a container's manager would."""
    for what, where, options in (
        ("proc", "proc", "rw"),
        ("sysfs", "sys", "ro"),
        ("cgroup2", "sys/fs/cgroup", "rw"),
        ("tmpfs", "dev", "mode=755"),
        ("tmpfs", "run", "mode=755"),
    ):
        said("mount", "-t", what, "-o", options, what, root / where)
    for name in ("pts", "shm", "before"):
        (root / "dev" / name).mkdir()
    said("mount", "-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts", root / "dev/pts")
    (root / "dev/ptmx").symlink_to("pts/ptmx")
    for name in DEVICES:
        (root / "dev" / name).touch()
        said("mount", "--bind", f"/dev/{name}", root / "dev" / name)
    os.mkfifo(root / "run/told")


def _beside(root: Path, way: str, group: Path) -> int:
    """Do what the target's initrd leaves behind, in a process beside systemd; return it once it has begun."""
    from stiefel_agent.target import ahead, reads, record, replay  # noqa: PLC0415 - needs SOURCE

    began, begin = os.pipe()
    process = os.fork()
    if process == 0:
        (group.parent / "cgroup.procs").write_text("0")
        proc, disk = os.open("/proc", os.O_PATH), ahead.disk_of(str(root))
        os.chroot(root)
        os.chdir("/")
        place = ahead.LISTS / os.uname().release
        if way == NOTE:
            recorder = record.Recorder(proc, disk)
            os.write(begin, b"x")
            recorder.until_login()
            ahead.keep(place, recorder.reads())
        else:
            os.write(begin, b"x")
            replay.replay(reads.parse(place.read_text()), disk)
        os._exit(0)
    os.read(began, 1)
    return process


def _still(pressure: int) -> float:
    """Return for how many seconds something has stood still for the disk."""
    return int(os.pread(pressure, 200, 0).split()[4].removeprefix(b"total=")) / 1e6


def _watch(run: int, told: int, pressure: int, beside: int) -> None:
    """Print what there is to say when the target is up, let somebody log in, and switch it off."""
    began, still = time.monotonic(), _still(pressure)
    up = int(os.read(told, 100)) / 1e6
    found = {"start": round(up - began, 3), "still": round(_still(pressure) - still, 3)}
    with suppress(FileExistsError):
        os.mkdir("user", dir_fd=run)
    os.mkdir("user/1000", dir_fd=run)
    if beside:
        os.waitpid(beside, 0)
    os.sync()
    print(json.dumps(found), flush=True)
    os.kill(1, signal.SIGRTMIN + POWER_OFF)


def main() -> None:
    """Become the target's first process."""
    way, device, folder, group = sys.argv[1:]
    root = Path(folder, "root")
    root.mkdir()
    said("mount", "--make-rprivate", "/")
    said("mount", "-o", "rw" if way == NOTE else "ro", device, root)
    _mount(root)
    run, told = os.open(root / "run", os.O_PATH), os.open(root / "run/told", os.O_RDWR)
    ready, go = os.pipe()
    if os.fork() == 0:
        pressure = os.open(f"{group}/io.pressure", os.O_RDONLY)
        beside = 0 if way == WITHOUT else _beside(root, way, Path(group))
        os.write(go, b"x")
        _watch(run, told, pressure, beside)
        os._exit(0)
    os.read(ready, 1)
    os.chdir(root)
    said("pivot_root", root, root / "dev/before")
    os.chroot(".")
    subprocess.run(["umount", "--lazy", "/dev/before"], check=True)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    os.execve("/lib/systemd/systemd", ["systemd", "--unit=tells.service"], {"container": "bench", "PATH": os.defpath})


if __name__ == "__main__":
    main()
