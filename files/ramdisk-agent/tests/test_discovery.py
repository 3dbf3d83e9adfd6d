import os
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule
from pairing import AUTOKEXEC, CLIENT, CLIENT_INTERFACE, KEY, LAPTOP, OTHER_KEY, OTHER_STICK, SERVER, STICK, Drawn, Pair

from stiefel_agent.errors import MessageError
from stiefel_agent.protocol import discovery
from stiefel_agent.protocol.discovery import (
    Address,
    Answerer,
    Challenged,
    Challenges,
    Datagram,
    Exchange,
    Memory,
    Noticed,
    OtherVersion,
    Proven,
    Seeker,
    TokenBucket,
)
from stiefel_agent.protocol.keys import Key
from stiefel_agent.protocol.messages import DATAGRAM_SIZE, VERSION, Challenge, Notice, NoticeState, Stage

COUNTDOWN = Notice(NoticeState.COUNTDOWN, 10)


def _source(number: int) -> Address:
    return (f"fe80::{number:x}", 40000, 0, 3)


def _send(made: object) -> bytes:
    assert isinstance(made, Datagram)
    return made.data


def _unanswered(heard: object) -> bool:
    """Nothing is sent; a changed version byte may be worth a line in the journal."""
    return heard is None or isinstance(heard, OtherVersion)


def _change(data: bytes, draw: st.DataObject) -> bytes:
    """Flip some bits of one byte, cut, or lengthen."""
    how = draw.draw(st.sampled_from(["flip", "cut", "lengthen"]))
    where = draw.draw(st.integers(0, len(data) - 1))
    if how == "cut":
        return data[:where]
    if how == "lengthen":
        return data + bytes([where % 256])
    return data[:where] + bytes([data[where] ^ draw.draw(st.integers(1, 255))]) + data[where + 1 :]


# What people rely on


def test_a_desktop_finds_proves_and_is_told():
    pair = Pair(AUTOKEXEC)
    challenged = pair.challenged()
    assert challenged.challenge == AUTOKEXEC
    assert challenged.source == LAPTOP
    proof = pair.seeker.prove(challenged, "OptiPlex")
    assert proof.to == LAPTOP
    proven = pair.answerer.receive(proof.data, CLIENT, 0.1)
    assert isinstance(proven, Proven)
    assert (proven.desktop, proven.exchange.key.name, proven.source) == ("OptiPlex", "stick", CLIENT)
    notice = pair.answerer.notice(proven, COUNTDOWN)
    assert notice.to == CLIENT
    heard = pair.seeker.receive(notice.data, LAPTOP, 0.2)
    assert heard == Noticed(LAPTOP, COUNTDOWN.numbered(1))


def test_a_server_tells_its_port_and_wants_no_proof():
    pair = Pair(SERVER)
    challenged = pair.challenged()
    assert challenged.challenge.port == 61570
    proof = pair.seeker.prove(challenged, "desktop")
    assert pair.answerer.receive(proof.data, CLIENT, 0.1) is None


def test_any_key_of_the_laptop_will_do_and_its_name_is_known():
    ring = tuple(Key(f"stick{n}", bytes([n]) * 32, KEY.laptop_private) for n in range(16))
    for key in ring:
        assert Pair(AUTOKEXEC, ring, key).proven().exchange.key.name == key.name


def test_a_keyring_is_bounded():
    for ring in ([], [KEY] * 17):
        with pytest.raises(ValueError):
            Answerer(ring, SERVER)


def test_a_name_that_cannot_travel_shows_before_the_first_beacon():
    with pytest.raises(MessageError):
        Answerer([KEY], Challenge(Stage.AUTOKEXEC, "\x1b[2J"))


def test_a_lost_challenge_proof_or_notice_is_made_good_by_the_next_beacon():
    pair = Pair(AUTOKEXEC)
    pair.answerer.receive(pair.seeker.beacon(CLIENT_INTERFACE, 0.0), CLIENT, 0.0)
    pair.seeker.prove(pair.challenged(1.0), "desktop")
    proven = pair.proven(2.0)
    pair.answerer.notice(proven, COUNTDOWN)
    again = pair.answerer.notice(pair.proven(3.0), COUNTDOWN)
    assert isinstance(pair.seeker.receive(again.data, LAPTOP, 3.0), Noticed)


