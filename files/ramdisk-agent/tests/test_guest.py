"""In the laptop's normal system an interface that its owner took down stays down, and a new adapter works."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from stiefel_agent.machine.guest import SETTLE_SECONDS, Guest
from stiefel_agent.machine.link import Wired

SOURCE = Path(__file__).parents[1] / "src"
NEW = Wired("eth0", 2, "52:54:00:00:00:02", up=False, carrier=False, address=None)
UP = replace(NEW, up=True)


def test_a_new_adapter_is_taken_up_when_nobody_else_does_it_for_a_while() -> None:
    guest = Guest()
    assert guest.may_take_up([NEW], 100.0) == set()
    assert guest.wait(101.0) == SETTLE_SECONDS - 1
    assert guest.may_take_up([NEW], 99.9 + SETTLE_SECONDS) == set()
    assert guest.may_take_up([NEW], 100.0 + SETTLE_SECONDS) == {2}
    assert guest.wait(100.0 + SETTLE_SECONDS) is None


def test_what_was_up_and_was_taken_down_stays_down() -> None:
    guest = Guest()
    guest.may_take_up([UP], 0.0)
    for now in (1.0, 1000.0):
        assert guest.may_take_up([NEW], now) == set()
        assert guest.wait(now) is None


def test_what_has_sent_something_was_up_before_we_came() -> None:
    guest = Guest()
    guest.may_take_up([replace(NEW, used=True)], 0.0)
    assert guest.may_take_up([replace(NEW, used=True)], 1000.0) == set()


def test_an_adapter_that_is_plugged_again_is_new() -> None:
    guest = Guest()
    guest.may_take_up([UP], 0.0)
    guest.may_take_up([], 1.0)
    again = replace(NEW, index=3)
    assert guest.may_take_up([again], 2.0) == set()
    assert guest.may_take_up([again], 2.0 + SETTLE_SECONDS) == {3}


CABLES = """
mount -t sysfs sysfs /sys
for name in new off port; do
    ip link add $name type veth peer name cable-$name
    ip link set cable-$name up
done
ip link set off up
ip link add br0 type bridge
ip link set port master br0
exec "$@"
"""
PROGRAM = """
import json, subprocess
from stiefel_agent.machine import guest, link
from stiefel_agent.machine.guest import SETTLE_SECONDS
link._is_wired = lambda folder: folder.name in ("new", "off", "port")  # a veth is no hardware
ours = guest.Guest()
guest.made_reachable(ours, 0.0)
subprocess.run(["ip", "link", "set", "off", "down"], check=True)
for now in (SETTLE_SECONDS, 2 * SETTLE_SECONDS):
    followed = guest.made_reachable(ours, now)
print(json.dumps([[one.name for one in followed], {one.name: one.up for one in link.wired()}]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")
def test_real_interfaces_are_left_as_their_owner_has_them() -> None:
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-ec", CABLES, "sh", sys.executable, "-c", PROGRAM],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    followed, up = json.loads(done.stdout)
    assert followed == ["new", "off"]
    assert up == {"new": True, "off": False, "port": False}
