"""The target keeps its disk whatever happens to the cable, and nobody in it but its keeper reaches the laptop."""

import pytest
from nbd_kernel import Load
from waiting import wait_for

from stiefel_agent.protocol.session import TUNNEL

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


@pytest.mark.fault("F26", "F29")
@pytest.mark.parametrize("encryption", ["wireguard", "none"])
def test_nobody_in_the_target_reaches_disk_or_release(bench, encryption):
    bench.laptop(encryption=encryption)
    desktop = bench.desktop()
    desktop.boots()
    session = desktop.session()
    for port in (session.nbd.port, session.release.port):
        for user in (65534, 0):
            assert knocks(desktop, user, session.server_host, port).startswith("refused")
        desktop.connect(port).close()  # from the cable's own network it is there


def test_the_exports_name_is_nowhere_in_the_running_target(bench):
    bench.laptop()
    desktop = bench.desktop()
    desktop.boots()
    secret = desktop.session().nbd.export
    assert secret not in desktop.run("ps", "-eo", "args")
    assert not desktop.run("grep", "-rl", secret, "/run/stiefel", "/sys/block", check=False)


@pytest.mark.fault("F9", "F34")
@pytest.mark.parametrize("side", ["laptop", "desktop"])
def test_another_adapter_may_carry_the_link_from_now_on(bench, side):
    """F34: an adapter that is plugged in again has another name, and maybe another MAC."""
    machines = {"laptop": bench.laptop(), "desktop": bench.desktop()}
    with Load(machines["desktop"].boots()) as load:
        bench.cable.unplug(machines[side])
        bench.cable.plug(machines[side], "usb0", up=False)
        load.goes_on()


@pytest.mark.fault("F34")
def test_a_target_is_called_over_another_adapter_of_the_laptop_in_the_moment_it_is_there(bench):
    never = 3600.0
    patience = {"server.hearing.CALL_SECONDS": never, "server.hearing.SOON_SECONDS": never}
    laptop, desktop = bench.laptop(patience=patience), bench.desktop()
    with Load(desktop.boots()) as load:
        bench.cable.unplug(laptop)
        laptop.terminal.shows("the cable is out")
        bench.cable.plug(laptop, "usb0", up=False)
        load.goes_on()


@pytest.mark.fault("F35")
def test_a_laptop_that_calls_is_answered_by_an_interface_that_was_given_up_for_a_while(bench):
    """Behind a switch the desktop's cable keeps its signal while the laptop's is out."""
    never = 3600.0
    patience = {"TRIED_SECONDS": never, "SILENT_SECONDS": 1.0, "PATIENCE": 1}
    laptop, desktop = (
        bench.laptop(),
        bench.desktop(patience={f"target.keeper.{name}": patience[name] for name in patience}),
    )
    with Load(desktop.boots()) as load:
        bench.cable.cut(laptop)
        shown = ("ip", "-n", "stiefel", "link", "show", "dev", TUNNEL)
        wait_for(lambda: "qdisc pfifo " in desktop.run(*shown), "the interface is given up")
        bench.cable.join(laptop)
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


@pytest.mark.fault("F31")
def test_firewalls_and_vpn_clients_of_the_target_do_not_cut_the_disk_off(bench):
    """F31: net.ipv6.conf.all.disable_ipv6, as VPN clients set it; containers and firewalls flush and drop."""
    bench.laptop()
    desktop = bench.desktop()
    rules = "flush ruleset; add table inet t; "
    for hook in ("input", "output"):
        rules += f"add chain inet t {hook} {{ type filter hook {hook} priority 0; policy drop; }}; "
    with Load(desktop.boots()) as load:
        desktop.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        load.goes_on()
        desktop.run("nft", rules)
        load.goes_on()
        desktop.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
        load.goes_on()