def test_two_laptops_may_answer_one_beacon():
    seeker = Seeker(STICK)
    beacon = seeker.beacon(CLIENT_INTERFACE, 0.0)
    for number in (1, 2):
        answerer = Answerer([KEY], Challenge(Stage.AUTOKEXEC, f"laptop{number}"))
        source = (f"fe80::{number}", 61570, 0, CLIENT_INTERFACE)
        heard = seeker.receive(_send(answerer.receive(beacon, CLIENT, 0.0)), source, 0.0)
        assert isinstance(heard, Challenged)
        assert (heard.challenge.laptop, heard.source) == (f"laptop{number}", source)


def test_late_notices_are_ignored():
    pair = Pair(AUTOKEXEC)
    proven = pair.proven()
    early = pair.answerer.notice(proven, COUNTDOWN).data
    late = pair.answerer.notice(proven, Notice(NoticeState.SHUTTING_DOWN)).data
    assert isinstance(pair.seeker.receive(late, LAPTOP, 0.1), Noticed)
    assert pair.seeker.receive(early, LAPTOP, 0.1) is None
    assert pair.seeker.receive(late, LAPTOP, 0.1) is None


def test_notices_are_read_long_after_the_last_beacon():
    pair = Pair(AUTOKEXEC)
    notice = pair.answerer.notice(pair.proven(), COUNTDOWN).data
    assert isinstance(pair.seeker.receive(notice, LAPTOP, 1000.0), Noticed)


# Who has no key


def test_another_key_is_not_answered_and_answers_nothing():
    assert Pair(AUTOKEXEC).answerer.receive(Seeker(OTHER_STICK).beacon(3, 0.0), CLIENT, 0.0) is None
    stranger = Pair(AUTOKEXEC, (OTHER_KEY,), OTHER_STICK)
    pair = Pair(AUTOKEXEC)
    pair.seeker.beacon(CLIENT_INTERFACE, 0.0)
    challenge = stranger.answerer.receive(stranger.seeker.beacon(3, 0.0), CLIENT, 0.0)
    assert pair.seeker.receive(_send(challenge), LAPTOP, 0.0) is None


def test_a_proof_with_another_key_proves_nothing():
    pair = Pair(AUTOKEXEC)
    challenged = pair.challenged()
    forged = replace(challenged, exchange=replace(challenged.exchange, key=OTHER_STICK))
    proof = Seeker(OTHER_STICK).prove(forged, "desktop")
    assert pair.answerer.receive(proof.data, CLIENT, 0.0) is None
    assert isinstance(pair.answerer.receive(pair.seeker.prove(challenged, "d").data, CLIENT, 0.0), Proven)


@given(st.data(), st.sampled_from(["beacon", "challenge", "proof", "notice"]))
def test_a_changed_datagram_is_not_answered(draw, victim):
    pair = Pair(AUTOKEXEC)
    beacon = pair.seeker.beacon(CLIENT_INTERFACE, 0.0)
    if victim == "beacon":
        assert _unanswered(pair.answerer.receive(_change(beacon, draw), CLIENT, 0.0))
        return
    challenge = _send(pair.answerer.receive(beacon, CLIENT, 0.0))
    if victim == "challenge":
        assert pair.seeker.receive(_change(challenge, draw), LAPTOP, 0.0) is None
        return
    heard = pair.seeker.receive(challenge, LAPTOP, 0.0)
    assert isinstance(heard, Challenged)
    proof = pair.seeker.prove(heard, "desktop").data
    if victim == "proof":
        assert _unanswered(pair.answerer.receive(_change(proof, draw), CLIENT, 0.0))
        return
    proven = pair.answerer.receive(proof, CLIENT, 0.0)
    assert isinstance(proven, Proven)
    notice = pair.answerer.notice(proven, COUNTDOWN).data
    assert pair.seeker.receive(_change(notice, draw), LAPTOP, 0.0) is None


