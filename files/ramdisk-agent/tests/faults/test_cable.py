"""What happens on the cable, and to the tunnel, hangs no session."""

import socket
import threading
from contextlib import contextmanager, suppress

import pytest
from nbd_kernel import Load
from waiting import wait_for

from stiefel_agent.machine.rtnl import SOLICIT_MS
from stiefel_agent.machine.tunnel import CLIENT_ADDRESS
from stiefel_agent.protocol.session import LINK, TUNNEL


@pytest.mark.fault("F4", "F35")
def test_a_cable_that_is_out_or_swallows_everything_for_a_while_costs_nothing(bench):
    laptop, desktop = bench.laptop(), bench.desktop()
    with Load(desktop.boots()) as load:
        for fault in (bench.cable.cut, bench.cable.swallow):
            for machine in (laptop, desktop):
                fault(machine)
                bench.cable.join(machine)
                load.goes_on()


def test_a_cable_that_is_found_between_two_calls_is_called_at_once(bench):
    desktop = bench.desktop(up=False, patience={"client.client.BEACON_SECONDS": 3600.0})
    desktop.role("client")
    desktop.hears("event=beacon")


def test_the_laptop_keeps_the_tunnel_alive_too(bench):
    """A target whose clock was set back cannot begin a handshake any more (WireGuard's timestamps only grow)."""
    laptop, desktop = bench.laptop(), bench.desktop()
    desktop.boots()
    _peer, interval = laptop.run("wg", "show", TUNNEL, "persistent-keepalive").split()
    assert interval != "off"


@pytest.mark.fault("F35")
def test_both_ends_ask_for_the_others_address_often(bench):
    """Else both of them wait for it up to a second after the cable is back, and then begin at the same moment."""
    laptop, desktop = bench.laptop(), bench.desktop()
    desktop.boots()
    for machine, enter, cable in ((laptop, (), "eth0"), (desktop, ("ip", "netns", "exec", "stiefel"), LINK)):
        shown = machine.run(*enter, "sysctl", "-n", f"net.ipv6.neigh.{cable}.retrans_time_ms")
        assert int(shown) == SOLICIT_MS


@pytest.mark.fault("F37")
def test_silence_is_what_was_not_received_however_much_was_sent(bench):
    laptop, ghost = bench.laptop(takeover_seconds=1), bench.desktop("ghost")
    ghost.boots()
    peer = laptop.run("wg", "show", TUNNEL, "peers")
    with chatter(laptop):
        bench.cable.swallow(ghost)
        heir = bench.desktop("heir")
        heir.role("client")
        laptop.hears("event=taken_over desktop=ghost")
        laptop.hears("event=exported desktop=heir")
    assert peer not in laptop.run("wg", "show", TUNNEL, "peers")


@pytest.mark.fault("F41")
def test_an_adapter_that_sends_nothing_is_noticed_however_much_it_receives(bench, monkeypatch):
    monkeypatch.setattr("nbd_kernel.REQUEST_SECONDS", 3600.0)  # the driver's own patience would end after 30 s
    patience = {"target.keeper.SILENT_SECONDS": 1.0, "target.keeper.PATIENCE": 2}
    laptop, desktop = bench.laptop(), bench.desktop(patience=patience)
    with Load(desktop.boots()), chatter(laptop):
        bench.cable.swallow_sent(desktop)
        shown = ("ip", "-n", "stiefel", "link", "show", "dev", TUNNEL)
        wait_for(lambda: "qdisc pfifo " in desktop.run(*shown), "the interface is given up")


def test_the_laptop_says_how_long_it_has_heard_nothing_however_much_it_sends(bench):
    """F37: only what was received counts."""
    laptop, desktop = bench.laptop(), bench.desktop()
    with Load(desktop.boots()) as load, chatter(laptop):
        bench.cable.swallow(desktop)
        laptop.terminal.shows("nothing heard of it for")
        bench.cable.join(desktop)
        load.goes_on()
        wait_for(lambda: "nothing heard" not in laptop.terminal.page(), "the laptop hears its target again")


def test_a_laptop_whose_cable_is_out_says_so_and_holds_its_answers_back(bench):
    """Else its TCP backs off: a read went on 6.6 s after a cut of 20 s, and 0.3 s after it with this."""
    laptop, desktop = bench.laptop(), bench.desktop()
    with Load(desktop.boots()) as load:
        bench.cable.cut(laptop)
        laptop.terminal.shows("the cable is out, and its work waits")
        assert "qdisc pfifo " in laptop.run("ip", "link", "show", "dev", TUNNEL)
        bench.cable.join(laptop)
        load.goes_on()
        assert "qdisc pfifo " not in laptop.run("ip", "link", "show", "dev", TUNNEL)
        wait_for(lambda: "the cable is out" not in laptop.terminal.page(), "the laptop sees its cable again")


@contextmanager
def chatter(laptop):
    """Let the laptop send something into the tunnel all the time."""
    wire, enough = laptop.inside(lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)), threading.Event()

    def send():
        while not enough.wait(0.02):
            with suppress(OSError):  # the tunnel ends with its session
                wire.sendto(b"noise", (CLIENT_ADDRESS, 9))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        enough.set()
        thread.join()
        wire.close()


def test_a_desktop_that_vanishes_before_its_target_runs_is_noticed_within_seconds(bench):
    names = ("IDLE_SECONDS", "INTERVAL_SECONDS", "PROBES", "UNANSWERED_SECONDS")
    laptop = bench.laptop(patience={f"server.connections.{name}": 1 for name in names})
    desktop = bench.desktop()
    desktop.hold()
    desktop.role("client")
    desktop.hears("event=bundle_received")
    laptop.terminal.shows("► Give it the system")
    bench.cable.swallow(desktop)
    laptop.terminal.shows("► Wait for the desktop")


def test_ipv6_that_is_switched_off_and_on_again_takes_nothing_away(bench):
    laptop, desktop = bench.laptop(), bench.desktop()
    with Load(desktop.boots()) as load:
        for value in (1, 0):
            laptop.run("sysctl", "-qw", f"net.ipv6.conf.all.disable_ipv6={value}")
        load.goes_on()


@pytest.mark.fault("F18")
def test_a_disk_with_sectors_of_4096_bytes_has_them_in_the_target(bench):
    """F18: partition tables count in sectors."""
    bench.laptop(sector=4096)
    desktop = bench.desktop()
    disk = desktop.boots()
    assert desktop.session().nbd.block_size == 4096
    disk.write(4096, b"x" * 4096)
    assert disk.read(4096, 4096) == b"x" * 4096
