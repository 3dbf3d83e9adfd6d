"""Which laptop a desktop turns to: one only, and none while a server with its key waits."""

from collections.abc import Iterable

import pytest
from pairing import AUTOKEXEC, CLIENT_INTERFACE, KEY, SERVER, STICK

from stiefel_agent.client.choice import BUSY_SECONDS, LISTEN_SECONDS, MOVED_SECONDS, Asked, Choice, Turn
from stiefel_agent.protocol.discovery import Address, Answerer, Challenged, Datagram, Exchange, Seeker
from stiefel_agent.protocol.messages import Challenge, Stage

FIRST: Address = ("fe80::1", 61570, 0, CLIENT_INTERFACE)
SECOND: Address = ("fe80::2", 61570, 0, CLIENT_INTERFACE)
THIRD: Address = ("fe80::3", 61570, 0, CLIENT_INTERFACE)
EXCHANGE = Exchange(STICK, bytes(16), bytes(16))


def asks(laptop: str, source: Address) -> Challenged:
    """An answer of a laptop's normal system."""
    return Challenged(EXCHANGE, source, Challenge(Stage.AUTOKEXEC, laptop))


def waits(laptop: str, source: Address) -> Challenged:
    """An answer of a server."""
    return Challenged(EXCHANGE, source, Challenge(Stage.SERVER, laptop, 61570))


@pytest.fixture
def choice() -> Choice:
    """One that has begun to call on one interface, at 0."""
    made = Choice()
    made.begin()
    made.called(CLIENT_INTERFACE, 0.0)
    return made


def test_an_interface_is_new_until_it_was_called_in_this_search(choice: Choice) -> None:
    assert not choice.is_new(CLIENT_INTERFACE)
    assert choice.is_new(CLIENT_INTERFACE + 1)
    choice.begin()
    assert choice.is_new(CLIENT_INTERFACE)


def test_a_second_laptop_is_not_asked_however_long_the_first_takes(choice: Choice) -> None:
    assert choice.turn(asks("anna", FIRST), 10.0) is Turn.PROVE
    assert choice.turn(asks("berta", SECOND), 1000.0) is Turn.WAIT
    assert choice.turn(asks("anna", FIRST), 1000.0) is Turn.PROVE


def test_a_laptop_of_the_same_name_is_another_one_while_the_first_answers() -> None:
    asked = Asked("anna", FIRST, heard=100.0)
    assert not asked.is_in(asks("anna", SECOND), 100.0 + MOVED_SECONDS)


def test_a_laptop_whose_address_changed_is_asked_on() -> None:
    asked = Asked("anna", FIRST, heard=100.0)
    assert asked.is_in(asks("anna", SECOND), 100.1 + MOVED_SECONDS)
    assert asked.is_in(asks("anna", FIRST), 101.0)


def test_nobody_is_asked_before_a_waiting_server_had_its_time_to_answer(choice: Choice) -> None:
    assert choice.turn(asks("anna", FIRST), LISTEN_SECONDS - 0.1) is Turn.WAIT
    assert choice.turn(asks("anna", FIRST), LISTEN_SECONDS) is Turn.PROVE


def test_a_server_is_dialled_at_once(choice: Choice) -> None:
    assert choice.turn(waits("berta", SECOND), 0.0) is Turn.DIAL


def test_a_server_behind_an_adapter_that_came_late_has_its_time_too(choice: Choice) -> None:
    choice.called(CLIENT_INTERFACE + 1, 2.0)
    choice.called(CLIENT_INTERFACE + 1, 4.0)
    assert choice.turn(asks("anna", FIRST), 2.0 + LISTEN_SECONDS - 0.1) is Turn.WAIT
    assert choice.turn(asks("anna", FIRST), 2.0 + LISTEN_SECONDS) is Turn.PROVE


def test_each_search_listens_anew(choice: Choice) -> None:
    assert choice.turn(asks("anna", FIRST), 10.0) is Turn.PROVE
    choice.begin()
    choice.called(CLIENT_INTERFACE, 20.0)
    assert choice.turn(asks("anna", FIRST), 20.1) is Turn.WAIT
    assert choice.turn(waits("berta", SECOND), 20.2) is Turn.DIAL


def test_a_busy_server_does_not_keep_the_other_laptop_from_being_asked(choice: Choice) -> None:
    choice.busy(waits("anna", FIRST), 0.0)
    assert choice.turn(waits("anna", FIRST), 1.0) is Turn.WAIT
    assert choice.turn(asks("berta", SECOND), LISTEN_SECONDS) is Turn.PROVE
    assert choice.turn(waits("anna", FIRST), LISTEN_SECONDS + 1) is Turn.WAIT
    assert choice.turn(waits("berta", SECOND), 40.0) is Turn.DIAL


def test_a_busy_server_is_tried_again_when_it_is_the_only_one_or_a_while_later(choice: Choice) -> None:
    choice.busy(waits("anna", FIRST), 0.0)
    assert choice.turn(waits("anna", FIRST), LISTEN_SECONDS) is Turn.DIAL
    assert choice.turn(asks("berta", SECOND), LISTEN_SECONDS) is Turn.PROVE
    assert choice.turn(waits("anna", FIRST), BUSY_SECONDS - 1) is Turn.WAIT
    assert choice.turn(waits("anna", FIRST), BUSY_SECONDS) is Turn.DIAL


def _first_turn(laptops: Iterable[tuple[Address, Challenge, float]]) -> tuple[Turn, str]:
    """Beacon each second at laptops (address, what they say, after how long), and act as the client does."""
    seeker, choice, now = Seeker(STICK), Choice(), 0.0
    answerers = [(Answerer([KEY], says), source, delay) for source, says, delay in laptops]
    choice.begin()
    while now < 30:
        beacon = seeker.beacon(CLIENT_INTERFACE, now)
        choice.called(CLIENT_INTERFACE, now)
        for answerer, source, delay in sorted(answerers, key=lambda one: one[2]):
            sent = answerer.receive(beacon, ("fe80::9", 1, 0, 3), now)
            assert isinstance(sent, Datagram)
            heard = seeker.receive(sent.data, source, now + delay)
            assert isinstance(heard, Challenged)
            turn = choice.turn(heard, now + delay)
            if turn is not Turn.WAIT:
                return turn, source[0]
        now += 1
    raise AssertionError("nobody was turned to")


def test_of_two_laptops_with_one_key_the_one_in_its_normal_system_is_left_alone_while_a_server_waits() -> None:
    quick, slow = (FIRST, AUTOKEXEC, 0.001), (SECOND, SERVER, 0.9)
    assert _first_turn([quick, slow]) == (Turn.DIAL, "fe80::2")
    assert _first_turn([quick, (THIRD, AUTOKEXEC, 0.5), slow]) == (Turn.DIAL, "fe80::2")
    assert _first_turn([quick, (THIRD, AUTOKEXEC, 0.5)]) == (Turn.PROVE, "fe80::1")


def test_an_interface_is_called_in_vain_from_its_first_beacon_on() -> None:
    """A cable that is plugged in late has its time, too."""
    choice = Choice()
    choice.begin()
    choice.called(3, 100.0)
    choice.called(4, 120.0)
    choice.called(3, 129.0)
    assert choice.called_in_vain(130.0, 30.0) == set()
    assert choice.called_in_vain(131.0, 30.0) == {3}
