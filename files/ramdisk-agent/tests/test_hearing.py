"""Whether a target is still heard, and when it is called: what wg says comes in here, and the time."""

from types import SimpleNamespace

import pytest

from stiefel_agent.machine.wireguard import STALE_SECONDS
from stiefel_agent.server import hearing
from stiefel_agent.server.hearing import CALL_QUIET_SECONDS, CALL_SECONDS, Hearing

HELD = SimpleNamespace(source="fe80::2%eth0", facts=SimpleNamespace(wireguard_public_key=bytes(32)))
ETH0, USB0 = (SimpleNamespace(index=index, carrier=True, address="fe80::1") for index in (2, 3))
DARK = SimpleNamespace(index=4, carrier=False, address=None)


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
        self.anew = []
        """Of the calls, those for which keys are made anew."""
        self.looks = Looks()
        monkeypatch.setattr(hearing.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(hearing.tunnel, "transferred", lambda: (self.received, self.sent))
        monkeypatch.setattr(hearing.tunnel, "call", self.call)
        self.hearing = Hearing(self.looks, encrypted=True)
        self.hearing.link_changed([ETH0, DARK])
        self.hearing.begin(HELD)
        self.goes_on(0)

    def call(self, _peer, way, *, anew):
        self.called.append(way)
        self.anew += [way] if anew else []

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
    laptop.hearing.link_changed([ETH0, USB0])
    laptop.goes_on(1, received=32)
    laptop.goes_on(0, received=32)
    for _ in range(int(CALL_QUIET_SECONDS) - 1):
        laptop.goes_on(1)
    assert not laptop.called
    for _ in range(8):
        laptop.goes_on(1)
    assert set(laptop.called) == {"fe80::2%2", "fe80::2%3"}


def test_after_a_change_of_the_links_a_target_is_called_though_it_spoke_just_before_that(laptop):
    laptop.now += 0.5
    laptop.received += 32  # and then its adapter went away
    laptop.hearing.link_changed([USB0])
    laptop.goes_on(0.1)
    laptop.goes_on(0.1)
    assert laptop.called


def test_a_target_that_is_missing_is_called_on_a_new_interface_in_the_moment_it_is_there(laptop):
    laptop.goes_on(1, received=32)
    laptop.now += 0.5
    laptop.hearing.link_changed([])
    for _ in range(10):
        laptop.goes_on(1)
    assert not laptop.called  # by what?
    laptop.now += 0.01
    laptop.hearing.link_changed([ETH0])
    laptop.hearing.link_changed([USB0, ETH0])  # too soon after the first
    assert laptop.called == ["fe80::2%2"]
    laptop.goes_on(1)
    assert laptop.called[1] == "fe80::2%3"  # the newest comes first


def test_a_change_that_changes_no_way_to_the_target_is_none(laptop):
    laptop.goes_on(1, received=32)
    laptop.hearing.link_changed([ETH0])
    laptop.goes_on(1)
    laptop.goes_on(1)
    assert not laptop.called


def test_keys_are_made_anew_where_they_may_be_too_old_and_only_by_the_side_whose_link_is_back(laptop):
    laptop.hearing.link_changed([])
    for _ in range(int(STALE_SECONDS) - 1):
        laptop.goes_on(1)
    laptop.hearing.link_changed([ETH0])
    assert (len(laptop.called), laptop.anew) == (1, [])
    laptop.hearing.link_changed([])
    for _ in range(3):
        laptop.goes_on(1)
    laptop.hearing.link_changed([ETH0])
    laptop.goes_on(0.1)
    assert (len(laptop.called), len(laptop.anew)) == (2, 1)
    for _ in range(60):
        laptop.goes_on(1)
    assert (len(laptop.called) > 60 / CALL_SECONDS, len(laptop.anew)) == (True, 3)


def test_a_target_that_has_begun_anew_itself_keeps_its_new_keys(laptop):
    laptop.hearing.link_changed([])
    for _ in range(int(STALE_SECONDS) + 5):
        laptop.goes_on(1)
    laptop.hearing.link_changed([ETH0])
    for _ in range(3):
        laptop.goes_on(0.1, received=148)
    assert not laptop.anew


def test_a_target_that_goes_on_speaking_after_a_change_of_the_links_is_left_alone(laptop):
    laptop.hearing.link_changed([USB0, ETH0])
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