@given(st.binary(max_size=300) | st.binary(min_size=191, max_size=191).map(lambda data: bytes([VERSION]) + data))
def test_garbage_is_not_answered(data):
    pair = Pair(AUTOKEXEC)
    pair.proven()
    pair.challenged()
    assert _unanswered(pair.answerer.receive(data, CLIENT, 9.0))
    assert pair.seeker.receive(data, LAPTOP, 9.0) is None


def test_another_version_is_told_of_once_and_never_answered():
    pair = Pair(AUTOKEXEC)
    old = b"\1" + pair.seeker.beacon(CLIENT_INTERFACE, 0.0)[1:]
    far = ("2001:db8::1", *CLIENT[1:])
    for data, source in ((old[:-1], CLIENT), (b"\0" + old[1:], CLIENT), (old, far)):
        assert pair.answerer.receive(data, source, 0.0) is None
    assert pair.answerer.receive(old, CLIENT, 0.0) == OtherVersion(1)
    assert pair.answerer.receive(old, CLIENT, 0.0) is None
    assert isinstance(pair.answerer.receive(bytes([VERSION]) + old[1:], CLIENT, 0.0), Datagram)


@pytest.mark.parametrize("host", ["2001:db8::1", "::1", "ff12::1", "10.0.0.1", "", "fe80::1::2"])
def test_whoever_is_not_on_the_cable_is_not_answered(host):
    pair = Pair(AUTOKEXEC)
    beacon = pair.seeker.beacon(CLIENT_INTERFACE, 0.0)
    assert pair.answerer.receive(beacon, (host, 40000, 0, 3), 0.0) is None
    assert isinstance(pair.answerer.receive(beacon, ("fe80::1%eth0", 40000, 0, 3), 0.0), Datagram)


def test_nothing_on_the_wire_repeats_between_two_exchanges():
    sent = []
    for _ in range(2):
        pair = Pair(AUTOKEXEC, laptop_random=os.urandom, client_random=os.urandom)
        beacon = pair.seeker.beacon(CLIENT_INTERFACE, 0.0)
        challenge = _send(pair.answerer.receive(beacon, CLIENT, 0.0))
        heard = pair.seeker.receive(challenge, LAPTOP, 0.0)
        assert isinstance(heard, Challenged)
        proof = pair.seeker.prove(heard, "desktop").data
        proven = pair.answerer.receive(proof, CLIENT, 0.0)
        assert isinstance(proven, Proven)
        sent.append([beacon, challenge, proof, pair.answerer.notice(proven, COUNTDOWN).data])
    for first, second in zip(*sent, strict=True):
        assert len(first) == len(second) == DATAGRAM_SIZE
        runs = {first[start : start + 4] for start in range(1, DATAGRAM_SIZE - 3)}
        # 4 equal bytes by chance: 1 in 100 000; 8 of them would be an identifier
        common = [run for run in runs if run in second[1:]]
        assert len(common) < 5


# Replay, reflection, freshness


def test_a_replayed_beacon_is_not_answered():
    pair = Pair(AUTOKEXEC)
    beacon = pair.seeker.beacon(CLIENT_INTERFACE, 0.0)
    assert isinstance(pair.answerer.receive(beacon, CLIENT, 0.0), Datagram)
    for source in (CLIENT, _source(66)):
        assert pair.answerer.receive(beacon, source, 1.0) is None


def test_a_proof_counts_once():
    pair = Pair(AUTOKEXEC)
    proof = pair.seeker.prove(pair.challenged(), "desktop").data
    assert isinstance(pair.answerer.receive(proof, CLIENT, 0.0), Proven)
    assert pair.answerer.receive(proof, CLIENT, 0.0) is None
    pair.challenged(1.0)
    assert pair.answerer.receive(proof, CLIENT, 1.0) is None


def test_a_challenge_can_be_proven_once():
    pair = Pair(AUTOKEXEC)
    challenged = pair.challenged()
    proofs = [pair.seeker.prove(challenged, "desktop").data for _ in range(2)]
    assert isinstance(pair.answerer.receive(proofs[0], CLIENT, 0.0), Proven)
    assert pair.answerer.receive(proofs[1], CLIENT, 0.0) is None


