"""Who is in the target and not its root, and who is on the cable without the key, gets no byte of the disk."""

import pytest
from bench import connected

from stiefel_agent.errors import DiskRefused, DiskUnreachable
from stiefel_agent.protocol.keys import Key
from stiefel_agent.server import export, releases


def test_an_export_of_any_other_name_is_refused(bench):
    bench.laptop()
    desktop = bench.desktop()
    desktop.boots()
    for name in ("disk", "", "0" * 32):
        with pytest.raises((DiskRefused, DiskUnreachable)):
            desktop.dial(name)


def test_a_sessions_connections_are_limited_in_number(bench):
    bench.laptop(connections=2)
    desktop = bench.desktop()
    desktop.boots()
    dialled = []
    with pytest.raises((DiskRefused, DiskUnreachable)):
        while len(dialled) < 16:
            dialled.append(desktop.dial())


def test_a_stranger_on_the_cable_gets_no_answer(bench):
    laptop, stranger = bench.laptop(), bench.desktop("stranger", key=Key.generate("stick"))
    stranger.role("client")
    stranger.hears("event=beacon")
    for port in (export.PORT, releases.PORT):
        with pytest.raises(TimeoutError):
            stranger.inside(lambda port=port: connected(laptop.address(), port, seconds=0.5))
    assert "event=challenged" not in stranger.said()
