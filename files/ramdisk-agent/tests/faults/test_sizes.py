"""Packets of a size that gets through: what the cable swallows is found out before anything depends on it (F42)."""

import pytest
from nbd_kernel import Load
from waiting import wait_for

from stiefel_agent.protocol.session import LINK, TUNNEL
from stiefel_agent.protocol.sizes import tunnel_mtu

ENCRYPTIONS = pytest.mark.parametrize("encryption", ["wireguard", "none"])
CABLE = ("ip", "netns", "exec", "stiefel")
"""Before a command of a desktop: where its target's cable is."""
MEBIBYTE = 1 << 20


def another_kernel(machine, interface):
    """Let an adapter be as a kernel's driver makes it: kexec leaves nothing of what the one before had set."""
    machine.run("ip", "link", "set", interface, "down", "mtu", "1500")


def moves(disk):
    """Write and read back so much at once that the largest packets are sent, in both directions."""
    data = bytes(range(256)) * (MEBIBYTE // 256)
    disk.write(0, data)
    assert disk.read(0, MEBIBYTE) == data


@pytest.mark.fault("F42")
@ENCRYPTIONS
@pytest.mark.parametrize("passes", [1400, 1280])
def test_a_cable_that_swallows_large_packets_carries_a_session(bench, passes, encryption):
    bench.cable.passes = passes
    laptop, desktop = bench.laptop(encryption=encryption), bench.desktop()
    moves(desktop.boots())
    assert desktop.session().packet == passes
    assert f"more than {passes} bytes" in desktop.said()
    laptop.terminal.shows(f"the cable swallows packets of more than {passes} bytes")


@ENCRYPTIONS
def test_a_cable_that_takes_jumbo_frames_gets_them(bench, encryption):
    bench.cable.passes = 9000
    laptop, desktop = bench.laptop(up=False, encryption=encryption), bench.desktop(up=False)
    desktop.receives()
    another_kernel(desktop, "eth0")
    moves(desktop.attaches())
    assert desktop.session().packet == 9000
    assert "packet=9000" in desktop.said()
    if encryption == "wireguard":
        for machine, inside in ((laptop, ()), (desktop, CABLE)):
            assert f"mtu {tunnel_mtu(9000)} " in machine.run(*inside, "ip", "link", "show", TUNNEL)
    assert "swallows" not in desktop.said() + laptop.terminal.page()


@pytest.mark.fault("F42")
def test_adapters_that_take_more_than_what_is_between_them_agree_on_less(bench):
    bench.cable.passes = 1500
    bench.laptop(up=False)
    desktop = bench.desktop(up=False)
    moves(desktop.boots())
    assert desktop.session().packet == 1500
    assert "swallows" not in desktop.said()


def test_an_adapter_that_udev_has_made_to_take_more_takes_what_the_owner_says(bench):
    laptop = bench.laptop(mtu=1500)
    bench.cable.plug(laptop, "usb0", up=False)
    laptop.run("ip", "link", "set", "usb0", "mtu", "9000", "up")
    wait_for(lambda: " mtu 1500 " in laptop.run("ip", "link", "show", "usb0"), "it takes no more than the owner says")


@pytest.mark.parametrize("up", [True, False])
def test_the_laptops_owner_says_how_large_a_packet_may_be(bench, up):
    bench.cable.passes = 9000
    laptop, desktop = bench.laptop(up=up, mtu=1400), bench.desktop(up=False)
    moves(desktop.boots())
    assert desktop.session().packet == 1400
    assert "swallows" not in desktop.said() + laptop.terminal.page()


@pytest.mark.fault("F42")
@ENCRYPTIONS
def test_a_worse_cable_in_the_midst_of_a_session_is_fallen_back_for(bench, encryption):
    bench.laptop(encryption=encryption)
    desktop = bench.desktop()
    disk = desktop.boots()
    with Load(disk) as load:
        bench.cable.passes = 1280
        bench.cable.unplug(desktop)
        bench.cable.plug(desktop, "usb0", up=False)
        desktop.tells("swallows packets of more than 1280 bytes")
        load.goes_on()


def test_an_adapter_goes_back_as_it_came(bench):
    """What was tried in vain belongs to the target's own network again."""
    bench.cable.passes = 9000
    bench.laptop(up=False)
    desktop = bench.desktop(up=False)
    desktop.receives()
    another_kernel(desktop, "eth0")
    bench.cable.swallow(desktop)
    bench.cable.plug(desktop, "usb0", up=False)
    moves(desktop.attaches())
    assert "packet=9000" in desktop.said()
    assert "mtu 1500 " in desktop.run("ip", "link", "show", "eth0")


@pytest.mark.fault("F42")
def test_a_laptops_adapter_that_loses_long_segments_gets_packets(bench):
    laptop, desktop = bench.laptop(encryption="none"), bench.desktop()
    bench.cable.swallow_long(laptop)
    moves(desktop.boots())
    assert "event=offload_off" in laptop.said()
    assert "gso_max_segs 1 " in laptop.run("ip", "-d", "link", "show", "eth0")


@pytest.mark.fault("F42")
def test_a_desktops_adapter_that_loses_long_segments_gets_packets(bench):
    bench.laptop(encryption="none")
    desktop = bench.desktop()
    bench.cable.swallow_long(desktop)
    disk = desktop.boots()
    with Load(disk):
        desktop.tells("loses what it is to cut into packets itself")
    assert "gso_max_segs 1 " in desktop.run(*CABLE, "ip", "-d", "link", "show", LINK)


def test_a_client_that_finds_no_laptop_with_large_packets_looks_without(bench):
    """Some drivers promise jumbo frames, and receive nothing once they are set up for them."""
    desktop = bench.desktop(up=False, patience={"client.client.PLAIN_SECONDS": 0.0})
    desktop.role("client")
    desktop.hears("event=beacon")
    wait_for(lambda: " mtu 1500 " in desktop.run("ip", "link", "show", "eth0"), "the adapter is as it was")