def test_a_proof_from_elsewhere_or_too_late_does_not_count():
    pair = Pair(AUTOKEXEC)
    proof = pair.seeker.prove(pair.challenged(), "desktop").data
    assert pair.answerer.receive(proof, _source(66), 0.0) is None
    assert pair.answerer.receive(proof, CLIENT, discovery.CHALLENGE_SECONDS) is None


def test_a_recorded_exchange_has_no_effect_on_a_laptop_that_forgot_it():
    pair = Pair(AUTOKEXEC)
    beacon = pair.seeker.beacon(CLIENT_INTERFACE, 0.0)
    challenge = _send(pair.answerer.receive(beacon, CLIENT, 0.0))
    heard = pair.seeker.receive(challenge, LAPTOP, 0.0)
    assert isinstance(heard, Challenged)
    proof = pair.seeker.prove(heard, "desktop").data
    restarted = Answerer([KEY], AUTOKEXEC)
    assert isinstance(restarted.receive(beacon, CLIENT, 0.0), Datagram)
    assert restarted.receive(proof, CLIENT, 0.0) is None


def test_a_challenge_is_heard_once_while_fresh_and_on_its_own_interface():
    pair = Pair(AUTOKEXEC)
    challenge = _send(pair.answerer.receive(pair.seeker.beacon(CLIENT_INTERFACE, 0.0), CLIENT, 0.0))
    pair.seeker.beacon(8, 0.0)
    assert pair.seeker.receive(challenge, (*LAPTOP[:3], 8), 0.0) is None
    assert isinstance(pair.seeker.receive(challenge, LAPTOP, 0.0), Challenged)
    assert pair.seeker.receive(challenge, LAPTOP, 0.0) is None
    old = _send(pair.answerer.receive(pair.seeker.beacon(CLIENT_INTERFACE, 1.0), CLIENT, 1.0))
    assert pair.seeker.receive(old, LAPTOP, 1.0 + discovery.CHALLENGE_SECONDS) is None


def test_only_the_newest_beacons_of_an_interface_can_be_answered():
    pair = Pair(AUTOKEXEC)
    first = pair.answerer.receive(pair.seeker.beacon(CLIENT_INTERFACE, 0.0), CLIENT, 0.0)
    for _ in range(discovery.BEACONS_REMEMBERED - 1):
        pair.seeker.beacon(CLIENT_INTERFACE, 0.0)
    second = pair.answerer.receive(pair.seeker.beacon(CLIENT_INTERFACE, 0.0), CLIENT, 0.0)
    assert pair.seeker.receive(_send(first), LAPTOP, 0.0) is None
    assert isinstance(pair.seeker.receive(_send(second), LAPTOP, 0.0), Challenged)


def test_reflected_datagrams_are_not_answered():
    pair = Pair(AUTOKEXEC)
    beacon = pair.seeker.beacon(CLIENT_INTERFACE, 0.0)
    assert pair.seeker.receive(beacon, LAPTOP, 0.0) is None
    challenge = _send(pair.answerer.receive(beacon, CLIENT, 0.0))
    assert pair.answerer.receive(challenge, CLIENT, 0.0) is None
    heard = pair.seeker.receive(challenge, LAPTOP, 0.0)
    assert isinstance(heard, Challenged)
    proof = pair.seeker.prove(heard, "desktop").data
    assert pair.seeker.receive(proof, LAPTOP, 0.0) is None
    proven = pair.answerer.receive(proof, CLIENT, 0.0)
    assert isinstance(proven, Proven)
    notice = pair.answerer.notice(proven, COUNTDOWN).data
    assert pair.answerer.receive(notice, CLIENT, 0.0) is None


