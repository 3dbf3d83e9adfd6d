"""Which laptop a desktop asks."""

from stiefel_agent.client.client import MOVED_SECONDS, Asked
from stiefel_agent.protocol.discovery import Address, Challenged, Exchange
from stiefel_agent.protocol.keys import Key
from stiefel_agent.protocol.messages import Challenge, Stage

FIRST: Address = ("fe80::1", 61570, 0, 3)
SECOND: Address = ("fe80::2", 61570, 0, 3)
EXCHANGE = Exchange(Key.generate("red").for_stick(), bytes(16), bytes(16))


def challenged(laptop: str, source: Address) -> Challenged:
    return Challenged(EXCHANGE, source, Challenge(Stage.AUTOKEXEC, laptop))


def test_a_second_laptop_is_not_asked_however_long_the_first_takes() -> None:
    asked = Asked("anna", FIRST, heard=0.0)
    assert not asked.is_in(challenged("berta", SECOND), 1000.0)


def test_a_laptop_of_the_same_name_is_another_one_while_the_first_answers() -> None:
    asked = Asked("anna", FIRST, heard=100.0)
    assert not asked.is_in(challenged("anna", SECOND), 100.0 + MOVED_SECONDS)


def test_a_laptop_whose_address_changed_is_asked_on() -> None:
    asked = Asked("anna", FIRST, heard=100.0)
    assert asked.is_in(challenged("anna", SECOND), 100.1 + MOVED_SECONDS)
    assert asked.is_in(challenged("anna", FIRST), 101.0)
