"""What the guests answer about themselves, and what those answers must be."""

from __future__ import annotations

import json
from dataclasses import dataclass

from ..machines.machine import Machine
from .guest import program

LINK, TUNNEL = "stiefellink", "stiefeltunnel"


@dataclass(frozen=True)
class Facts:
    """One system's answers; guest/questions.py says where each comes from."""

    hostname: str
    machine_id: str
    kernel: str
    command_line: str
    root_device: str
    root_disks: list[str]
    root_uuid: str
    interfaces: list[str]
    network_manager: str
    managed: dict[str, str]  # what NetworkManager looks after: interface -> state
    firewall: str  # ufw's own word, or empty
    autokexec: str
    is_target: bool
    failed_units: list[str]
    recovered: list[str]  # lines that tell of an unclean filesystem
    cable: list[str]  # interfaces in the cable's own network namespace
    nobody_reached: list[str]  # disk, NBD and release ports that answered a process that is not root
    written_sha256: str  # of the file that `write_something` made; empty when there is none


def ask(machine: Machine) -> Facts:
    """Put the questions to a machine that can be reached by ssh."""
    return Facts(**json.loads(machine.ssh("sudo python3 -", script=program("questions").read_text())))


def write_something(machine: Machine) -> str:
    """Write 16 MiB that nobody has seen before into the owner's home, without sync; returns their SHA-256."""
    command = "head -c 16M /dev/urandom > written-on-the-desktop && sha256sum written-on-the-desktop"
    return machine.ssh(command, seconds=300).split()[0]


def target_checks(laptop: Facts, target: Facts, *, encrypted: bool) -> dict[str, bool]:
    """Whether the target is the laptop's own system, on the desktop, over the cable."""
    return {
        "the target is the laptop's own system: machine-id": target.machine_id == laptop.machine_id,
        "the target is the laptop's own system: hostname": target.hostname == laptop.hostname,
        "the target is the laptop's own system: kernel": target.kernel == laptop.kernel,
        "its root is the laptop's filesystem": target.root_uuid == laptop.root_uuid != "",
        "its root comes over the cable": target.root_disks == ["nbd0"],
        "it knows that it is a target": target.is_target and not laptop.is_target,
        f"the cable is {LINK}, in a network namespace of its own": LINK in target.cable,
        "the target's own network does not see it": not {LINK, TUNNEL} & set(target.interfaces),
        "nobody but root gets at the disk or the release": not target.nobody_reached,
        "NetworkManager runs": target.network_manager == "active",
        "NetworkManager looks after the other interface": "connected" in target.managed.values(),
        "its firewall is the laptop's": target.firewall == laptop.firewall,
        "autokexec does not run": target.autokexec != "active",
        "no unit failed": not target.failed_units,
        f"encryption is {'on' if encrypted else 'off'}": (TUNNEL in target.cable) == encrypted,
    }


def laptop_checks(before: Facts, after: Facts, written: str) -> dict[str, bool]:
    """Whether the laptop is the laptop again, with what the target wrote."""
    return {
        "the laptop finds what the target wrote": after.written_sha256 == written,
        "its filesystem was unmounted cleanly": not after.recovered,
        "it is the same system: machine-id": after.machine_id == before.machine_id,
        "its root is its own disk again": (after.root_device, after.root_disks)
        == (before.root_device, before.root_disks),
        "it is no target any more": not after.is_target,
        "autokexec waits again": after.autokexec == "active",
    }
