"""Inside the machine of pair.py, as its first process: both ends of a cable, and what is compared.

Usage: pair_inside.py ROW SECONDS. Each line "FIGURES {...}" on the console is one round: ours and the peer's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stiefel_agent.errors import DiskUnreachable
from stiefel_agent.machine import genl, netns, tunnel
from stiefel_agent.protocol import sizes
from stiefel_agent.target import nbd

HERE = Path(__file__).parent
LAPTOP, DESKTOP = Path("/run/netns/laptop"), Path("/run/netns/desktop")
ADDRESSES = {"laptop": "fd00::1", "desktop": "fd00::2"}
DISK = "/dev/nullb0"
"""A disk that needs no processor, as one that writes into memory by itself (null_blk.rst)."""
EXPORT, CONNECTIONS = "bench", 4
"""Connections: the product's default, and as many queues for NVMe/TCP."""
MIB, SMALL = "1M", "4k"
TUNNELS = {"P7": sizes.USUAL, "P7-jumbo": sizes.LARGEST}
"""The rows that are measured through the tunnel, by the size of the packets on its cable."""
NVMET = Path("/sys/kernel/config/nvmet")
NVME_PORT = 4420
"""IANA's port for NVMe over TCP."""


def run(*words: str) -> str:
    """Run a program and return what it says."""
    return subprocess.run(words, check=True, text=True, stdout=subprocess.PIPE).stdout


@contextmanager
def at(end: Path) -> Iterator[None]:
    """Be at one end of the cable."""
    descriptor = os.open(end, os.O_RDONLY)
    try:
        with netns.inside(descriptor):
            yield
    finally:
        os.close(descriptor)


def until(there: Callable[[], bool]) -> None:
    """Wait, on a clock that counts instructions."""
    deadline = time.monotonic() + 60
    while not there():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.01)


def prepare(packet: int) -> None:
    """Make a disk, two ends and a cable that takes packets of this size."""
    for what, where in (("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run")):
        subprocess.run(["mount", "-t", what, what, where], check=False, stderr=subprocess.DEVNULL)
    for module in (
        "null_blk nr_devices=1 gb=4 bs=512",
        "nbd nbds_max=1",
        "veth",
        "wireguard",
        "nvmet-tcp",
        "nvme-tcp",
    ):
        run("modprobe", *module.split())
    subprocess.run(["mount", "-t", "configfs", "configfs", "/sys/kernel/config"], check=False)
    run("ip", "link", "set", "lo", "up")
    Path("/run/netns").mkdir(exist_ok=True)
    for home in (LAPTOP, DESKTOP):
        os.close(netns.create(home))
    run("ip", "link", "add", "cable", "netns", "laptop", "type", "veth", "peer", "name", "cable", "netns", "desktop")
    for end, address in ADDRESSES.items():
        for words in ("link set lo up", f"link set cable mtu {packet} up", f"address add {address}/64 dev cable nodad"):
            run("ip", "-n", end, *words.split())


def lay_tunnel(packet: int) -> None:
    """Lay the session's tunnel over a cable that takes packets of this size, as the agents at its ends do."""
    keys = {end: tunnel.new_private_key() for end in ADDRESSES}
    shared = os.urandom(32)
    with at(LAPTOP):
        server = tunnel.server_configuration(keys["laptop"], tunnel.public_key(keys["desktop"]), shared)
        tunnel.create(server, tunnel.SERVER_ADDRESS, tunnel.CLIENT_ADDRESS, packet)
    with at(DESKTOP):
        client = f"""[Interface]
PrivateKey = {keys["desktop"]}
[Peer]
PublicKey = {tunnel.encode(tunnel.public_key(keys["laptop"]))}
PresharedKey = {tunnel.encode(shared)}
Endpoint = [{ADDRESSES["laptop"]}]:{tunnel.PORT}
AllowedIPs = {tunnel.SERVER_ADDRESS}/128
"""
        tunnel.create(client, tunnel.CLIENT_ADDRESS, tunnel.SERVER_ADDRESS, packet)


def export(address: str) -> None:
    """Export the disk as stiefel-export.service does."""
    options = ["--foreground", "--threads=16", "--timeout=30", "--filter=exportname", "--filter=limit"]
    names = [f"exportname={EXPORT}", "exportname-strict=true", "exportname-list=empty", f"limit={4 * CONNECTIONS}"]
    listen = [sys.executable, str(HERE / "stiefel_agent/server/listen.py"), address, "10809"]
    with at(LAPTOP):
        subprocess.Popen([*listen, "nbdkit", *options, "file", DISK, *names])


