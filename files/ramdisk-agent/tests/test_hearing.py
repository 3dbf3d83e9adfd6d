"""Whether a target is still heard, and when it is called: what wg says comes in here, and the time."""

from types import SimpleNamespace

import pytest

from stiefel_agent.server import hearing
from stiefel_agent.server.hearing import CALL_QUIET_SECONDS, Hearing

HELD = SimpleNamespace(source="fe80::2%eth0", facts=SimpleNamespace(wireguard_public_key=bytes(32)))
WIRED = [SimpleNamespace(name=name, carrier=True, address="fe80::1") for name in ("eth0", "usb0")]


class Looks:
    """Errands that are done at once, or not at all while they hang."""

    def __init__(self):
        self.hang, self.under_way = False, 0

    def send(self, errand, then):
        if self.hang:
            self.under_way += 1
        else:
            then(errand())


class Laptop:
    """A laptop at a time of its own: what its tunnel has counted, and whom it has called."""

    def __init__(self, monkeypatch):
        self.now, self.received, self.sent, self.called = 100.0, 1000, 1000, []
        self.looks = Looks()
        monkeypatch.setattr(hearing.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(hearing.tunnel, "transferred", lambda: (self.received, self.sent))
        monkeypatch.setattr(hearing.tunnel, "call", lambda _peer, way: self.called.append(way))
        monkeypatch.setattr(hearing.link, "wired", lambda: WIRED)
        self.hearing = Hearing(self.looks, encrypted=True)
        self.hearing.begin(HELD)
        self.goes_on(0)

    def goes_on(self, seconds, received=0):
        """Let time pass, with so many bytes of the target in it, and then let the laptop listen."""
        self.now += seconds
        self.received += received
        self.hearing.listen(self.now)


@pytest.fixture
def laptop(monkeypatch):
    return Laptop(monkeypatch)


def test_only_what_comes_in_ends_a_silence(laptop):
    for _ in range(5):
        laptop.sent += 100
        laptop.goes_on(1)
    assert laptop.hearing.silent() == 5
    laptop.goes_on(1, received=32)
    assert laptop.hearing.silent() == 0


def test_nobody_is_silent_for_as_long_as_nobody_can_look(laptop):
    laptop.goes_on(1, received=32)
    laptop.looks.hang = True
    laptop.goes_on(1)
    laptop.goes_on(600)
    assert laptop.hearing.silent() == 0


def test_a_target_that_has_been_quiet_for_long_is_called_on_one_interface_after_the_other(laptop):
    for _ in range(int(CALL_QUIET_SECONDS) - 1):
        laptop.goes_on(1)
    assert not laptop.called
    for _ in range(8):
        laptop.goes_on(1)
    assert set(laptop.called) == {"fe80::2%eth0", "fe80::2%usb0"}


def test_after_a_change_of_the_links_a_target_is_called_though_it_spoke_just_before_that(laptop):
    laptop.now += 0.5
    laptop.received += 32  # and then its adapter went away
    laptop.hearing.link_changed()
    laptop.goes_on(0.1)
    laptop.goes_on(0.1)
    assert laptop.called


def test_a_target_that_goes_on_speaking_after_a_change_of_the_links_is_left_alone(laptop):
    laptop.hearing.link_changed()
    for _ in range(5):
        laptop.goes_on(1, received=32)
    assert not laptop.called


def test_what_was_heard_of_the_session_before_says_nothing_of_this_one(laptop):
    other = SimpleNamespace(source="fe80::3%eth0", facts=HELD.facts)
    late = []
    laptop.looks.send = lambda errand, then: late.append((errand, then))
    laptop.goes_on(1, received=32)
    laptop.hearing.begin(other)
    for errand, then in late:
        then(errand())
    assert laptop.hearing.moved is None
