"""Addresses that both sides must agree on, and an interface that speaks IPv6 where its owner switched it off."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from stiefel_agent.machine.netdev import eui64_address

SOURCE = Path(__file__).parents[1] / "src"


@pytest.mark.parametrize(
    ("mac", "address"),
    [("52:54:00:00:00:02", "fe80::5054:ff:fe00:2"), ("00:1b:21:ab:cd:ef", "fe80::21b:21ff:feab:cdef")],
)
def test_the_link_local_address_follows_from_the_mac_as_the_kernel_makes_it(mac: str, address: str) -> None:
    assert eui64_address(mac) == address


NAMESPACE = """
mount -t sysfs sysfs /sys
ip link add eth0 address 52:54:00:00:00:02 type veth peer name cable
ip link set cable up
echo 1 >/proc/sys/net/ipv6/conf/$1/disable_ipv6
shift
ip link set eth0 up
exec "$@"
"""
PROGRAM = """
import socket
from pathlib import Path
from stiefel_agent.machine import link, netdev
changes = netdev.LinkEvents()
link.make_reachable(link.Wired("eth0", socket.if_nametoindex("eth0"), "52:54:00:00:00:02", True, True, None))
while not netdev.link_local_addresses().get("eth0") and changes.wait(60):
    pass  # the kernel, too, gives the interface this address as soon as it speaks IPv6, and takes a moment for it
settings = (Path("/proc/sys/net/ipv6/conf/eth0") / name for name in ("disable_ipv6", "accept_ra", "autoconf"))
print(netdev.link_local_addresses().get("eth0"), *(setting.read_text().strip() for setting in settings))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")
@pytest.mark.parametrize("off", ["eth0", "all"])
def test_ipv6_comes_on_where_it_was_off_and_no_router_is_listened_to(off: str) -> None:
    unshare = ["unshare", "--net", "--mount", "sh", "-ec", NAMESPACE, "sh", off]
    done = subprocess.run(
        [*unshare, sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stdout.split() == ["fe80::5054:ff:fe00:2", "0", "0", "0"]


SEVERAL = """
mount -t sysfs sysfs /sys
for name in eth0 eth2; do ip link add $name type veth peer name cable-$name; done
exec "$@"
"""
UP = """
import socket
from stiefel_agent.machine import link, netdev, program
program.run = None  # starting one for each takes seconds where there are dozens
indexes = {name: socket.if_nametoindex(name) for name in ("eth0", "eth2")} | {"gone": 99}
down = [link.Wired(name, indexes[name], "52:54:00:00:00:02", False, False, None) for name in ("eth0", "gone", "eth2")]
link.make_reachable(*down)
flags = [(netdev.SYS_NET / name / "flags").read_text() for name in ("eth0", "eth2")]
print(*(int(text, 16) & 1 for text in flags))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes network namespaces")
def test_interfaces_are_taken_up_without_a_program_and_one_that_is_gone_holds_up_none() -> None:
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-ec", SEVERAL, "sh", sys.executable, "-c", UP],
        capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert done.stdout.split() == ["1", "1"]