def attach(address: str, segment: int) -> str:
    """Attach the disk as a target does; return its name there."""
    netlink = genl.GenericNetlink()
    with at(DESKTOP):
        for _ in range(100):
            try:
                sockets, offered = nbd.dial_all(address, 10809, EXPORT, segment, CONNECTIONS)
                break
            except DiskUnreachable:
                time.sleep(0.1)
    nbd.connect(netlink, 0, offered, 512, [one.fileno() for one in sockets])
    return "/dev/nbd0"


def attach_nvme() -> str:
    """Serve the same disk by the kernel's NVMe/TCP target, and attach it; return its name."""
    subsystem = NVMET / "subsystems/bench"
    (subsystem / "namespaces/1").mkdir(parents=True)
    (subsystem / "attr_allow_any_host").write_text("1")
    (subsystem / "namespaces/1/device_path").write_text(DISK)
    (subsystem / "namespaces/1/enable").write_text("1")
    port = NVMET / "ports/1"
    port.mkdir()
    for name, value in (
        ("addr_trtype", "tcp"), ("addr_adrfam", "ipv6"), ("addr_traddr", ADDRESSES["laptop"]),
        ("addr_trsvcid", str(NVME_PORT)),
    ):  # fmt: skip
        (port / name).write_text(value)
    with at(LAPTOP):
        (port / "subsystems/bench").symlink_to(subsystem)
    where = f"transport=tcp,traddr={ADDRESSES['laptop']},trsvcid={NVME_PORT},nqn=bench,nr_io_queues={CONNECTIONS}"
    with at(DESKTOP):
        fabrics = os.open("/dev/nvme-fabrics", os.O_RDWR)
        os.write(fabrics, where.encode())
    until(Path("/dev/nvme0n1").exists)
    return "/dev/nvme0n1"


def fio(device: str, seconds: float, block: str, depth: int) -> float:
    """Read a device; return MB/s for large blocks, requests a second for small ones."""
    words = [
        "fio", "--name=bench", f"--filename={device}", "--readonly", "--direct=1", "--ioengine=libaio",
        f"--rw={'read' if block == MIB else 'randread'}", f"--bs={block}", f"--iodepth={depth}", "--time_based",
        f"--runtime={seconds:g}s", f"--ramp_time={seconds / 4:g}s", "--output-format=json",
    ]  # fmt: skip
    read = json.loads(run(*words))["jobs"][0]["read"]
    return float(read["bw_bytes"] / 1e6 if block == MIB else read["iops"])


def iperf(address: str, seconds: float) -> float:
    """Return the MB/s of one TCP connection from the laptop to the desktop."""
    with at(LAPTOP):
        server = subprocess.Popen(["iperf3", "--server", "--one-off"], stdout=subprocess.DEVNULL)
    time.sleep(0.5)
    with at(DESKTOP):
        said = run("iperf3", "--client", address, "--reverse", "--time", f"{max(1, round(seconds))}", "--json")
    server.wait()
    return float(json.loads(said)["end"]["sum_received"]["bits_per_second"] / 8e6)


def rounds(row: str, seconds: float) -> Iterator[tuple[float, float]]:
    """Yield our figure and the peer's, in turn, for ever."""
    if packet := TUNNELS.get(row):
        prepare(packet)
        lay_tunnel(packet)
        export(tunnel.SERVER_ADDRESS)
        ours = attach(tunnel.SERVER_ADDRESS, sizes.segment(packet, tunnel=True))
        while True:
            yield fio(ours, seconds, MIB, 4), iperf(tunnel.SERVER_ADDRESS, seconds)
    prepare(sizes.USUAL)
    export(ADDRESSES["laptop"])
    ours, peer = attach(ADDRESSES["laptop"], sizes.segment(sizes.USUAL, tunnel=False)), attach_nvme()
    block, depth = {"P8": (MIB, 4), "P9-1": (SMALL, 1), "P9-32": (SMALL, 32)}[row]
    while True:
        yield fio(ours, seconds, block, depth), fio(peer, seconds, block, depth)


def main() -> None:
    """Never returns: the machine is switched off from outside."""
    try:
        for ours, peer in rounds(sys.argv[1], float(sys.argv[2])):
            print("FIGURES " + json.dumps({"ours": ours, "peer": peer}), flush=True)
    except BaseException:
        traceback.print_exc()
    Path("/proc/sysrq-trigger").write_text("o")
    time.sleep(60)


if __name__ == "__main__":
    main()
