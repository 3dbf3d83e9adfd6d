from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pairing import GRANT, TUNNEL

from stiefel_agent.errors import MessageError, SealError
from stiefel_agent.protocol import messages
from stiefel_agent.protocol.messages import (
    DATAGRAM_PAYLOAD,
    DATAGRAM_SIZE,
    RECORD_PAYLOAD,
    Busy,
    Challenge,
    Echo,
    Empty,
    Facts,
    Grant,
    Kind,
    Notice,
    NoticeState,
    Proof,
    Stage,
    Tunnel,
)

printable = st.characters().filter(str.isprintable)
names = st.text(printable, max_size=64).filter(lambda text: len(text.encode()) <= 64)
ports = st.integers(1, 65535)
keys = st.binary(min_size=32, max_size=32)
machines = st.binary(min_size=16, max_size=16)
numbers = st.integers(0, 2**32 - 1)

packets = st.just(0) | st.integers(1280, 9000)

challenges = st.builds(Challenge, st.just(Stage.SERVER), names, ports) | st.builds(
    Challenge, st.just(Stage.AUTOKEXEC), names
)
notices = st.builds(Notice, st.sampled_from(NoticeState), numbers, names, numbers)
tunnels = st.builds(Tunnel, keys, ports, st.ip_addresses(v=6), st.ip_addresses(v=6))
blocks = st.sampled_from([512, 4096, 65536])
exports = machines.map(bytes.hex)
grants = st.builds(Grant, st.none() | tunnels, ports, exports, st.integers(1, 16), blocks, ports)
busies = st.builds(Busy, names, st.integers(0, 2**64 - 1))

MESSAGES = [
    (challenges, Challenge.decode, DATAGRAM_PAYLOAD),
    (st.builds(Proof, names), Proof.decode, DATAGRAM_PAYLOAD),
    (notices, Notice.decode, DATAGRAM_PAYLOAD),
    (st.builds(Facts, names, keys, machines, packets), Facts.decode, RECORD_PAYLOAD),
    (st.builds(Echo, st.integers(0, 2**16 - 1)), Echo.decode, DATAGRAM_PAYLOAD),
    (grants | busies, messages.decode_answer, RECORD_PAYLOAD),
    (st.just(Empty()), Empty.decode, RECORD_PAYLOAD),
]


@given(st.data(), st.sampled_from(MESSAGES))
def test_decode_reverses_encode_and_only_zeros_may_follow(data, how):
    strategy, decode, size = how
    message = data.draw(strategy)
    payload = message.encode()
    assert len(payload) <= size
    assert decode(payload.ljust(size, b"\0")) == message
    with pytest.raises(MessageError):
        decode(payload.ljust(size, b"\0") + b"\1")


