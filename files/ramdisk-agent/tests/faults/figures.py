"""One round of what `./stiefel bench` measures on this bench: a JSON object with `ours` and `peer`.

Usage: figures.py discovery INTERFACES | memory MEGABYTES | outage KIND SECONDS
"""

import json
import os
import sys
import time

import nbd_kernel
from bench import EXPORT, SERVER, Bench
from nbd_kernel import READ, WRITE, Load
from outages import Outage
from pid1 import EXECUTED
from waiting import wait_for

REQUEST = 256 << 10
"""Bytes of each read and write, as a desktop's kernel merges them."""
AS_SHIPPED = {"target.keeper.ASK_SECONDS": 5.0, "target.keeper.SAY_SECONDS": 3.0}
"""What the bench does not wait for elsewhere (roles.QUICK): here the time is the figure."""
SETTLED = 500
"""Megabytes after which every buffer has been used."""


def seconds_to_an_answer(interfaces):
    """Return how long a client takes from its start until a laptop has answered on one of its interfaces."""
    with Bench() as bench:
        bench.laptop()
        desktop = bench.desktop()
        for number in range(1, interfaces):
            bench.cable.plug(desktop, f"a{number}", up=False)
            bench.cable.swallow(desktop, f"a{number}")
        start = time.monotonic()
        client = desktop.role("client")
        desktop.hears("event=challenged")
        taken = time.monotonic() - start
        client.kill()
        client.wait()
        return taken


def resident(laptop):
    """Return the megabytes that the server's agent and nbdkit have in memory."""
    pages = [int(laptop.run("cat", f"/proc/{laptop.main_pid(unit)}/statm").split()[1]) for unit in (SERVER, EXPORT)]
    return sum(pages) * 4096 / 1e6


def transfer(disk, megabytes):
    """Write and read back, half of the megabytes each, on all connections in turn."""
    data = bytes(REQUEST)
    for number in range(megabytes * 1_000_000 // (2 * REQUEST)):
        connection = disk.connections[number % len(disk.connections)]
        offset = number * REQUEST % disk.size
        connection.ask(WRITE, offset, data=data)
        connection.answer()
        connection.ask(READ, offset, REQUEST)
        assert connection.answer(REQUEST) == data


def memory(megabytes):
    """Return the server's memory at the end and near the beginning."""
    with Bench() as bench:
        laptop, desktop = bench.laptop(encryption="none"), bench.desktop()
        disk = desktop.boots()
        transfer(disk, min(SETTLED, megabytes // 2))
        before = resident(laptop)
        transfer(disk, megabytes - min(SETTLED, megabytes // 2))
        return resident(laptop), before


def seconds_until_it_goes_on(kind, side, seconds):
    """Return how long after the end of an outage the first write is answered."""
    nbd_kernel.SECONDS = 2 * seconds + 60  # whoever waits for an answer has the patience of a kernel
    with Bench() as bench:
        machines = {"laptop": bench.laptop(), "desktop": bench.desktop(patience=AS_SHIPPED)}
        with Load(machines["desktop"].boots()) as load:
            outage = Outage(bench.cable, machines[side], "eth0")
            outage.begins(kind)
            time.sleep(seconds)
            done, start = load.done, time.monotonic()
            outage.ends(kind, "usb0")
            wait_for(lambda: load.done > done, "the writing goes on")
            return time.monotonic() - start


def main():
    os.environ[EXECUTED] = "1"  # time and memory are those of a program that has loaded no other one
    number = int(sys.argv[-1])
    match sys.argv[1]:
        case "discovery":
            ours, peer = seconds_to_an_answer(number), seconds_to_an_answer(1)
        case "memory":
            ours, peer = memory(number)
        case "outage":
            ours, peer = (
                max(seconds_until_it_goes_on(sys.argv[2], side, number) for side in ("laptop", "desktop")),
                None,
            )
    print(json.dumps({"ours": ours, "peer": peer}))


if __name__ == "__main__":
    main()
