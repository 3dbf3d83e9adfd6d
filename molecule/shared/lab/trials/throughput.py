"""How fast the disk is over the cable, compared with what iperf3 gets through the same tunnel.

A figure, not a test: it depends on the machine. Needs a laptop whose ramdisk was built with the feature "debug" and the
package iperf3 (molecule/benchmark): its server's shell starts iperf3 there.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from ..machines.bench import LAPTOP, LOGIN_SECONDS, Bench
from ..machines.machine import Machine
from ..machines.shell import say, step
from .command import Command, bench_of, output
from .guest import program
from .watch import Watch

SERVER = "fd73:7469:6566:656c::1"
MIB = 160  # as long as iperf3 runs, on a machine without KVM
ROUNDS = 5
SECONDS = 15
OPEN = "nft insert rule inet stiefel input iifname stiefeltunnel accept; iperf3 -s"


def iperf3(target: Machine, *options: str) -> float:
    """MB/s that iperf3 gets between target and laptop."""
    said = target.ssh(
        f"sudo ip netns exec stiefel iperf3 --json -c {SERVER} -t {SECONDS} {' '.join(options)}", seconds=SECONDS * 10
    )
    rate: float = json.loads(said)["end"]["sum_received"]["bits_per_second"]
    return rate / 8e6


def run_throughput(bench: Bench, stick: Path, report: Path) -> None:
    """Boot the desktop, and measure tunnel and disk in turns; leaves a report."""
    laptop = bench.machine(LAPTOP)
    laptop.wait_ssh(seconds=LOGIN_SECONDS)
    with step("installing iperf3 on the laptop"):
        laptop.install("iperf3")
    figures: dict[str, list[float]] = {"write": [], "iperf3 write": [], "read": [], "iperf3 read": []}
    with Watch(bench) as watch:
        target = watch.boot(stick)
        laptop.type_keys("alt-f2")
        laptop.type_line(OPEN)
        for _ in range(ROUNDS):
            figures["iperf3 write"].append(iperf3(target))
            disk = json.loads(target.ssh(f"sudo python3 - {MIB}", script=program("transfer").read_text(), seconds=600))
            figures["iperf3 read"].append(iperf3(target, "--reverse"))
            for way in ("write", "read"):
                figures[way].append(disk[way])
            say(", ".join(f"{name} {rates[-1]:.2f} MB/s" for name, rates in figures.items()))
    median = {name: round(statistics.median(rates), 2) for name, rates in figures.items()}
    shares = {way: round(median[way] / median[f"iperf3 {way}"], 2) for way in ("write", "read")}
    say(f"medians: {median}; of iperf3: {shares}")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.write_text(json.dumps({"all": figures, "median": median, "share of iperf3": shares}, indent=2) + "\n")


def throughput(options: argparse.Namespace) -> None:
    """Measure the disk over the cable against iperf3 in the same tunnel (see throughput.py for what it needs)."""
    run_throughput(bench_of(options), options.stick, output(options) / "throughput.json")


TRIALS = (Command("throughput", throughput),)
