import os
from dataclasses import replace
from io import BytesIO
from itertools import cycle, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairing import FACTS, GRANT, KEY, OTHER_KEY, OTHER_STICK, STICK, Conversation, Drawn, Pair

from stiefel_agent.errors import HandshakeError, MessageError, SealError
from stiefel_agent.protocol import handshake
from stiefel_agent.protocol.crypto import KeyPair, derive, seal
from stiefel_agent.protocol.discovery import CHALLENGE_SECONDS, Exchange
from stiefel_agent.protocol.handshake import (
    Asked,
    ClientHandshake,
    Granted,
    Received,
    Secrets,
    Send,
    ServerHandshake,
    State,
)
from stiefel_agent.protocol.keys import Key
from stiefel_agent.protocol.messages import (
    CLIENT_HELLO_SIZE,
    RECORD_SIZE,
    SERVER_HELLO_SIZE,
    VERSION,
    Busy,
    Facts,
    Kind,
)

FIXED = KeyPair(12345), KeyPair(67890)
"""Ephemeral keys are slow to make; tests that do not look at them share these."""
COUNT = len(Conversation.NAMES)


def _talk(**options) -> Conversation:
    return Conversation(**({"ephemerals": FIXED} | options))


# What people rely on


def test_a_granted_session_agrees_on_everything():
    conversation = _talk()
    conversation.finish()
    asked, granted = conversation.asked, conversation.granted
    assert asked
    assert granted
    assert (asked.facts, asked.key_name) == (FACTS, "stick")
    assert (granted.grant, granted.rest) == (GRANT, b"")
    assert granted.secrets == asked.secrets
    assert (conversation.client.state, conversation.server.state) == (State.DONE, State.DONE)
    secrets = granted.secrets.bundle_key, granted.secrets.preshared_key, granted.secrets.release_token
    assert len({*secrets, KEY.secret}) == 4
    assert {len(secret) for secret in secrets} == {32}


def test_the_server_may_give_the_disk_without_encryption():
    conversation = _talk().run(3)
    conversation.deliver(conversation.messages[-1])
    granted = conversation.client.feed(conversation.server.grant(replace(GRANT, tunnel=None)))
    assert isinstance(granted, Granted)
    assert granted.grant.tunnel is None


def test_a_second_desktop_is_told_who_holds_the_disk_and_since_when():
    conversation = _talk().run(3)
    assert isinstance(conversation.deliver(conversation.messages[-1]), Asked)
    busy = Busy("OptiPlex", 4242)
    assert conversation.client.feed(conversation.server.refuse(busy)) == busy
    assert (conversation.client.state, conversation.server.state) == (State.DONE, State.DONE)
    with pytest.raises(HandshakeError):
        conversation.client.feed(b"more")


@given(st.binary(max_size=1000))
def test_what_follows_the_grant_belongs_to_the_bundle(rest):
    conversation = _talk().run(4)
    granted = conversation.client.feed(conversation.messages[-1] + rest)
    assert isinstance(granted, Granted)
    assert granted.rest == rest


@given(st.integers(1, COUNT), st.lists(st.integers(1, 300), min_size=1))
def test_messages_may_arrive_in_any_pieces(count, sizes):
    conversation = _talk().run(count)
    stream = BytesIO(conversation.messages[-1])
    pieces = takewhile(bool, (stream.read(size) for size in cycle(sizes)))
    heard = [conversation.deliver(piece) for piece in pieces]
    assert heard[-1] is not None
    assert set(heard[:-1]) <= {None}


def test_sizes_are_those_of_the_document():
    conversation = _talk()
    conversation.finish()
    assert [len(message) for message in conversation.messages] == [
        CLIENT_HELLO_SIZE,
        SERVER_HELLO_SIZE,
        *[RECORD_SIZE] * 4,
    ]
    assert (CLIENT_HELLO_SIZE, SERVER_HELLO_SIZE, RECORD_SIZE) == (114, 97, 528)


# Who has no key, or something else in mind


@pytest.mark.parametrize("count", range(1, COUNT + 1), ids=Conversation.NAMES)
@settings(max_examples=40)
@given(data=st.data())
def test_a_changed_message_ends_the_attempt(count, data):
    conversation = _talk().run(count)
    changed = bytearray(conversation.messages[-1])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    _refused(conversation, bytes(changed))


