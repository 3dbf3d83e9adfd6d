"""The search for the largest packet: between a client and a laptop, and whoever else is on the cable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairing import AUTOKEXEC, CLIENT, LAPTOP, OTHER_STICK, Drawn, Pair

from stiefel_agent.protocol.discovery import TRIALS_BURST, Datagram, Exchange
from stiefel_agent.protocol.messages import VERSION
from stiefel_agent.protocol.probing import TRIALS, Probing
from stiefel_agent.protocol.sizes import SIZES, inside, payload, segment, tunnel_mtu

ELSEWHERE = ("fe80::66", *LAPTOP[1:])


def search(pair, largest=9000):
    return Probing(pair.challenged().exchange, LAPTOP, largest, Drawn("probing"))


def answers(pair, probes, source=CLIENT, now=0.0):
    """Return what the laptop says to probes."""
    heard = [pair.answerer.receive(probe, source, now) for probe in probes]
    return [one.data for one in heard if isinstance(one, Datagram)]


def goes(probing, pair, passes=9000):
    """Let one round go over a cable that swallows larger packets than `passes`, in both directions."""
    probes = [probe for probe in probing.probes() if len(probe) <= payload(passes)]
    for echo in answers(pair, probes):
        probing.receive(echo, LAPTOP)


@pytest.mark.parametrize(
    ("ours", "theirs", "passes", "found", "complete"),
    [
        (9000, 9000, 9000, 9000, True),
        (9000, 1500, 9000, 1500, True),
        (1500, 9000, 9000, 1500, True),
        (4088, 9000, 9000, 4000, True),
        (9000, 9000, 1500, 1500, False),
        (1500, 1500, 1400, 1400, False),
        (1500, 1500, 1399, 1280, False),
        (1500, 1500, 1000, 0, False),
        (1500, 0, 9000, 0, False),
    ],
)
def test_the_largest_packet_that_all_three_take_is_found(ours, theirs, passes, found, complete):
    pair = Pair(takes=theirs)
    probing = search(pair, ours)
    goes(probing, pair, passes)
    assert (probing.found, probing.complete) == (found, complete)


def test_what_was_lost_once_is_asked_again_and_nothing_else():
    pair = Pair(takes=1500)
    probing = search(pair, 1500)
    goes(probing, pair, 1400)
    assert [len(probe) for probe in probing.probes()] == [payload(1500)]
    goes(probing, pair)
    assert (probing.found, probing.complete, probing.probes()) == (1500, True, [])


def test_an_echo_is_as_long_as_its_probe():
    pair = Pair(takes=9000)
    probes = search(pair).probes()
    assert [len(echo) for echo in answers(pair, probes)] == [len(probe) for probe in probes]
    assert [len(probe) for probe in probes] == [payload(size) for size in SIZES]


def test_a_probe_is_answered_once_and_only_where_its_challenge_went():
    pair = Pair(takes=9000)
    probes = search(pair).probes()
    assert answers(pair, probes, ("fe80::66", *CLIENT[1:])) == []
    assert answers(pair, probes, ("2001:db8::1", *CLIENT[1:])) == []
    assert len(answers(pair, probes)) == len(probes)
    assert answers(pair, probes) == []


def test_a_probe_after_the_hello_or_too_late_is_not_answered():
    pair = Pair(takes=9000)
    probing = search(pair)
    early, late = probing.probes(), probing.probes()
    (exchange,) = pair.answerer.challenges.of(CLIENT, 0.0)
    assert answers(pair, early, now=21.0) == []
    pair.answerer.challenges.issue(exchange, CLIENT, 21.0)
    pair.answerer.challenges.redeem(exchange)
    assert answers(pair, late, now=21.0) == []


def test_who_has_another_key_is_not_answered_and_its_echo_not_believed():
    pair, stranger = Pair(takes=9000), Pair(takes=9000)
    exchange = pair.challenged().exchange
    theirs = Exchange(OTHER_STICK, exchange.client_nonce, exchange.server_nonce)
    assert answers(pair, Probing(theirs, LAPTOP, 9000).probes()) == []
    probing, other = search(pair), search(stranger)
    for echo in answers(stranger, other.probes()):
        probing.receive(echo, LAPTOP)
    assert probing.found == 0


def test_an_echo_of_another_size_or_round_or_from_elsewhere_is_not_believed():
    pair = Pair(takes=9000)
    probing = search(pair)
    probes = probing.probes()
    echoes = answers(pair, probes)
    for echo in (*probes, *(echo[:-1] for echo in echoes), *(echo[: payload(1280)] for echo in echoes[:-1])):
        probing.receive(echo, LAPTOP)
    for echo in echoes:
        probing.receive(echo, ELSEWHERE)
    assert probing.found == 0


def test_a_flood_costs_no_more_than_a_flood_of_beacons():
    pair = Pair(takes=9000)
    probing = search(pair)
    junk = bytes([VERSION]) + bytes(payload(9000) - 1)
    for number in range(int(2 * TRIALS_BURST)):
        pair.answerer.receive(junk[:1] + number.to_bytes(16, "big") + junk[17:], CLIENT, 0.0)
    assert answers(pair, probing.probes()) == []
    probing.probes()
    for _ in range(TRIALS):
        probing.receive(junk, LAPTOP)
    for echo in answers(pair, probing.probes(), now=10.0):
        probing.receive(echo, LAPTOP)
    assert probing.found == 0


def test_autokexec_echoes_nothing():
    """It is not what the session's packets go to; and it must not touch the interfaces of a running system."""
    pair = Pair(AUTOKEXEC)
    assert answers(pair, search(pair).probes()) == []


@given(st.binary(max_size=3000))
def test_no_datagram_raises(data):
    probing = search(Pair())
    probing.probes()
    probing.receive(data, LAPTOP)
    assert probing.found == 0


@pytest.mark.parametrize("size", SIZES)
def test_what_fits_into_a_packet(size):
    """WireGuard fills up to 16 bytes, and adds 32; UDP 8, TCP 20, IPv6 40."""
    assert inside(size) % 16 == 0
    assert size - 16 < inside(size) + 80 <= size
    assert tunnel_mtu(size) >= 1280
    assert (segment(size, tunnel=False), segment(size, tunnel=True)) == (size - 60, inside(size) - 60)
