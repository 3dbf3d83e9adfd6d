"""Outages in a row, of every kind and on both sides, while all that is written is read back.

STIEFEL_OUTAGES says how many (a soak run takes 100), STIEFEL_OUTAGES_SEED which.
"""

import os
import time
from random import Random

from nbd_kernel import Verified
from outages import KINDS, Outage

COUNT = int(os.environ.get("STIEFEL_OUTAGES", "4"))
SEED = int(os.environ.get("STIEFEL_OUTAGES_SEED", "1"))
LONGEST_SECONDS = 3.0


def test_whatever_happens_to_the_cable_what_was_written_is_what_is_read(bench, record_property):
    random = Random(SEED)
    laptop, desktop = bench.laptop(), bench.desktop()
    with Verified(desktop.boots()) as load:
        ends = [Outage(bench.cable, machine, "eth0") for machine in (laptop, desktop)]
        for number in range(COUNT):
            # Each kind has its turn, in an order that nobody has chosen.
            kind, end = KINDS[number % len(KINDS)], random.choice(ends)
            end.begins(kind)
            time.sleep(random.uniform(0, LONGEST_SECONDS))
            end.ends(kind, f"usb{number}")
            load.goes_on()
        load.ends()
    assert (load.errors, load.wrong) == ([], [])
    for offset, data in load.written.items():
        assert laptop.content(offset, len(data)) == data
    record_property("outages", f"{COUNT} outages, {load.done} blocks verified, {len(load.lost)} connections lost")