@pytest.mark.parametrize("count", range(1, COUNT + 1), ids=Conversation.NAMES)
def test_a_message_with_something_behind_it_ends_the_attempt(count):
    conversation = _talk().run(count)
    if Conversation.NAMES[count - 1] != "answer":
        with pytest.raises(HandshakeError):
            conversation.deliver(conversation.messages[-1] + b"\0")


@pytest.mark.parametrize("count", range(1, COUNT + 1), ids=Conversation.NAMES)
def test_a_connection_that_closes_early_ends_the_attempt(count):
    conversation = _talk().run(count)
    assert conversation.deliver(conversation.messages[-1][:-1]) is None
    _refused(conversation, b"")


@pytest.mark.parametrize("count", range(1, COUNT + 1), ids=Conversation.NAMES)
@pytest.mark.parametrize("other", range(COUNT), ids=Conversation.NAMES)
def test_any_message_of_another_session_ends_the_attempt(count, other):
    """Same key, same nonces of discovery even: only the session's own randomness differs."""
    recorded = Conversation(client_random=os.urandom, server_random=os.urandom)
    recorded.finish()
    conversation = _talk().run(count)
    if (count, other) != (1, 0):
        _refused(conversation, recorded.messages[other])


@pytest.mark.parametrize("count", range(1, COUNT + 1), ids=Conversation.NAMES)
@pytest.mark.parametrize("other", range(COUNT), ids=Conversation.NAMES)
def test_any_other_message_of_the_same_session_ends_the_attempt(count, other):
    """Reordered, repeated and reflected: the same session is played twice, once to its end."""
    ended = _talk()
    ended.finish()
    conversation = _talk().run(count)
    assert conversation.messages == ended.messages[:count], "both are the same session"
    if other != count - 1:
        _refused(conversation, ended.messages[other])


def _refused(conversation: Conversation, data: bytes) -> None:
    side = conversation.server if len(conversation.messages) % 2 else conversation.client
    with pytest.raises(HandshakeError):
        # None: shorter than expected; then the attempt ends when the connection does
        assert conversation.deliver(data) is None
        conversation.deliver(b"")
    assert side.state is State.FAILED
    with pytest.raises(HandshakeError):
        conversation.deliver(conversation.messages[-1])
    assert side.state is State.FAILED


@given(st.integers(1, COUNT), st.binary(min_size=1, max_size=1200))
def test_garbage_ends_the_attempt_at_every_step(count, data):
    _refused(_talk().run(count), data)


def test_a_hello_of_another_version_ends_the_attempt():
    conversation = _talk().run(1)
    _refused(conversation, b"\1" + conversation.messages[0][1:])


def test_a_client_with_another_key_ends_the_attempt_and_leaves_the_challenge():
    pair = Pair()
    exchange = pair.challenged().exchange
    forger = ClientHandshake(replace(exchange, key=OTHER_STICK), FACTS)
    with pytest.raises(HandshakeError):
        ServerHandshake(pair.answerer.challenges).feed(forger.hello(), 0.0)
    honest = ClientHandshake(exchange, FACTS)
    assert isinstance(ServerHandshake(pair.answerer.challenges).feed(honest.hello(), 0.0), Send)


def test_a_server_with_another_key_ends_the_attempt():
    pair = Pair(laptop_keys=(OTHER_KEY,), client_key=OTHER_STICK)
    exchange = pair.challenged().exchange
    honest = ClientHandshake(replace(exchange, key=STICK), FACTS)
    honest.hello()
    helper = ClientHandshake(exchange, FACTS)
    sent = ServerHandshake(pair.answerer.challenges).feed(helper.hello(), 0.0)
    assert isinstance(sent, Send)
    with pytest.raises(HandshakeError):
        honest.feed(sent.data)


# Who has the stick's key, and would like to play its laptop


def _impostor() -> Key:
    """What a thief of the stick has: its key, and a pair of his own where the laptop's private half should be."""
    return Key(STICK.name, STICK.secret, OTHER_KEY.laptop_private)


def test_who_has_the_sticks_key_learns_nothing_as_its_laptop():
    pair = Pair(laptop_keys=(_impostor(),))
    desktop = ClientHandshake(pair.challenged().exchange, FACTS)
    impostor = ServerHandshake(pair.answerer.challenges)
    hello = impostor.feed(desktop.hello(), 0.0)
    assert isinstance(hello, Send)
    facts = desktop.feed(hello.data)
    assert isinstance(facts, Send)
    with pytest.raises(HandshakeError):
        impostor.feed(facts.data, 0.0)


