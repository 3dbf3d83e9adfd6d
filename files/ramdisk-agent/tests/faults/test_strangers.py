"""Who is in the target and not its root, and who is on the cable without the key, gets no byte of the disk."""

import socket
from contextlib import suppress

import pytest
from bench import EXPORT, connected

from stiefel_agent.errors import DiskRefused, DiskUnreachable
from stiefel_agent.protocol.keys import Key
from stiefel_agent.protocol.meeting import PORT
from stiefel_agent.server import export, releases

ETH_P_IPV6 = 0x86DD  # linux/if_ether.h
UDP = 17  # the seventh byte of an IPv6 packet (RFC 8200, next header)


@pytest.mark.fault("F29")
def test_an_export_of_any_other_name_is_refused_in_words(bench):
    bench.laptop()
    desktop = bench.desktop()
    desktop.boots()
    for name in ("disk", "", "0" * 32):
        with pytest.raises(DiskUnreachable, match="knows no such export"):
            desktop.dial(name)


def test_a_disk_that_is_only_offered_with_tls_is_refused_in_words(bench):
    """Nobody of ours does that; but a target must not try for ever what cannot succeed."""
    laptop, desktop = bench.laptop(), bench.desktop()
    desktop.receives()
    session = desktop.session()
    (laptop.folder / "run/psk").write_text("stiefel:" + "00" * 32 + "\n")
    with laptop.refuses(f"start {EXPORT}"):
        laptop.run("systemctl", "stop", EXPORT)
        tls = ("--tls=require", "--tls-psk=/run/psk")
        where = (f"--ipaddr={session.server_host}", f"--port={session.nbd.port}", "--pidfile=/run/nbdkit.pid")
        laptop.run("nbdkit", *tls, *where, "file", laptop.disk)
        desktop.role("attach")
        desktop.hears("it wants TLS")


def test_a_sessions_connections_are_limited_in_number(bench):
    bench.laptop(connections=2)
    desktop = bench.desktop()
    desktop.boots()
    dialled = []
    with pytest.raises((DiskRefused, DiskUnreachable)):
        while len(dialled) < 16:
            dialled.append(desktop.dial())


@pytest.mark.fault("F29")
def test_a_stranger_on_the_cable_gets_no_answer(bench):
    laptop, stranger = bench.laptop(), bench.desktop("stranger", key=Key.generate("stick"))
    ears = stranger.inside(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IPV6)))
    stranger.role("client")
    stranger.hears("event=beacon")
    for port in (export.PORT, releases.PORT):
        with pytest.raises(TimeoutError):
            stranger.inside(lambda port=port: connected(laptop.address(), port, seconds=0.5))
    closed = 22  # from the port whose answers a client hears, too: a connection's first packet is no answer
    with pytest.raises(TimeoutError):
        stranger.inside(lambda: connected(laptop.address(), closed, seconds=0.5, own_port=PORT))
    assert "event=challenged" not in stranger.said()
    with ears:
        assert not [True for packet, kind in received(ears) if kind == socket.PACKET_HOST and packet[6] == UDP]


def received(ears):
    """Yield the packets that have come to a machine so far: each and whom it was for (packet(7))."""
    ears.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            packet, (_interface, _protocol, kind, *_) = ears.recvfrom(2048)
            yield packet, kind


def test_a_sessions_record_is_for_root_and_holds_no_token(bench):
    laptop, desktop = bench.laptop(), bench.desktop()
    desktop.boots()
    assert laptop.record.stat().st_mode & 0o777 == 0o600
    assert desktop.session().release.token not in laptop.record.read_text()
