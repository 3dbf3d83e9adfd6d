"""That session is over: who can say so, to whom, and when."""

from dataclasses import replace

import pytest
from pairing import CLIENT, GRANT, KEY, LAPTOP_IDENTITY, OTHER_KEY, SERVER, Conversation, Drawn

from stiefel_agent.protocol import over
from stiefel_agent.protocol.crypto import KeyPair, derive, digest
from stiefel_agent.protocol.discovery import Answerer, Datagram
from stiefel_agent.protocol.keys import Key
from stiefel_agent.protocol.messages import DATAGRAM_SIZE, Kind, laptop_of, open_datagram

PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
"""Of P-256's field."""


def never(_):
    return False


@pytest.fixture
def session():
    """A session that was granted, and what its server would know of it."""
    conversation = Conversation()
    conversation.finish()
    return conversation


def hash_of(session):
    return digest(session.server.over_key(GRANT.laptop))


def test_a_laptop_that_has_forgotten_everything_says_that_the_session_is_over(session):
    assert over.Witness([KEY], LAPTOP_IDENTITY, never).hear(session.granted.question) == session.granted.over


def test_a_server_does_not_say_so_of_the_session_that_it_holds(session):
    held = hash_of(session)
    witness = over.Witness([KEY], LAPTOP_IDENTITY, lambda known: known == held)
    assert witness.hear(session.granted.question) is None
    other = Conversation(client_random=Drawn("another"))
    other.finish()
    assert witness.hear(other.granted.question) == other.granted.over


def test_who_has_the_stick_cannot_have_it_said_of_a_session_that_goes_on(session):
    """The agreement's secret is the same for a point and its mirror image: it is not the point that is compared."""
    held, public = hash_of(session), session.client._ephemeral.public
    mirrored = public[:33] + (PRIME - int.from_bytes(public[33:], "big")).to_bytes(32, "big")
    witness = over.Witness([KEY], LAPTOP_IDENTITY, lambda known: known == held)
    assert witness.hear(over.question(KEY.secret, mirrored, GRANT.laptop, bytes(16))) is None


def test_another_laptop_with_the_same_keys_says_nothing(session):
    """A fleet has one key file: the laptop beside ours may be at home while ours is a server."""
    assert over.Witness([KEY], "/dev/disk/by-id/nvme-other", never).hear(session.granted.question) is None


def test_another_laptop_that_is_asked_by_its_own_name_does_not_give_our_answer_away(session):
    other = "/dev/disk/by-id/nvme-other"
    nonce = session.granted.question[1:17]
    public, laptop = session.client._ephemeral.public, laptop_of(KEY.secret, other)
    said = over.Witness([KEY], other, never).hear(over.question(KEY.secret, public, laptop, nonce))
    assert said
    assert said != session.granted.over


def test_who_plays_the_laptop_without_its_private_key_says_something_else(session):
    impostor = Key(KEY.name, KEY.secret, OTHER_KEY.laptop_private)
    said = over.Witness([impostor], LAPTOP_IDENTITY, never).hear(session.granted.question)
    assert said
    assert said != session.granted.over


def test_a_laptop_that_nothing_tells_from_others_neither_promises_nor_answers():
    class Nameless(Conversation):
        def _answer(self):
            asked = self.deliver(self.messages[-1])
            self.asked = asked
            return self.server.grant(replace(GRANT, laptop=bytes(16)))

    session = Nameless()
    session.finish()
    assert (session.granted.question, session.granted.over) == (b"", b"")
    asked = over.question(KEY.secret, KeyPair().public, bytes(16), bytes(16))
    assert over.Witness([KEY], "", never).hear(asked) is None


@pytest.mark.parametrize("place", range(DATAGRAM_SIZE))
def test_a_question_that_was_changed_is_none(session, place):
    asked = bytearray(session.granted.question)
    asked[place] ^= 1
    assert over.Witness([KEY], LAPTOP_IDENTITY, never).hear(bytes(asked)) is None


def test_a_point_off_the_curve_is_no_question():
    asked = over.question(KEY.secret, b"\4" + bytes(range(64)), GRANT.laptop, bytes(16))
    assert over.Witness([KEY], LAPTOP_IDENTITY, never).hear(asked) is None


def test_it_is_heard_among_all_other_datagrams_again_and_again_and_not_without_end(session):
    answerer = Answerer([OTHER_KEY, KEY], SERVER, witness=over.Witness([OTHER_KEY, KEY], LAPTOP_IDENTITY, never))
    said = [answerer.receive(session.granted.question, CLIENT, second) for second in (0.0, 1.0, 2.0)]
    assert said == [Datagram(session.granted.over, CLIENT)] * 3
    flood = [answerer.receive(session.granted.question, CLIENT, 3.0) for _ in range(1000)]
    assert sum(bool(one) for one in flood) < 100
    assert answerer.receive(session.granted.question, ("2001:db8::1", 1, 0, 3), 100.0) is None


def test_without_a_witness_nobody_hears_anything(session):
    assert Answerer([KEY], SERVER).receive(session.granted.question, CLIENT, 0.0) is None


def test_neither_question_nor_answer_says_anything_to_who_has_no_key(session):
    first, second = session.granted.question, session.granted.over
    assert len(first) == len(second) == DATAGRAM_SIZE
    for kind in Kind:
        with pytest.raises(Exception, match="sealed with another key"):
            open_datagram(derive(OTHER_KEY.secret, kind.label), kind, b"", first)


def test_what_is_remembered_is_bounded():
    witness = over.Witness([KEY], LAPTOP_IDENTITY, never)
    public = KeyPair().public
    for number in range(2 * over.QUESTIONS_REMEMBERED):
        witness.hear(over.question(KEY.secret, public, GRANT.laptop, number.to_bytes(16, "big")))
    assert len(witness._known) == over.QUESTIONS_REMEMBERED
