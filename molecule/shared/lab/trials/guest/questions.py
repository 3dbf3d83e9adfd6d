"""Asked inside a guest: what this system is. Runs there with its own Python and prints one JSON object.

The keys are the fields of lab.trials.facts.Facts; nothing here may import anything of the lab.
"""

import hashlib
import json
import os
import socket
import subprocess
from pathlib import Path

WRITTEN = Path("/home/anna/written-on-the-desktop")
SESSION = Path("/run/stiefel/session.json")
NAMESPACE = Path("/run/netns/stiefel")
NOBODY = 65534
RECOVERED = ("recovering journal", "recovery complete", "contains a file system with errors")


def say(*command: str) -> str:
    """What a program says; nothing when it fails or is missing."""
    try:
        return subprocess.run(command, check=False, text=True, capture_output=True).stdout.strip()
    except FileNotFoundError:
        return ""


def root_disks() -> list[str]:
    """The disks that / lies on, whatever is between: LUKS, LVM, a partition."""
    source = say("findmnt", "--noheadings", "--nofsroot", "--output", "SOURCE", "/")
    lines = say("lsblk", "--noheadings", "--inverse", "--list", "--output", "NAME,TYPE", source).splitlines()
    return sorted({line.split()[0] for line in lines if line.split()[1:] == ["disk"]})


def recovered() -> list[str]:
    """Lines of this boot that tell of a filesystem that was not unmounted cleanly."""
    fsck = Path("/run/initramfs/fsck.log")
    lines = say("journalctl", "-b", "-q", "-o", "cat").splitlines()
    lines += fsck.read_text().splitlines() if fsck.exists() else []
    return [line for line in lines if any(sign in line for sign in RECOVERED)]


def cable() -> list[str]:
    """The interfaces in the cable's own network namespace."""
    lines = say("nsenter", f"--net={NAMESPACE}", "ip", "-o", "link").splitlines()
    return sorted(line.split(": ")[1].partition("@")[0] for line in lines)


def places() -> list[tuple[str, int]]:
    """Where the laptop hands out its disk and hears the release: in the tunnel, and on every interface's cable."""
    session = json.loads(SESSION.read_text())
    hosts = [f"{session['server']}%{name}" for _, name in socket.if_nameindex()]
    hosts += [session["wireguard"]["peer_address"]] if session["wireguard"] else []
    return [(host, session[part]["port"]) for host in hosts for part in ("nbd", "release")]


def greetings(where: list[tuple[str, int]]) -> list[str]:
    """Connect to each of these addresses; return those that took the connection."""
    taken = []
    for host, port in where:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as connection:
            connection.settimeout(3)
            try:
                connection.connect(socket.getaddrinfo(host, port, socket.AF_INET6)[0][4])
            except OSError:
                continue
            taken.append(f"{host} port {port}")
    return taken


def raw_disks() -> list[str]:
    """The disk's devices that can be opened to read or to write."""
    opened = []
    for device in sorted(Path("/dev").glob("nbd0*")):
        for mode in (os.O_RDONLY, os.O_WRONLY):
            try:
                os.close(os.open(device, mode))
            except OSError:
                continue
            opened.append(f"{device} mode {mode}")
    return opened


def as_nobody() -> list[str]:
    """What of the laptop's disk a process gets at that is not root."""
    if not SESSION.exists():
        return []
    ours, theirs = os.pipe()
    where = places()
    if os.fork() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
        os.write(theirs, json.dumps(raw_disks() + greetings(where)).encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as pipe:
        return list(json.loads(pipe.read()))


def main() -> None:
    """Answer everything at once."""
    devices = dict(line.rsplit(":", 1) for line in say("nmcli", "-t", "-f", "DEVICE,STATE", "device").splitlines())
    answers = {
        "hostname": os.uname().nodename,
        "machine_id": Path("/etc/machine-id").read_text().strip(),
        "kernel": os.uname().release,
        "command_line": Path("/proc/cmdline").read_text().strip(),
        "root_device": say("findmnt", "-no", "SOURCE", "/"),
        "root_disks": root_disks(),
        "root_uuid": say("findmnt", "-no", "UUID", "/"),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "network_manager": say("systemctl", "is-active", "NetworkManager"),
        "managed": {device: state for device, state in devices.items() if state != "unmanaged"},
        "firewall": say("ufw", "status").partition("\n")[0],
        "autokexec": say("systemctl", "is-active", "stiefel-autokexec"),
        "is_target": Path("/run/stiefel/session.json").exists(),
        "failed_units": say("systemctl", "--failed", "--plain", "--no-legend").splitlines(),
        "recovered": recovered(),
        "cable": cable(),
        "nobody_reached": as_nobody(),
        "written_sha256": hashlib.sha256(WRITTEN.read_bytes()).hexdigest() if WRITTEN.exists() else "",
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
