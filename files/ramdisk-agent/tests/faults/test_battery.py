"""The laptop's battery: its screen and its target say how it is, and an empty one ends the target in order."""

import json
from dataclasses import asdict

import pytest
from trees import plant, supply
from waiting import wait_for

SYS = "sys/class/power_supply/"


def feed(laptop, *, online, capacity, status="Discharging"):
    """Let the laptop's supplies say something."""
    tree = {
        **supply("AC", type="Mains", online=online),
        **supply("BAT0", type="Battery", status=status, capacity=capacity),
    }
    plant(laptop.folder / "run/power_supply", {path.removeprefix(SYS): content for path, content in tree.items()})


def target_knows(desktop, **expected):
    """Wait until the target's keeper has heard these figures of the laptop's power, and its status tells them."""

    def known():
        left = desktop.notes()
        return left and left.power and asdict(left.power).items() >= expected.items()

    wait_for(known, f"the target knows of the laptop's power: {expected}")
    assert json.loads(desktop.run("stiefel-agent", "status", "--json"))["power"].items() >= expected.items()


@pytest.mark.parametrize("encryption", ["wireguard", "none"])
def test_both_sides_hear_of_the_battery_and_an_empty_one_ends_the_target_in_order(bench, encryption):
    laptop, desktop = bench.laptop(encryption=encryption), bench.desktop()
    feed(laptop, online=1, capacity=80, status="Not charging")
    desktop.boots()
    target_knows(desktop, plugged=True, percent=80)
    feed(laptop, online=0, capacity=79)
    laptop.terminal.shows("This laptop runs on its battery: it holds 79 %.")
    target_knows(desktop, plugged=False, percent=79)
    feed(laptop, online=0, capacity=18)
    laptop.terminal.shows("battery is low: it holds 18 %")
    asked = desktop.folder / "run/shut-down"
    assert not asked.exists()
    feed(laptop, online=0, capacity=4)
    laptop.terminal.shows("almost empty: it holds 4 %")
    wait_for(asked.exists, "the target is asked to shut down")
    assert desktop.releases() == 0
    laptop.hears("event=released")


def test_a_laptop_that_is_plugged_in_in_time_ends_nobody(bench):
    laptop, desktop = bench.laptop(), bench.desktop()
    feed(laptop, online=0, capacity=4)
    laptop.terminal.shows("almost empty")
    feed(laptop, online=1, capacity=4, status="Charging")
    wait_for(lambda: "battery" not in laptop.terminal.page(), "the warning is gone")
    desktop.boots()
    target_knows(desktop, plugged=True, charging=True)
    assert not (desktop.folder / "run/shut-down").exists()


def test_a_stranger_on_the_cable_cannot_tell_the_target_anything(bench):
    """The kernel takes a packet to the tunnel's address from any interface; the target's ear does not."""
    from stiefel_agent.protocol.supply import PORT, Level, Supply

    laptop, desktop = bench.laptop(), bench.desktop()
    feed(laptop, online=1, capacity=80, status="Full")
    desktop.boots()
    target_knows(desktop, percent=80)
    word = Supply(Level.CRITICAL, False, 1, shut_down=True).encode()
    stranger = bench.desktop("stranger")
    forge = f"""
import socket
wire = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
wire.sendto(bytes.fromhex({word.hex()!r}), ("fd73:7469:6566:656c::2", {PORT}))
wire.sendto(bytes.fromhex({word.hex()!r}), ("{{own}}", {PORT}, 0, socket.if_nametoindex("eth0")))
"""
    own = (
        desktop.run("ip", "-n", "stiefel", "-6", "-o", "address", "show", "scope", "link").split()[3].partition("/")[0]
    )
    stranger.run("ip", "address", "add", "fd73:7469:6566:656c::1/64", "dev", "eth0", "nodad")
    mac = desktop.run("ip", "netns", "exec", "stiefel", "cat", "/sys/class/net/stiefellink/address").strip()
    stranger.run("ip", "neighbour", "replace", "fd73:7469:6566:656c::2", "lladdr", mac, "dev", "eth0")
    for _ in range(3):
        stranger.run("python3", "-IS", "-c", forge.replace("{own}", own))
    feed(laptop, online=1, capacity=81, status="Full")
    target_knows(desktop, percent=81)
    assert not (desktop.folder / "run/shut-down").exists()