@pytest.mark.parametrize("private", [OTHER_KEY.laptop_private, bytes(31) + b"\1"], ids=["own pair", "known pair"])
def test_who_has_the_sticks_key_can_neither_read_facts_nor_grant_a_disk_of_his_own(private):
    """In the middle, he answers the hello himself, and tries whatever he could compute."""
    pair = Pair()
    exchange = pair.challenged().exchange
    desktop, own = ClientHandshake(exchange, FACTS, ephemeral=FIXED[0]), FIXED[1]
    hello = desktop.hello()
    label = Kind.SERVER_HELLO.label
    sealed = seal(derive(STICK.secret, label), bytes(16), label + exchange.nonces + hello[17:33], own.public)
    facts = desktop.feed(bytes(16) + sealed)
    assert isinstance(facts, Send)
    client_public = FIXED[0].public
    for es in (bytes(32), KeyPair.of(private).agree(client_public), own.agree(STICK.laptop_public)):
        guess = handshake._Session(
            ee=own.agree(client_public),
            es=es,
            laptop_public=STICK.laptop_public,
            exchange=exchange,
            client_hello=hello,
            server_hello=bytes(16) + sealed,
        )
        with pytest.raises(SealError):
            guess.open(Kind.FACTS, facts.data)
        with pytest.raises(SealError):
            desktop._session.open(Kind.ANSWER, guess.seal(Kind.ANSWER, GRANT.encode()))
    with pytest.raises(HandshakeError):
        desktop.feed(guess.seal(Kind.ANSWER, GRANT.encode()))


def test_who_carries_hellos_between_desktop_and_laptop_with_the_sticks_key_is_a_desktop_and_no_more():
    """Two halves of a man in the middle: the laptop serves him as the stick's bearer, the desktop does not."""
    real, fake = Pair(), Pair(laptop_keys=(_impostor(),))
    desktop, towards_desktop = (
        ClientHandshake(fake.challenged().exchange, FACTS),
        ServerHandshake(fake.answerer.challenges),
    )
    towards_laptop, laptop = (
        ClientHandshake(real.challenged().exchange, FACTS),
        ServerHandshake(real.answerer.challenges),
    )
    served = laptop.feed(towards_laptop.feed(laptop.feed(towards_laptop.hello(), 0.0).data).data, 0.0)
    assert isinstance(served, Asked)
    facts = desktop.feed(towards_desktop.feed(desktop.hello(), 0.0).data)
    with pytest.raises(HandshakeError):
        towards_desktop.feed(facts.data, 0.0)
    with pytest.raises(HandshakeError):
        desktop.feed(laptop.grant(GRANT))


def test_a_stick_with_a_public_key_off_the_curve_ends_the_attempt():
    pair = Pair()
    exchange = replace(pair.challenged().exchange, key=replace(STICK, laptop_public=b"\4" + b"\1" * 64))
    conversation = _talk(pair=pair, client_exchange=exchange).run(2)
    _refused(conversation, conversation.messages[-1])


def test_a_challenge_makes_one_session():
    pair = Pair()
    hello = ClientHandshake(pair.challenged().exchange, FACTS).hello()
    servers = [ServerHandshake(pair.answerer.challenges) for _ in range(2)]
    assert isinstance(servers[0].feed(hello, 0.0), Send)
    with pytest.raises(HandshakeError):
        servers[1].feed(hello, 0.0)


def test_two_connections_with_one_challenge_make_one_session():
    pair = Pair()
    exchange = pair.challenged().exchange
    servers = [ServerHandshake(pair.answerer.challenges) for _ in range(2)]
    hellos = [ClientHandshake(exchange, FACTS).hello() for _ in range(2)]
    for server, hello in zip(servers, hellos, strict=True):
        assert server.feed(hello[:100], 0.0) is None
    assert isinstance(servers[0].feed(hellos[0][100:], 0.0), Send)
    with pytest.raises(HandshakeError):
        servers[1].feed(hellos[1][100:], 0.0)


def test_a_challenge_grows_old():
    pair = Pair()
    hello = ClientHandshake(pair.challenged().exchange, FACTS).hello()
    with pytest.raises(HandshakeError):
        ServerHandshake(pair.answerer.challenges).feed(hello, CHALLENGE_SECONDS)


