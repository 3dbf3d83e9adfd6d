"""The tunnel in the keeper's hands: what is done to it, and in which order."""

from types import SimpleNamespace

import pytest

from stiefel_agent.machine.wireguard import STALE_SECONDS
from stiefel_agent.target import conduit

WIRE = SimpleNamespace(port=61572, peer_public_key="key", address="fd73::2", peer_address="fd73::1")
TUNNEL = SimpleNamespace(index=9)


class Way:
    """A cable that writes down what is done to the tunnel over it."""

    def __init__(self):
        self.cable, self.done = SimpleNamespace(index=3), []
        self.inner = SimpleNamespace(
            find=lambda _name: TUNNEL,
            hold_back=lambda index: self.done.append(("hold back", index)),
            let_go=lambda index: self.done.append(("let go", index)),
            begin_anew=lambda *what: self.done.append(("begin anew", *what)),
        )

    def link(self):
        return self.cable


@pytest.fixture
def way(monkeypatch):
    way = Way()
    monkeypatch.setattr(conduit.wireguard, "set_endpoint", lambda _, *where: way.done.append(where))
    return way


def laid(way, wire=WIRE):
    return conduit.Conduit(SimpleNamespace(wireguard=wire, server="fe80::1"), way)


def test_a_short_cut_costs_no_keys(way):
    tunnel = laid(way)
    tunnel.hold_back()
    tunnel.let_go(STALE_SECONDS - 1)
    tunnel.begin_anew(STALE_SECONDS - 1)
    assert way.done == [("hold back", 9), ("let go", 9)]


def test_after_a_long_cut_a_handshake_begins_by_the_new_cable_before_anything_is_sent(way):
    tunnel = laid(way)
    way.cable = SimpleNamespace(index=4)
    for _ in range(2):
        tunnel.let_go(STALE_SECONDS + 1)
    anew = [("begin anew", 9, "fd73::2", "fd73::1"), ("let go", 9)]
    assert way.done == [("stiefeltunnel", "key", ("fe80::1", 61572, 0, 4)), *anew, *anew]


def test_without_encryption_there_is_nothing_to_do(way):
    tunnel = laid(way, wire=None)
    tunnel.hold_back()
    tunnel.let_go(1000)
    tunnel.begin_anew(1000)
    assert way.done == []