class Wire(RuleBasedStateMachine):
    """Someone on the cable records everything and sends any of it, changed or not, to whom and as whom they like."""

    recorded = Bundle("recorded")

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(AUTOKEXEC)
        self.now = 0.0
        self.proofs_made = 0
        self.proven: list[Proven] = []
        self.challenged: list[Challenged] = []

    @rule(seconds=st.floats(0.0, 30.0))
    def time_passes(self, seconds):
        self.now += seconds

    @rule(target=recorded, interface=st.integers(1, 3))
    def client_sends_beacon(self, interface):
        return self.pair.seeker.beacon(interface, self.now)

    @rule(target=recorded, data=recorded, host=st.integers(1, 3), interface=st.integers(1, 3))
    def laptop_receives(self, data, host, interface):
        made = self.pair.answerer.receive(data, (f"fe80::{host}", 1, 0, interface), self.now)
        if isinstance(made, Proven):
            self.proven.append(made)
            return self.pair.answerer.notice(made, COUNTDOWN).data
        return made.data if isinstance(made, Datagram) else data

    @rule(target=recorded, data=recorded, host=st.integers(1, 3), interface=st.integers(1, 3))
    def client_receives(self, data, host, interface):
        made = self.pair.seeker.receive(data, (f"fe80::{host}", 1, 0, interface), self.now)
        if isinstance(made, Challenged):
            self.challenged.append(made)
            self.proofs_made += 1
            return self.pair.seeker.prove(made, "desktop").data
        return data

    @rule(target=recorded, data=recorded, where=st.integers(0, DATAGRAM_SIZE - 1), bits=st.integers(1, 255))
    def attacker_changes(self, data, where, bits):
        return data[:where] + bytes([data[where] ^ bits]) + data[where + 1 :]

    @invariant()
    def each_proof_counts_at_most_once(self):
        exchanges = [proven.exchange for proven in self.proven]
        assert len(exchanges) <= self.proofs_made
        assert len({exchange.nonces for exchange in exchanges}) == len(exchanges)
        assert {exchange.nonces for exchange in exchanges} <= {heard.exchange.nonces for heard in self.challenged}

    @invariant()
    def each_challenge_is_heard_once(self):
        assert len({heard.exchange.server_nonce for heard in self.challenged}) == len(self.challenged)


TestWire = Wire.TestCase
TestWire.settings = settings(max_examples=60, stateful_step_count=40)


# Floods


def test_a_flood_of_garbage_costs_no_cryptography_beyond_the_budget(monkeypatch):
    trials = []
    unseal = discovery.open_datagram
    monkeypatch.setattr(discovery, "open_datagram", lambda *args: trials.append(args) or unseal(*args))
    pair, noise = Pair(AUTOKEXEC), Drawn("noise")
    for number in range(5000):
        pair.answerer.receive(bytes([VERSION]) + noise(191), _source(number), number / 1000)
    assert len(trials) <= discovery.TRIALS_BURST + 5 * discovery.TRIALS_PER_SECOND


def test_garbage_of_another_shape_and_replays_cost_no_cryptography_at_all(monkeypatch):
    pair, noise = Pair(AUTOKEXEC), Drawn("noise")
    beacon = pair.seeker.beacon(CLIENT_INTERFACE, 0.0)
    pair.answerer.receive(beacon, CLIENT, 0.0)
    monkeypatch.setattr(discovery, "open_datagram", lambda *_: pytest.fail("cryptography"))
    shapes = (
        b"",
        bytes([VERSION]),
        bytes([VERSION]) + noise(190),
        bytes([VERSION]) + noise(192),
        bytes(1) + beacon[1:],
        beacon,
    )
    for data in shapes:
        assert pair.answerer.receive(data, CLIENT, 1.0) is None


def test_a_flood_of_strangers_does_not_disturb_an_exchange_under_way():
    pair, noise = Pair(AUTOKEXEC), Drawn("noise")
    proof = pair.seeker.prove(pair.challenged(), "desktop").data
    for number in range(1000):
        pair.answerer.receive(bytes([VERSION]) + noise(191), _source(1000 + number), 0.0)
    assert isinstance(pair.answerer.receive(proof, CLIENT, 0.0), Proven)


def test_challenges_are_sent_at_a_limited_rate():
    pair = Pair(AUTOKEXEC)
    sent = [pair.answerer.receive(pair.seeker.beacon(7, n / 100), CLIENT, n / 100) for n in range(1000)]
    count = sum(isinstance(made, Datagram) for made in sent)
    expected = discovery.CHALLENGES_BURST + 10 * discovery.CHALLENGES_PER_SECOND
    assert expected - 2 <= count <= expected