def test_a_stranger_costs_the_server_no_cryptography(monkeypatch):
    server = ServerHandshake(Pair().answerer.challenges)
    for name in ("derive", "unseal", "seal", "KeyPair"):
        monkeypatch.setattr(handshake, name, lambda *_: pytest.fail("cryptography"))
    with pytest.raises(HandshakeError):
        server.feed(bytes([VERSION]) + Drawn("stranger")(CLIENT_HELLO_SIZE - 1), 0.0)


def test_who_knows_a_challenge_but_no_key_costs_the_server_no_public_key_work(monkeypatch):
    pair = Pair()
    exchange = pair.challenged().exchange
    hello = ClientHandshake(replace(exchange, key=OTHER_STICK), FACTS).hello()
    monkeypatch.setattr(handshake, "KeyPair", lambda *_: pytest.fail("public-key work"))
    with pytest.raises(HandshakeError):
        ServerHandshake(pair.answerer.challenges).feed(hello, 0.0)


# Secrets


def _secrets(**options) -> set[bytes]:
    conversation = Conversation(**options)
    conversation.finish()
    assert conversation.granted
    secrets = conversation.granted.secrets
    return {secrets.bundle_key, secrets.preshared_key, secrets.release_token}


def test_two_sessions_with_one_key_share_no_secret():
    fresh = {"client_random": os.urandom, "server_random": os.urandom}
    assert len(_secrets(**fresh) | _secrets(**fresh)) == 6


def test_secrets_depend_on_each_thing_that_made_them():
    """On the agreements above all: whoever has the key and a recording has everything here but those."""
    exchange = Exchange(KEY, b"c" * 16, b"s" * 16)
    inputs = {"ee": b"e" * 32, "es": b"s" * 32, "laptop_public": b"public", "exchange": exchange}
    inputs |= {"client_hello": b"hello", "server_hello": b"hello"}
    changes = [
        {},
        {"ee": b"E" * 32},
        {"es": b"S" * 32},
        {"laptop_public": b"Public"},
        {"exchange": replace(exchange, key=OTHER_KEY)},
        {"exchange": replace(exchange, client_nonce=b"C" * 16)},
        {"exchange": replace(exchange, server_nonce=b"S" * 16)},
        {"client_hello": b"Hello"},
        {"server_hello": b"Hello"},
    ]
    made = [handshake._Session(**inputs | change).secrets() for change in changes]
    assert len({getattr(secrets, name) for secrets in made for name in Secrets.__slots__}) == 3 * len(changes)


def test_ephemeral_keys_are_new_in_every_session():
    publics = {KeyPair().public for _ in range(4)}
    assert len(publics) == 4
    clients = [ClientHandshake(Pair().challenged().exchange, FACTS, Drawn("same")).hello() for _ in range(2)]
    assert clients[0] != clients[1]
    assert clients[0][:33] == clients[1][:33]


def test_secrets_do_not_show():
    conversation = _talk()
    conversation.finish()
    shown = repr([conversation.asked, conversation.granted, vars(conversation.client), vars(conversation.server)])
    assert conversation.granted
    secrets = conversation.granted.secrets
    for secret in (secrets.bundle_key, secrets.preshared_key, secrets.release_token, KEY.secret, KEY.laptop_private):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


# Misuse by our own edges


def test_steps_out_of_turn_are_programming_errors():
    conversation = _talk()
    for call in (
        conversation.client.received,
        lambda: conversation.server.grant(GRANT),
        lambda: conversation.server.refuse(Busy("desktop", 1)),
        conversation.server.ready,
    ):
        with pytest.raises(RuntimeError):
            call()
    conversation.finish()
    for call in (
        conversation.client.hello,
        lambda: conversation.server.grant(GRANT),
        conversation.server.ready,
    ):
        with pytest.raises(RuntimeError):
            call()


def test_facts_that_cannot_travel_show_before_the_first_byte():
    with pytest.raises(MessageError):
        ClientHandshake(Pair().challenged().exchange, Facts("\n", bytes(32)))


def test_received_is_an_event_that_comes_once():
    conversation = _talk().run(5)
    assert conversation.deliver(conversation.messages[-1]) == Received()
    with pytest.raises(HandshakeError):
        conversation.deliver(conversation.messages[-1])
