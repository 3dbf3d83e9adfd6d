"""The target keeps its disk whatever happens to the cable, and nobody in it but its keeper reaches the laptop."""

import signal

import pytest
from bench import EXPORT
from nbd_kernel import Load

from stiefel_agent.errors import DiskUnreachable

pytest.importorskip("stiefel_agent.target.keeper")

KNOCK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[1], int(sys.argv[2])), 2) as connection:
        print("connected", connection.recv(64))
except OSError as error:
    print("refused", error)
"""


def knocks(machine, user, host, port):
    """Return what a user of a machine hears when it connects to a port."""
    command = ["python3", "-IS", "-c", KNOCK, host, str(port)]
    return machine.run("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *command)


@pytest.mark.parametrize("encryption", ["wireguard", "none"])
def test_nobody_in_the_target_reaches_disk_or_release(bench, encryption):
    bench.laptop(encryption=encryption)
    desktop = bench.desktop()
    desktop.boots()
    session = desktop.session()
    for port in (session.nbd.port, session.release.port):
        assert knocks(desktop, 65534, session.server_host, port).startswith("refused")
        desktop.connect(port).close()  # from the cable's own network it is there


def test_the_exports_name_is_nowhere_in_the_running_target(bench):
    bench.laptop()
    desktop = bench.desktop()
    desktop.boots()
    secret = desktop.session().nbd.export
    assert secret not in desktop.run("ps", "-eo", "args")
    assert not desktop.run("grep", "-rl", secret, "/run/stiefel", "/sys/block", check=False)


def test_an_export_of_any_other_name_is_refused_in_words(bench):
    bench.laptop()
    desktop = bench.desktop()
    desktop.boots()
    with pytest.raises(DiskUnreachable, match="knows no such export"):
        desktop.dial("disk")


@pytest.mark.fault("F2", "F4")
def test_an_nbdkit_that_is_killed_costs_nothing(bench):
    laptop, desktop = bench.laptop(), bench.desktop()
    with Load(desktop.boots()) as load:
        laptop.kill(EXPORT, signal.SIGKILL)
        load.ended()
        load.goes_on()


@pytest.mark.fault("F9", "F34")
@pytest.mark.parametrize("side", ["laptop", "desktop"])
def test_another_adapter_may_carry_the_link_from_now_on(bench, side):
    """F34: an adapter that is plugged in again has another name, and maybe another MAC."""
    machines = {"laptop": bench.laptop(), "desktop": bench.desktop()}
    with Load(machines["desktop"].boots()) as load:
        bench.cable.unplug(machines[side])
        bench.cable.plug(machines[side], "usb0", up=False)
        load.goes_on()


@pytest.mark.fault("F32")
def test_an_adapter_may_have_another_mac_and_name_under_the_targets_kernel(bench):
    """F32: the ramdisk saw one MAC, the target's kernel gives it another."""
    bench.laptop()
    desktop = bench.desktop()
    desktop.receives()
    bench.cable.unplug(desktop)
    bench.cable.plug(desktop, "usb0", up=False)
    with Load(desktop.attaches()) as load:
        load.goes_on()


def test_ipv6_that_the_target_switches_off_and_on_again_takes_nothing_away(bench):
    bench.laptop()
    desktop = bench.desktop()
    with Load(desktop.boots()) as load:
        for value in (1, 0):
            desktop.run("sysctl", "-qw", f"net.ipv6.conf.all.disable_ipv6={value}")
            load.goes_on()


@pytest.mark.fault("F31")
def test_a_firewall_in_the_target_that_drops_everything_does_not_cut_its_root(bench):
    """F31: container services, VPNs and firewalls flush and drop."""
    bench.laptop()
    desktop = bench.desktop()
    with Load(desktop.boots()) as load:
        rules = "flush ruleset; add table inet t; "
        for hook in ("input", "output"):
            rules += f"add chain inet t {hook} {{ type filter hook {hook} priority 0; policy drop; }}; "
        desktop.run("nft", rules)
        load.goes_on()