def test_memory_stays_within_its_bounds_under_a_flood_by_who_has_the_key(monkeypatch):
    monkeypatch.setattr(discovery, "SEEN_LIMIT", 300)
    pair = Pair(AUTOKEXEC)
    for number in range(discovery.SEEN_LIMIT + 300):
        now, interface = float(number), number % 200
        beacon = pair.seeker.beacon(interface, now)
        source = (f"fe80::{number % 150 + 1:x}", 1, 0, interface)
        challenge = pair.answerer.receive(beacon, CLIENT if number % 3 else source, now)
        heard = pair.seeker.receive(_send(challenge), source, now)
        assert isinstance(heard, Challenged)
        pair.seeker.prove(heard, "desktop")
        assert len(pair.answerer.challenges) <= discovery.CHALLENGES_LIMIT
    assert len(pair.answerer._seen) == discovery.SEEN_LIMIT
    assert len(pair.seeker._beacons) == discovery.INTERFACES_LIMIT
    assert max(len(sent) for sent in pair.seeker._beacons.values()) <= discovery.BEACONS_REMEMBERED
    assert len(pair.seeker._answered) == discovery.ANSWERS_REMEMBERED
    assert len(pair.seeker._proofs) == discovery.PROOFS_REMEMBERED


# The parts


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 100), st.floats(0, 3)), max_size=300))
def test_challenges_stay_bounded_in_number_age_and_use(steps):
    challenges, now, issued, redeemed = Challenges(), 0.0, {}, set()
    for number, (nonce, source, seconds) in enumerate(steps):
        now += seconds
        exchange = _exchange(number)
        challenges.issue(exchange, _source(source), now)
        issued[exchange.server_nonce] = now
        assert len(challenges) <= discovery.CHALLENGES_LIMIT
        assert len(challenges.of(_source(source), now)) <= discovery.CHALLENGES_PER_SOURCE
        assert challenges.of(_source(source), now)[-1] == exchange
        guess = (nonce % len(issued)).to_bytes(16, "big")
        if found := challenges.find(guess, now):
            assert now - issued[guess] < discovery.CHALLENGE_SECONDS
            assert guess not in redeemed
            assert challenges.redeem(found)
            assert not challenges.redeem(found)
            redeemed.add(guess)


def _exchange(number: int) -> Exchange:
    return Exchange(KEY, bytes(16), number.to_bytes(16, "big"))


def test_the_newest_challenge_drives_out_the_oldest():
    challenges, limit = Challenges(), discovery.CHALLENGES_LIMIT
    for number in range(limit + 1):
        challenges.issue(_exchange(number), _source(number), 0.0)
    assert len(challenges) == limit
    assert challenges.find(_exchange(0).server_nonce, 0.0) is None
    assert challenges.find(_exchange(1).server_nonce, 0.0)


def test_one_source_drives_out_only_its_own():
    challenges, limit = Challenges(), discovery.CHALLENGES_PER_SOURCE
    challenges.issue(_exchange(0), _source(1), 0.0)
    made = [_exchange(number) for number in range(1, limit + 3)]
    for exchange in made:
        challenges.issue(exchange, _source(2), 0.0)
    assert challenges.of(_source(2), 0.0) == made[-limit:]
    assert challenges.of(_source(1), 0.0) == [_exchange(0)]


@given(st.lists(st.floats(0, 10), max_size=200), st.floats(0.1, 50), st.integers(1, 50))
def test_a_token_bucket_never_exceeds_rate_and_burst(pauses, rate, burst):
    bucket, now, taken = TokenBucket(rate, burst), 1000.0, 0
    for pause in pauses:
        now += pause
        taken += bucket.take(now)
        assert taken <= burst + (now - 1000.0) * rate + 1e-6


def test_a_token_bucket_saves_no_more_than_its_burst():
    bucket = TokenBucket(2.0, 3.0)
    assert [bucket.take(0.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(1000.0) for _ in range(4)] == [True, True, True, False]
    assert [bucket.take(1000.5) for _ in range(2)] == [True, False]


def test_memory_forgets_the_oldest():
    memory = Memory(2)
    for item in (b"a", b"b", b"c"):
        memory.add(item)
    assert [item in memory for item in (b"a", b"b", b"c")] == [False, True, True]
