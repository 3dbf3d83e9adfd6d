import base64
import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefel_agent.errors import SessionInvalid
from stiefel_agent.protocol.session import Nbd, Over, Release, Session, WireGuard, parse

KEY = base64.b64encode(bytes(range(32))).decode()

DATAGRAM = base64.b64encode(bytes(192)).decode()

EXAMPLE = {
    "version": 1,
    "mac": "52:54:00:00:00:02",
    "server": "fe80::5054:ff:fe00:1",
    "wireguard": {
        "private_key": KEY,
        "peer_public_key": KEY,
        "preshared_key": KEY,
        "port": 61572,
        "address": "fd73:7469:6566:656c::2",
        "peer_address": "fd73:7469:6566:656c::1",
    },
    "nbd": {"port": 10809, "export": "disk", "connections": 4, "block_size": 512},
    "release": {"port": 61571, "token": "ab" * 32},
    "over": {"question": DATAGRAM, "answer": DATAGRAM},
}

ports = st.integers(1, 65535)
keys = st.binary(min_size=32, max_size=32).map(lambda raw: base64.b64encode(raw).decode())
datagrams = st.binary(min_size=192, max_size=192).map(lambda raw: base64.b64encode(raw).decode())
addresses = st.ip_addresses(v=6).map(str)
tunnels = st.builds(
    WireGuard, peer_public_key=keys, port=ports, address=addresses, peer_address=addresses,
    private_key=keys, preshared_key=keys,
)  # fmt: skip
sessions = st.builds(
    Session,
    mac=st.binary(min_size=6, max_size=6).map(lambda raw: raw.hex(":")),
    server=st.ip_addresses(network="fe80::/10").map(str),
    wireguard=st.none() | tunnels,
    nbd=st.builds(
        Nbd,
        port=ports,
        export=st.text(st.characters(codec="utf-8"), min_size=1, max_size=60),
        connections=st.integers(1, 16),
        block_size=st.sampled_from([512, 1024, 2048, 4096]),
    ),
    release=st.builds(Release, port=ports, token=st.binary(min_size=16, max_size=64).map(bytes.hex)),
    over=st.none() | st.builds(Over, question=datagrams, answer=datagrams),
    packet=st.integers(1280, 9000),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def paths(document, prefix=()):
    for name, value in document.items():
        yield (*prefix, name)
        if isinstance(value, dict):
            yield from paths(value, (*prefix, name))


def parent_of(document, path):
    for name in path[:-1]:
        document = document[name]
    return document


def test_the_documented_example_is_read():
    session = parse(json.dumps(EXAMPLE))
    assert session.server_host == "fd73:7469:6566:656c::1"
    assert session.nbd == Nbd(port=10809, export="disk", connections=4, block_size=512)


def test_a_usual_cable_is_not_spoken_of_so_that_an_older_laptop_reads_it():
    session = parse(json.dumps(EXAMPLE))
    assert session.packet == 1500
    assert "packet" not in json.loads(session.to_json())
    assert parse(json.dumps(EXAMPLE | {"packet": 9000})).packet == 9000


def test_without_encryption_the_laptop_is_reached_on_the_cable():
    assert parse(json.dumps(EXAMPLE | {"wireguard": None})).server_host == "fe80::5054:ff:fe00:1%stiefellink"


@given(sessions)
def test_what_is_written_is_read_back(session):
    assert parse(session.to_json()) == session


@given(sessions)
def test_the_redacted_copy_has_no_key_and_is_read_back_only_as_such(session):
    text = session.redacted().to_json()
    assert parse(text, redacted=True) == session.redacted()
    if session.wireguard:
        assert session.wireguard.private_key not in text or session.wireguard.private_key == (
            session.wireguard.peer_public_key
        )
        assert "private_key" not in text
        assert "preshared_key" not in text
        with pytest.raises(SessionInvalid):
            parse(text)
        with pytest.raises(SessionInvalid):
            parse(session.to_json(), redacted=True)


def test_a_printed_session_shows_no_secret():
    wireguard = EXAMPLE["wireguard"] | {"peer_public_key": base64.b64encode(bytes(32)).decode()}
    shown = repr(parse(json.dumps(EXAMPLE | {"wireguard": wireguard})))
    assert KEY not in shown
    assert EXAMPLE["release"]["token"] not in shown


@pytest.mark.parametrize("path", list(paths(EXAMPLE)), ids=".".join)
def test_a_missing_member_is_refused(path):
    document = json.loads(json.dumps(EXAMPLE))
    del parent_of(document, path)[path[-1]]
    with pytest.raises(SessionInvalid):
        parse(json.dumps(document))


@pytest.mark.parametrize("path", [(), ("wireguard",), ("nbd",), ("release",)], ids=str)
def test_an_unknown_member_is_refused(path):
    document = json.loads(json.dumps(EXAMPLE))
    parent_of(document, (*path, "extra"))["extra"] = 1
    with pytest.raises(SessionInvalid):
        parse(json.dumps(document))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("version",), 2),
        (("version",), True),
        (("mac",), "52:54:00:00:00"),
        (("mac",), "52:54:00:00:00:02\n"),
        (("server",), "2001:db8::1"),
        (("server",), "fe80::1%eth0"),
        (("wireguard", "private_key"), base64.b64encode(bytes(31)).decode()),
        (("wireguard", "private_key"), None),
        (("wireguard", "port"), 0),
        (("wireguard", "port"), True),
        (("wireguard", "address"), "10.0.0.1"),
        (("nbd", "block_size"), 8192),
        (("nbd", "connections"), 0),
        (("nbd", "export"), ""),
        (("nbd", "export"), "x" * 256),
        (("packet",), 1279),
        (("packet",), "1500"),
        (("release", "token"), "abc"),
        (("release", "token"), "AB" * 32),
    ],
    ids=str,
)
def test_a_value_that_cannot_be_meant_is_refused(path, value):
    document = json.loads(json.dumps(EXAMPLE))
    parent_of(document, path)[path[-1]] = value
    with pytest.raises(SessionInvalid):
        parse(json.dumps(document))


@given(st.sampled_from(list(paths(EXAMPLE))), json_values)
def test_any_other_value_is_either_a_session_or_refused(path, value):
    document = json.loads(json.dumps(EXAMPLE))
    parent_of(document, path)[path[-1]] = value
    with contextlib.suppress(SessionInvalid):
        parse(json.dumps(document))


@given(st.binary() | st.text())
def test_any_bytes_are_either_a_session_or_refused(data):
    with pytest.raises(SessionInvalid):
        parse(data)
