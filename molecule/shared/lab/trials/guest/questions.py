"""Asked inside a guest: what this system is. Runs there with its own Python and prints one JSON object.

The keys are the fields of lab.trials.facts.Facts; nothing here may import anything of the lab.
"""

import hashlib
import json
import os
import subprocess
from pathlib import Path

WRITTEN = Path("/home/anna/written-on-the-desktop")
RECOVERED = ("recovering journal", "recovery complete", "contains a file system with errors")


def say(*command: str) -> str:
    """What a program says; nothing when it fails or is missing."""
    try:
        return subprocess.run(command, check=False, text=True, capture_output=True).stdout.strip()
    except FileNotFoundError:
        return ""


def recovered() -> list[str]:
    """Lines of this boot that tell of a filesystem that was not unmounted cleanly."""
    fsck = Path("/run/initramfs/fsck.log")
    lines = say("journalctl", "-b", "-q", "-o", "cat").splitlines()
    lines += fsck.read_text().splitlines() if fsck.exists() else []
    return [line for line in lines if any(sign in line for sign in RECOVERED)]


def main() -> None:
    """Answer everything at once."""
    devices = dict(line.rsplit(":", 1) for line in say("nmcli", "-t", "-f", "DEVICE,STATE", "device").splitlines())
    answers = {
        "hostname": os.uname().nodename,
        "machine_id": Path("/etc/machine-id").read_text().strip(),
        "kernel": os.uname().release,
        "command_line": Path("/proc/cmdline").read_text().strip(),
        "root_device": say("findmnt", "-no", "SOURCE", "/"),
        "root_uuid": say("findmnt", "-no", "UUID", "/"),
        "interfaces": sorted(path.name for path in Path("/sys/class/net").iterdir()),
        "network_manager": say("systemctl", "is-active", "NetworkManager"),
        "managed": {device: state for device, state in devices.items() if state != "unmanaged"},
        "autokexec": say("systemctl", "is-active", "stiefel-autokexec"),
        "is_target": Path("/run/stiefel/session.json").exists(),
        "failed_units": say("systemctl", "--failed", "--plain", "--no-legend").splitlines(),
        "recovered": recovered(),
        "written_sha256": hashlib.sha256(WRITTEN.read_bytes()).hexdigest() if WRITTEN.exists() else "",
    }
    print(json.dumps(answers))


if __name__ == "__main__":
    main()