@given(st.data(), st.sampled_from(MESSAGES))
def test_a_changed_message_is_another_message_or_refused(data, how):
    strategy, decode, size = how
    message = data.draw(strategy)
    payload = bytearray(message.encode().ljust(size, b"\0"))
    payload[data.draw(st.integers(0, size - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoded = decode(bytes(payload))
    except MessageError:
        return
    assert decoded != message
    assert decoded.encode().ljust(size, b"\0") == payload


@given(st.sampled_from(MESSAGES), st.binary(max_size=600))
def test_no_decoder_raises_anything_but_message_error(how, payload):
    with suppress(MessageError):
        how[1](payload)


@given(st.text(max_size=200))
def test_displayable_makes_any_text_fit_to_travel(text):
    name = messages.displayable(text)
    assert name
    assert messages.unpack_text(messages.pack_text(name).ljust(64, b"\0")) == name


def test_displayable_keeps_what_is_good():
    assert messages.displayable("OptiPlex 7050\n") == "OptiPlex 7050"
    assert messages.displayable("\x1b[2J") == "[2J"
    assert messages.displayable("ä" * 40) == "ä" * 32
    assert messages.displayable("\0\n") == "unnamed"


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\u202egnp.exe", "\0", "ä" * 33, "\udc80"])
def test_text_that_a_terminal_obeys_or_that_does_not_fit_is_refused(text):
    with pytest.raises(MessageError):
        messages.pack_text(text)
    with pytest.raises(MessageError):
        Proof(text).encode()


@pytest.mark.parametrize("field", [b"\x1b[2J\0\0", b"a\0b\0", b"\xff\xfe", "\u202e".encode()])
def test_text_that_arrives_is_checked_likewise(field):
    with pytest.raises(MessageError):
        messages.unpack_text(field)


@pytest.mark.parametrize(
    "message",
    [
        Challenge(Stage.SERVER, "laptop", 0),
        Challenge(Stage.SERVER, "laptop", 65536),
        Challenge(Stage.AUTOKEXEC, "laptop", 61570),
        Notice(NoticeState.COUNTDOWN, -1),
        Notice(NoticeState.COUNTDOWN, 2**32),
        Facts("desktop", bytes(31)),
        Facts("desktop", bytes(32), bytes(15)),
        Busy("desktop", -1),
        Tunnel(bytes(33), 61572, IPv6Address("::1"), IPv6Address("::2")),
        replace(TUNNEL, port=0),
        replace(GRANT, nbd_port=0),
        replace(GRANT, release_port=65536),
        replace(GRANT, connections=0),
        replace(GRANT, connections=17),
        replace(GRANT, block_size=511),
        replace(GRANT, block_size=3 * 512),
        replace(GRANT, block_size=131072),
        replace(GRANT, export="disk"),
        replace(GRANT, export="AB" * 16),
        replace(GRANT, export="0" * 33),
    ],
)
def test_values_out_of_range_are_not_sent(message):
    with pytest.raises(MessageError):
        message.encode()


def test_a_grant_without_encryption_carries_no_tunnel():
    payload = bytearray(replace(GRANT, tunnel=None).encode())
    assert Grant.decode(bytes(payload)).tunnel is None
    payload[2] = 1
    with pytest.raises(MessageError):
        Grant.decode(bytes(payload))


def test_no_label_begins_another():
    labels = [kind.label for kind in Kind]
    assert not any(one != other and one.startswith(other) for one in labels for other in labels)


def test_every_datagram_has_one_size_and_opens_only_as_what_it_is():
    key, nonce = bytes(32), bytes(range(16))
    datagram = messages.seal_datagram(key, Kind.PROOF, nonce, b"seen", Proof("desktop").encode())
    assert len(datagram) == DATAGRAM_SIZE
    assert messages.datagram_nonce(datagram) == nonce
    payload = messages.open_datagram(key, Kind.PROOF, b"seen", datagram)
    assert Proof.decode(payload) == Proof("desktop")
    for kind, seen in ((Kind.NOTICE, b"seen"), (Kind.PROOF, b"Seen"), (Kind.PROOF, b"")):
        with pytest.raises(SealError):
            messages.open_datagram(key, kind, seen, datagram)


@given(st.binary(max_size=300))
def test_the_outer_shape_is_size_and_version(data):
    shaped = len(data) == DATAGRAM_SIZE and data[0] == messages.VERSION
    try:
        messages.datagram_nonce(data)
        assert shaped
    except MessageError:
        assert not shaped


def test_another_version_is_not_a_datagram():
    datagram = messages.seal_datagram(bytes(32), Kind.BEACON, bytes(16), b"", b"")
    with pytest.raises(MessageError):
        messages.datagram_nonce(bytes([messages.VERSION + 1]) + datagram[1:])


def test_a_desktop_is_known_again_by_its_stick_and_by_nobody_else():
    here, there = (messages.machine_of(bytes(range(32)), f"product_uuid={name}") for name in ("one", "two"))
    again = messages.machine_of(bytes(range(32)), "product_uuid=one")
    facts = Facts("desktop", bytes(32), here)
    assert facts.same_machine(Facts("renamed", bytes(range(32)), again))
    assert not facts.same_machine(Facts("desktop", bytes(32), there))
    assert messages.machine_of(bytes(32), "product_uuid=one") != here


def test_a_desktop_without_serial_numbers_is_never_taken_for_the_same_one():
    nameless = Facts("desktop", bytes(32), messages.machine_of(bytes(range(32)), ""))
    assert nameless.machine == bytes(16)
    assert not nameless.same_machine(nameless)


def test_an_exports_name_is_new_each_time_and_does_not_show():
    drawn = {messages.new_export() for _ in range(4)}
    assert len(drawn) == 4
    assert {len(name) for name in drawn} == {32}
    assert GRANT.export not in repr(GRANT)
