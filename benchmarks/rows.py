"""What is measured: one row for each figure, with its peer and its goal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from . import boot, bundle, controller, machines, on_bench, pair, ramdisk, target
from .figures import Goal, Of, Round

Measure = Callable[[bool], Iterator[Round]]
"""Yields rounds for as long as it is asked; given True, it measures the least that shows that it works."""


@dataclass(frozen=True)
class Row:
    """One figure."""

    name: str
    what: str
    unit: str
    peer: str
    """What it is compared with; empty: nothing."""
    goal: Goal
    measure: Measure
    rounds: int = 5
    quick: bool = True
    """Whether it can be done in seconds."""
    named: bool = False
    """Whether it takes so long that it is measured only when it is named."""

    def is_meant(self, word: str) -> bool:
        """Say whether a word is its name, or what its name begins with, up to a hyphen: P1 is not P12-8."""
        return self.name == word or (self.name.startswith(f"{word}-") and not self.named)


def discovery(interfaces: int) -> Row:
    """Return the row that compares a desktop of many interfaces with a desktop of one."""
    return Row(
        f"P12-{interfaces}",
        f"a client's start until a laptop has answered, on a desktop with {interfaces} wired interfaces",
        "s", "the same with one", Goal(1.2, Of.RATIO), on_bench.discovery(interfaces), quick=interfaces <= 8,
    )  # fmt: skip


OUTAGES = {
    "cable": "the cable is pulled, and plugged in again",
    "adapter": "an adapter is unplugged, and plugged in again",
    "another": "an adapter is unplugged, and another one with another name is plugged in",
}


LONG = 200
"""Seconds after which an outage is like any longer one: WireGuard has given its first round of handshakes up (90 s) and
refuses all keys (180 s), and the kernel has sent each request again (30 s)."""


def outage(kind: str, seconds: int) -> Row:
    """Return the row that says how long after an outage the disk goes on: of laptop and desktop, the slower one."""
    return Row(
        f"outage-{kind}-{seconds}",
        f"carrier until I/O goes on, after {seconds} s in which {OUTAGES[kind]}, at the laptop or at the desktop",
        "s", "", Goal(1), on_bench.outage(kind, seconds), rounds=3,
        quick=(kind, seconds) == ("another", 5), named=seconds >= LONG,
    )  # fmt: skip


ROWS = (
    Row(
        "P1", "the ramdisk, packed, with all wired drivers and their firmware",
        "MB", "the original's", Goal(38), ramdisk.size, rounds=1, quick=False,
    ),
    Row(
        "P2", "a client's kernel entry to its first beacon, 2 emulated processors, 2 GiB",
        "s", "the original's", Goal(8), boot.client, quick=False,
    ),
    Row(
        "P2-counted", "the same on one processor that counts its instructions, 2 ns each: as fast on every machine",
        "s", "", Goal(8), boot.client_counted, rounds=1, quick=False,
    ),
    Row(
        "P3", "a desktop's power-on until the laptop's kernel begins on it, the laptop being ready before (emulated)",
        "s", "", Goal(25), machines.part("power_on"), quick=False, named=True,
    ),
    *(
        Row(
            name, f"the laptop's system on the desktop, from its kernel's begin to its login prompt, {how} (emulated)",
            "s", "the same on the laptop", Goal(limit, Of.RATIO), machines.part("target", "laptop", encryption),
            quick=False, named=True,
        )
        for name, how, limit, encryption in (
            ("P4", "encrypted", 1.05, "wireguard"), ("P4-plain", "not encrypted", 1.0, "none"),
        )
    ),
    Row(
        "P4n", "for how long a target's start, to its login prompt, stands still for its disk, at 1 ms a read",
        "s", "the same without reads ahead", Goal(0.5, Of.RATIO), target.reads_ahead, quick=False,
    ),
    Row(
        "P5", "the laptop's trigger until it is ready to serve (emulated)",
        "s", "its own start, from reset to login", Goal(0.6, Of.RATIO), machines.part("move", "restart"),
        quick=False, named=True,
    ),
    Row(
        "P6", "the bundle, sealed and opened: what the slower side does in a second of its processor",
        "MB/s", "one pass of AES-256-CTR by OpenSSL", Goal(500, at_least=True), bundle.throughput,
    ),
    Row(
        "P6-memory", "the most memory that sealing or opening it takes, beside the bundle itself",
        "MB", "", Goal(64), bundle.memory,
    ),
    *(
        Row(
            name, f"1 MiB at a time through the session, read{over}",
            "MB/s", "iperf3 through the same tunnel", Goal(0.95, Of.RATIO, at_least=True), pair.compared(name),
            quick=False,
        )
        for name, over in (("P7", ""), ("P7-jumbo", ", over a cable that takes packets of 9000 bytes"))
    ),
    *(
        Row(
            name, f"{what}, without encryption, read",
            unit, "NVMe/TCP", Goal(1.0, Of.RATIO, at_least=True), pair.compared(name), quick=False,
        )
        for name, what, unit in (
            ("P8", "1 MiB at a time", "MB/s"),
            ("P9-1", "4 KiB, one request after the other", "1/s"),
            ("P9-32", "4 KiB, 32 requests at a time", "1/s"),
        )
    ),
    Row(
        "P10", "a second install, on the laptop itself, which changes nothing (emulated; see below)",
        "s", "", Goal(30), machines.second_install, rounds=1, quick=False, named=True,
    ),
    Row(
        "P11", "a ramdisk made from nothing: Debian's packages, drivers, packing",
        "s", "the original's", Goal(1.0, Of.RATIO), ramdisk.cold, quick=False,
    ),
    Row(
        "P11-agent", "a ramdisk made again after the agent has changed",
        "s", "", Goal(15), ramdisk.agent_changed, quick=False,
    ),
    discovery(8),
    discovery(32),
    discovery(64),
    Row(
        "P12-laptops", "the controller's own processor time for one laptop more, of 50 (preflight)",
        "s", "", Goal(0.2), controller.each_laptop, quick=False,
    ),
    Row(
        "P13", "the server's resident memory after 2 GB were read and written (agent and nbdkit)",
        "MB", "the same after 500 MB", Goal(1.05, Of.RATIO), on_bench.memory,
    ),
    *(outage(kind, seconds) for kind in OUTAGES for seconds in (5, 40, LONG)),
)  # fmt: skip
"""All rows, in the order in which they are shown."""


def chosen(words: list[str]) -> list[Row]:
    """Return the rows that one of the words means, or all that need not be named.

    Raises:
        ValueError: there is no such row.
    """
    for word in words:
        if not any(row.is_meant(word) for row in ROWS):
            names = f"from {ROWS[0].name} to {ROWS[-1].name}"
            raise ValueError(f"there is no row {word}. docs/benchmarks.md lists them, {names}.")
    if not words:
        return [row for row in ROWS if not row.named]
    return [row for row in ROWS if any(row.is_meant(word) for word in words)]
