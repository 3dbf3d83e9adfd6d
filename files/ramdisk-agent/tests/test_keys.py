import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stiefel_agent.errors import KeyFileError, OldKeyFile, PassphraseError
from stiefel_agent.protocol import crypto, keys
from stiefel_agent.protocol.keys import Key, LockedKey, ScryptParameters, StickKey

CHEAP = ScryptParameters(bytes(range(16)), n=1 << 14)
PRIVATE = bytes(31) + b"\2"
KEY = Key("stick", bytes(range(32)), PRIVATE)
STICK = KEY.for_stick()
LOCKED = keys.lock(STICK, "Grüße", CHEAP)

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", fullmatch=True)
secrets = st.binary(min_size=32, max_size=32)
privates = st.integers(1, crypto.ORDER - 1).map(lambda scalar: scalar.to_bytes(32, "big"))
publics = st.binary(min_size=64, max_size=64).map(lambda data: b"\4" + data)
laptops = st.builds(Key, names, secrets, privates)
sticks = st.builds(StickKey, names, secrets, publics)
locked = st.builds(LockedKey, names, st.just(CHEAP), st.binary(min_size=64, max_size=64), publics)
keyrings = st.lists(laptops | sticks | locked, min_size=1, max_size=16, unique_by=lambda entry: entry.name)


@given(keyrings)
def test_parse_reverses_serialise(entries):
    assert list(keys.parse(keys.serialise(entries))) == entries


def test_the_documented_file_is_read():
    entry = '{"name": "stick", "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "laptop_private": "%s"}'
    text = '{"version": 2, "keys": [' + entry % base64.b64encode(PRIVATE).decode() + "]}"
    assert keys.parse(text) == (KEY,)
    assert keys.parse(text.encode()) == (KEY,)


def _document(**changes):
    entry = {"name": "stick", "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}
    entry |= {"laptop_private": base64.b64encode(PRIVATE).decode()} | changes
    return json.dumps({"version": 2, "keys": [entry]})


OLD = '{"version": 1, "keys": [{"name": "stick", "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}]}'


def test_a_file_of_version_1_is_told_apart_and_can_be_upgraded_with_its_keys_kept():
    with pytest.raises(OldKeyFile, match="--tags key"):
        keys.parse(OLD)
    (first,), (second,) = keys.upgraded(OLD), keys.upgraded(OLD)
    assert (first.name, first.secret) == (KEY.name, KEY.secret)
    assert first.laptop_private != second.laptop_private


@pytest.mark.parametrize("text", ["", _document(), OLD.replace("AAEC", "AA"), OLD.replace('"key"', '"sealed"')])
def test_nothing_but_a_laptops_file_of_version_1_is_upgraded(text):
    with pytest.raises(KeyFileError):
        keys.upgraded(text)


def test_a_stick_never_gets_the_laptops_private_half():
    assert PRIVATE not in (STICK.secret, STICK.laptop_public)
    for entry in (STICK, LOCKED):
        assert keys.carried([entry]) == entry
        assert base64.b64encode(PRIVATE).decode() not in keys.serialise([entry])
    for entries in ([KEY], [STICK, replace(STICK, name="other")], []):
        with pytest.raises(KeyFileError):
            keys.carried(entries)


@pytest.mark.parametrize("private", [bytes(32), b"\xff" * 32, crypto.ORDER.to_bytes(32, "big"), bytes(31), bytes(33)])
def test_a_private_key_that_is_none_of_the_curve_is_refused(private):
    with pytest.raises(KeyFileError):
        Key("stick", bytes(32), private)


def test_a_private_key_is_drawn_until_it_is_one():
    draws = iter([bytes(32), b"\xff" * 32, PRIVATE])
    assert crypto.new_private(lambda size: next(draws)) == PRIVATE


@pytest.mark.parametrize("public", [b"", b"\4" + bytes(63), b"\2" + bytes(64), b"\4" + bytes(65)])
def test_a_public_key_of_another_form_is_refused(public):
    with pytest.raises(KeyFileError):
        StickKey("stick", bytes(32), public)
    with pytest.raises(KeyFileError):
        LockedKey("stick", CHEAP, bytes(64), public)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 60000,
        '{"version": 2}',
        '{"version": 2, "keys": []}',
        '{"version": 3, "keys": []}',
        '{"version": true, "keys": []}',
        '{"version": 2, "keys": {}}',
        '{"version": 2, "keys": [1]}',
        _document().replace('"version": 2,', '"version": 2, "version": 2,'),
        _document(laptop_private=""),
        _document(laptop_public="AAEC"),
        _document().replace('"name":', '"name": "stick", "name":'),
        _document(extra=1),
        _document(name=""),
        _document(name="../etc"),
        _document(name=7),
        _document(name="x" * 33),
        _document(key=7),
        _document(key=""),
        _document(key="AAEC"),
        _document(key="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"),
        _document(key="AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9="),
        _document(key=" AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        _document(key="ÄAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        _document(sealed="AAEC"),
        " " * 70000,
        b"\xff\xfe\x00",
    ],
)
def test_a_file_of_any_other_form_is_refused(text):
    with pytest.raises(KeyFileError):
        keys.parse(text)


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_parse_raises_nothing_but_key_file_error(text):
    with pytest.raises(KeyFileError):
        keys.parse(text)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
)


