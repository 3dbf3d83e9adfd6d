"""Exactly one desktop writes, whatever happens; and nobody waits for a person who need not."""

import signal
from pathlib import Path

import pytest
from bench import EXPORT, SERVER
from nbd_kernel import ConnectionLost
from waiting import wait_for


def plain(laptop):
    """Return the addresses that the laptop's firewall lets reach the disk without a tunnel."""
    found = laptop.run("nft", "list", "set", "inet", "stiefel", "plain")
    return found.partition("elements = {")[2].partition("}")[0].replace(",", " ").split()


def test_without_encryption_a_restarted_agent_lets_only_one_address_in(bench):
    laptop, tower = bench.laptop(encryption="none"), bench.desktop("tower")
    tower.boots()
    laptop.kill(SERVER, signal.SIGKILL)
    laptop.hears("event=server_ready", times=2)
    second = bench.desktop("second")
    second.role("client")
    second.hears("in use by tower")
    assert len(plain(laptop)) == 1


@pytest.mark.fault("F14")
@pytest.mark.parametrize("encryption", ["wireguard", "none"])
def test_a_fenced_desktops_connections_are_dead_before_another_has_the_disk(bench, encryption):
    laptop, tower = bench.laptop(encryption=encryption), bench.desktop("tower")
    disk = tower.boots()
    disk.write(0, b"tower".ljust(512))
    laptop.terminal.press("ey")
    laptop.hears("event=ended_here desktop=tower")
    heir = bench.desktop("heir")
    heir.boots().write(0, b"heir".ljust(512))
    assert len(plain(laptop)) == (encryption == "none")
    for connection in disk.connections:
        with pytest.raises(ConnectionLost):
            connection.socket.settimeout(1)
            connection.ask(1, 0, data=b"ghost".ljust(512))
            connection.answer()
    assert laptop.content(0, 4) == b"heir"


def test_a_desktop_whose_ready_was_lost_begins_again_by_itself(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    desktop.receives()
    laptop.hears("event=exported desktop=tower")
    desktop.off()  # before its target has written anything
    again = bench.desktop("tower")
    again.boots().write(0, bytes(512))
    laptop.hears("event=exported desktop=tower", times=2)


@pytest.mark.fault("F14")
def test_a_desktop_that_has_written_does_not_begin_again_by_itself(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    desktop.boots().write(0, bytes(512))
    desktop.off()
    again = bench.desktop("tower")
    again.role("client")
    again.hears("in use by tower")
    assert laptop.said().count("event=exported") == 1


def test_another_desktop_with_the_same_stick_does_not_take_over_what_was_lost(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    desktop.receives()
    laptop.hears("event=exported desktop=tower")
    other = bench.desktop("other")
    other.role("client")
    other.hears("in use by tower")


@pytest.mark.parametrize("fault", ["", "ignore "], ids=["fails", "lies"])
def test_nobody_gets_the_disk_while_the_session_before_is_not_closed_for_certain(bench, fault):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    desktop.boots()
    with laptop.refuses(f"{fault}stop {EXPORT}"):
        laptop.terminal.press("ey")
        laptop.hears("event=not_fenced")
        heir = bench.desktop("heir")
        heir.role("client")
        heir.hears("in use by tower")
        assert "event=ended_here" not in laptop.said()
    laptop.hears("event=ended_here desktop=tower")
    laptop.hears("event=exported desktop=heir")


def test_an_export_that_fails_is_cleared_away_and_tried_again(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    laptop.refuse(f"start {EXPORT}")
    desktop.boots().write(0, bytes(512))
    before, failed, after = laptop.said().partition("could not be offered")
    assert failed
    assert "event=exported" not in before
    assert "event=exported desktop=tower" in after


def test_each_of_two_laptops_with_one_key_serves_one_desktop_and_goes_home_with_it(bench):
    laptops = bench.laptop(), bench.laptop("other", laptop="bert")
    desktops = bench.desktop("tower"), bench.desktop("heir")
    for desktop in desktops:
        desktop.boots().write(0, desktop.name.encode().ljust(512))
    served = {desktop.name: laptop for desktop in desktops for laptop in laptops if is_of(laptop, desktop)}
    assert set(served) == {"tower", "heir"}
    assert served["tower"] is not served["heir"]
    for desktop in desktops:
        assert desktop.releases() == 0
        served[desktop.name].hears(f"event=released desktop={desktop.name}")


def test_a_laptop_in_its_own_system_is_left_alone_while_a_server_of_the_same_key_waits(bench):
    """Whoever is asked shuts down what it is doing: nobody is, while there is a server that only has to answer."""
    server, desktop = bench.laptop(), bench.desktop(patience={"client.choice.LISTEN_SECONDS": 600.0})
    other = bench.goes_home(bench.laptop("other"), serial="bert's own")
    with server.stands_still():
        client = desktop.role("client")
        wait_for(lambda: datagrams_read(desktop), "the desktop has heard of the laptop in its own system")
    assert client.wait() == 0
    server.hears("event=exported desktop=tower")
    assert "event=called" not in other.said()


def datagrams_read(machine):
    """Return how many datagrams the programs of a machine have read."""
    counters = dict(line.split() for line in Path(f"/proc/{machine.pid}/net/snmp6").read_text().splitlines())
    return int(counters["Udp6InDatagrams"])


def is_of(laptop, desktop):
    """Whether a desktop has written on this laptop's disk, and no other one has."""
    return laptop.content(0, 512) == desktop.name.encode().ljust(512)
