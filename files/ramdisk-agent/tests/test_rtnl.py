"""rtnetlink against this kernel, in a network namespace of its own."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stiefel_agent.machine import rtnl

SCRIPT = f"""
import os, subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(Path(rtnl.__file__).parents[2])!r})
from stiefel_agent.machine import netns
from stiefel_agent.machine.rtnl import Interfaces

def said(*command):
    return subprocess.run(command, check=True, text=True, capture_output=True).stdout

said("ip", "link", "add", "one", "type", "veth", "peer", "name", "two")
home = Path(f"/run/netns/stiefel-test-rtnl-{{os.getpid()}}")
there, again = netns.create(home), netns.create(home)
assert os.fstat(there) == os.fstat(again)  # it is made once
here = os.open(netns.OWN, os.O_RDONLY)
outside = Interfaces()
with netns.inside(there):
    inside = Interfaces()
outside.set_up(outside.find("two").index)
outside.move(outside.find("one").index, there, "stiefellink")
assert outside.find("one") is None
link = inside.find("stiefellink")
assert (link.bus, link.device) == ("", "")  # no hardware is behind it
assert (link.up, link.kind, link.ethernet) == (False, "veth", True)
inside.widen(link.index, 9000)
assert inside.find("stiefellink").mtu == 9000
inside.set_up(link.index)
assert inside.find("stiefellink").up
for _ in range(2):
    inside.add_address(link.index, "fd73::2", 128)
    inside.add_route(link.index, "fd73::1")
    inside.hold_back(link.index)
with netns.inside(there):
    assert "fd73::1 dev stiefellink" in said("ip", "-6", "route")
    assert "qdisc pfifo" in said("ip", "link")
    assert said("sysctl", "-n", "net.ipv6.neigh.stiefellink.retrans_time_ms") == "1000\\n"
    inside.ask_often(link.index)
    assert said("sysctl", "-n", "net.ipv6.neigh.stiefellink.retrans_time_ms") == "100\\n"
    inside.add_address(link.index, "fd73::9", 128)
    inside.begin_anew(link.index, "fd73::2", "fd73::1")
    assert inside.find("stiefellink").up
    assert "fd73::1 dev stiefellink" in said("ip", "-6", "route")
    addresses = said("ip", "-6", "address")
    assert "fd73::2/128" in addresses
    assert "fd73::9/128" not in addresses  # so it was down
for _ in range(2):
    inside.let_go(link.index)
with netns.inside(there):
    assert "pfifo" not in said("ip", "link")
said("ip", "link", "add", "bridge", "type", "bridge")
outside.delete(outside.find("bridge").index)
assert outside.find("bridge") is None
inside.set_down(link.index)
inside.move(link.index, here, "back")
assert outside.find("back").mac == link.mac
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("ip"), reason="network namespaces need root and iproute2")
def test_an_interface_goes_into_a_namespace_is_set_up_there_and_comes_back():
    subprocess.run(["unshare", "--net", "--mount", sys.executable, "-c", SCRIPT], check=True, timeout=60)


def test_an_interface_gets_the_largest_size_that_its_driver_knows(monkeypatch):
    """A USB adapter with buffers of one page takes 4088 bytes."""
    taken = []

    def set_mtu(_self, index, size):
        if size > 4088:
            raise OSError(errno.EINVAL, "mtu greater than device maximum")
        taken.append((index, size))

    monkeypatch.setattr(rtnl.Interfaces, "set_mtu", set_mtu)
    with rtnl.Interfaces() as interfaces:
        interfaces.widen(7, 9000)
        interfaces.widen(8, 1400)
    assert taken == [(7, 4000), (8, 1400)]
