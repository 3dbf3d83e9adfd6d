import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stiefel_agent.errors import KeyFileError, PassphraseError
from stiefel_agent.protocol import keys
from stiefel_agent.protocol.keys import Key, LockedKey, ScryptParameters

CHEAP = ScryptParameters(bytes(range(16)), n=1 << 14)
KEY = Key("stick", bytes(range(32)))
LOCKED = keys.lock(KEY, "Grüße", CHEAP)

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}", fullmatch=True)
plain = st.builds(Key, names, st.binary(min_size=32, max_size=32))
locked = st.builds(LockedKey, names, st.just(CHEAP), st.binary(min_size=64, max_size=64))
keyrings = st.lists(plain | locked, min_size=1, max_size=16, unique_by=lambda entry: entry.name)


@given(keyrings)
def test_parse_reverses_serialise(entries):
    assert list(keys.parse(keys.serialise(entries))) == entries


def test_the_documented_file_is_read():
    text = '{"version": 1, "keys": [{"name": "stick", "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}]}'
    assert keys.parse(text) == (KEY,)
    assert keys.parse(text.encode()) == (KEY,)


def _document(**changes):
    entry = {"name": "stick", "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="} | changes
    return json.dumps({"version": 1, "keys": [entry]})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "[" * 60000,
        '{"version": 1}',
        '{"version": 1, "keys": []}',
        '{"version": 2, "keys": []}',
        '{"version": 1, "keys": {}}',
        '{"version": 1, "keys": [1]}',
        _document().replace('"version": 1,', '"version": 1, "version": 1,'),
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
    st.sampled_from(["name", "scrypt", "sealed"]),
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
    assert entry.unlock("Grüße") == KEY
    assert entry.unlock("Gru\u0308ße") == KEY, "the same passphrase typed with a combining accent"
    with pytest.raises(PassphraseError):
        entry.unlock("Grusse")


@pytest.mark.parametrize(
    "change",
    [{"name": "other"}, {"scrypt": replace(CHEAP, n=1 << 15)}, {"sealed": bytes(64)}],
    ids=["name", "scrypt", "sealed"],
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
    parameters = [keys.lock(KEY, "", CHEAP).sealed for _ in range(2)]
    assert parameters[0] != parameters[1]


@settings(max_examples=20)
@given(st.binary(min_size=32, max_size=32))
def test_a_secret_never_shows(secret):
    key = Key("stick", secret)
    for shown in (repr(key), str(key), repr([key]), repr(replace(LOCKED, sealed=secret * 2))):
        assert repr(secret)[2:-1] not in shown
        assert secret.hex() not in shown


def test_a_laptop_wants_its_keys_unlocked():
    assert keys.unlocked([KEY]) == (KEY,)
    with pytest.raises(KeyFileError):
        keys.unlocked([KEY, LOCKED])


def test_generated_keys_differ():
    assert Key.generate("a").secret != Key.generate("a").secret