@given(
    json_values,
    st.sampled_from(["name", "scrypt", "sealed", "laptop_public"]),
    st.sampled_from(["n", "r", "p", "salt"]),
    st.booleans(),
)
def test_a_locked_entry_with_any_field_changed_is_refused_or_well_formed(value, field, parameter, deep):
    document = json.loads(keys.serialise([LOCKED]))
    where = document["keys"][0]["scrypt"] if deep else document["keys"][0]
    where[parameter if deep else field] = value
    try:
        (entry,) = keys.parse(json.dumps(document))
    except KeyFileError:
        return
    assert json.loads(keys.serialise([entry])) == document


def test_seventeen_keys_or_one_name_twice_are_refused_both_ways():
    for entries in ([replace(KEY, name=f"stick{n}") for n in range(17)], [KEY, KEY], []):
        with pytest.raises(KeyFileError):
            keys.serialise(entries)


def test_a_locked_key_opens_with_its_passphrase_only():
    (entry,) = keys.parse(keys.serialise([LOCKED]))
    assert isinstance(entry, LockedKey)
    assert entry.unlock("Grüße") == STICK
    assert entry.unlock("Gru\u0308ße") == STICK, "the same passphrase typed with a combining accent"
    with pytest.raises(PassphraseError):
        entry.unlock("Grusse")


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"scrypt": replace(CHEAP, n=1 << 15)},
        {"sealed": bytes(64)},
        {"laptop_public": crypto.KeyPair(3).public},
    ],
    ids=["name", "scrypt", "sealed", "laptop_public"],
)
def test_a_locked_key_is_bound_to_its_name_and_parameters(change):
    with pytest.raises(PassphraseError):
        replace(LOCKED, **change).unlock("Grüße")


@pytest.mark.parametrize("change", [{"n": 1 << 13}, {"n": 1 << 21}, {"n": 100000}, {"r": 9}, {"p": 0}, {"p": 5}])
def test_scrypt_parameters_out_of_bounds_are_refused(change):
    with pytest.raises(KeyFileError):
        replace(CHEAP, **change)


def test_true_is_not_a_number():
    document = json.loads(keys.serialise([LOCKED]))
    document["keys"][0]["scrypt"]["p"] = True
    with pytest.raises(KeyFileError):
        keys.parse(json.dumps(document))


def test_the_default_cost_is_owasps():
    default = ScryptParameters(bytes(16))
    assert (default.n, default.r, default.p) == (2**17, 8, 1)


def test_locking_draws_salt_and_nonce_anew():
    parameters = [keys.lock(STICK, "", CHEAP).sealed for _ in range(2)]
    assert parameters[0] != parameters[1]


@settings(max_examples=20)
@given(privates)
def test_a_secret_never_shows(secret):
    key = Key("stick", secret, secret)
    for shown in (repr(key), str(key), repr([key]), repr(replace(STICK, secret=secret))):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def test_a_laptop_wants_its_keys_unlocked():
    assert keys.unlocked([KEY]) == (KEY,)
    for entry in (LOCKED, replace(STICK, name="other")):
        with pytest.raises(KeyFileError):
            keys.unlocked([KEY, entry])


def test_generated_keys_differ():
    one, other = Key.generate("a"), Key.generate("a")
    assert len({one.secret, other.secret, one.laptop_private, other.laptop_private}) == 4
