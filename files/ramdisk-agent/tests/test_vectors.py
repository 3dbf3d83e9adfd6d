"""The committed vectors: what the agent sends today, and what docs/protocol.md says, read without the agent."""

import hmac
import json
from hashlib import sha256
from pathlib import Path

import make_vectors
import pytest
from pairing import KEY, STICK

from stiefel_agent.protocol import crypto, keys

FOLDER = Path(__file__).parent / "vectors"
SECRET = bytes(range(32))


def _vectors(name: str) -> dict[str, str]:
    return json.loads((FOLDER / f"{name}.json").read_text())


def _bytes(name: str) -> dict[str, bytes]:
    return {field: bytes.fromhex(value) for field, value in _vectors(name).items()}


def _hkdf(secret: bytes, salt: bytes, info: bytes) -> bytes:
    """RFC 5869 for one block of output."""
    extracted = hmac.digest(salt or bytes(32), secret, "sha256")
    return hmac.digest(extracted, info + b"\1", "sha256")


def _label(kind: str) -> bytes:
    return b"stiefelsystem 3 " + kind.encode() + b"\0"


@pytest.mark.parametrize("name", make_vectors.MAKERS)
def test_the_agent_still_sends_what_the_vectors_hold(name):
    assert make_vectors.MAKERS[name]() == _vectors(name)


def test_every_vector_is_compared():
    assert {path.stem for path in FOLDER.glob("*.json")} == set(make_vectors.MAKERS)


def test_key_schedule_by_the_document():
    for kind, key in _bytes("key_schedule").items():
        assert _hkdf(SECRET, b"", _label(kind)) == key


def test_discovery_by_the_document():
    sent = _bytes("discovery")
    beacon_nonce, challenge_nonce = sent["beacon"][1:17], sent["challenge"][1:17]
    seen = {"beacon": b"", "challenge": beacon_nonce}
    seen |= dict.fromkeys(("proof", "notice"), beacon_nonce + challenge_nonce)
    kinds = {
        "beacon": "client>laptop beacon",
        "challenge": "laptop>client challenge",
        "proof": "client>laptop proof",
        "notice": "laptop>client notice",
    }
    payloads = {
        "beacon": b"",
        "challenge": b"\1\0\0laptop",
        "proof": b"desktop",
        "notice": b"\1" + (10).to_bytes(4, "big") + (1).to_bytes(4, "big"),
    }
    for name, data in sent.items():
        label = _label(kinds[name])
        assert len(data) == 192
        assert data[0] == 3
        payload = crypto.unseal(_hkdf(SECRET, b"", label), data[1:17], label + seen[name], data[17:])
        assert payload == payloads[name].ljust(159, b"\0")


def test_probe_and_echo_by_the_document():
    said = _bytes("probing")
    nonces, size = said["Nc"] + said["Ns"], 1280 - 40 - 8
    probe, echo = said["probe"], said["echo"]
    assert (len(probe), len(echo)) == (size, size)
    label = _label("client>server probe")
    padding = bytes(size - 1 - 16 - 16)
    assert probe == b"\3" + probe[1:17] + crypto.seal(_hkdf(SECRET, b"", label), probe[1:17], label + nonces, padding)
    label = _label("server>client echo")
    opened = crypto.unseal(_hkdf(SECRET, b"", label), echo[1:17], label + nonces + probe[1:17], echo[17:])
    assert opened == (1500).to_bytes(2, "big").ljust(len(padding), b"\0")


def test_facts_by_the_document():
    payload = _bytes("handshake")["facts payload"]
    assert payload[:64] == b"desktop".ljust(64, b"\0")
    assert payload[64:96] == bytes(range(100, 132))
    machine = _hkdf(SECRET, sha256(b"product_uuid=desktop 1").digest(), _label("client>server machine"))[:16]
    assert payload[96:112] == machine
    assert int.from_bytes(payload[112:], "big") == 1400


def test_handshake_by_the_document():
    said = _bytes("handshake")
    nonces, client, server = said["Nc"] + said["Ns"], said["client hello"], said["server hello"]
    assert client[:17] == b"\3" + said["Ns"]
    label = _label("client>server hello")
    client_point = crypto.unseal(_hkdf(SECRET, b"", label), client[17:33], label + nonces, client[33:])
    label = _label("server>client hello")
    associated = label + nonces + client[17:33]
    server_point = crypto.unseal(_hkdf(SECRET, b"", label), server[:16], associated, server[16:])
    scalar = int.from_bytes(sha256(b"client ephemeral").digest(), "big")
    assert crypto.KeyPair(scalar).public == client_point
    assert crypto.KeyPair(scalar).agree(server_point) == said["ee"]
    laptop = crypto.KeyPair(int.from_bytes(sha256(b"laptop").digest(), "big"))
    assert laptop.agree(client_point) == said["es"]

    transcript = sha256(_label("client=server transcript") + laptop.public + nonces + client + server).digest()
    session = said["ee"] + said["es"] + SECRET
    records = {
        "client>server facts": ("facts", said["facts payload"]),
        "server>client answer": ("answer", said["answer payload"]),
        "client>server received": ("received", b""),
        "server>client ready": ("ready", b""),
    }
    for kind, (name, payload) in records.items():
        key = _hkdf(session, transcript, _label(kind))
        assert len(said[name]) == 528
        opened = crypto.unseal(key, bytes(16), _label(kind) + transcript, said[name])
        assert opened == payload.ljust(512, b"\0")
    for kind, name in (
        ("server>client bundle", "bundle key"),
        ("client=server wireguard preshared key", "preshared key"),
        ("client>server release token", "release token"),
    ):
        assert _hkdf(session, transcript, _label(kind)) == said[name]


def test_question_and_over_by_the_document():
    said = _bytes("handshake")
    client = crypto.KeyPair(int.from_bytes(sha256(b"client ephemeral").digest(), "big"))
    laptop = _hkdf(SECRET, sha256(b"/dev/disk/by-id/nvme-laptop").digest(), _label("server>client laptop"))[:16]
    label = _label("target>laptop question")
    nonce, sealed = said["question"][1:17], said["question"][17:]
    assert crypto.unseal(_hkdf(SECRET, b"", label), nonce, label, sealed) == (client.public + laptop).ljust(159, b"\0")
    label = _label("laptop>target over")
    key = _hkdf(said["es"] + SECRET, laptop, label)
    assert said["over"] == b"\3" + nonce + crypto.seal(key, nonce, label + nonce, bytes(159))


def test_grant_by_the_document():
    payload = _bytes("handshake")["answer payload"]
    assert payload[:2] == b"\1\1"
    assert payload[2:34] == bytes(range(200, 232))
    assert int.from_bytes(payload[34:36], "big") == 61572
    assert payload[36:52] == bytes.fromhex("fd73") + bytes(13) + b"\1"
    assert payload[52:68] == bytes.fromhex("fd73") + bytes(13) + b"\2"
    assert int.from_bytes(payload[68:70], "big") == 10809
    assert payload[70] == 4
    assert int.from_bytes(payload[71:75], "big") == 512
    assert int.from_bytes(payload[75:77], "big") == 61571
    assert payload[77:141] == bytes(range(16)).hex().encode().ljust(64, b"\0")
    identity = sha256(b"/dev/disk/by-id/nvme-laptop").digest()
    assert payload[141:] == _hkdf(SECRET, identity, _label("server>client laptop"))[:16]


def test_bundle_by_the_document():
    vector = json.loads((FOLDER / "bundle.json").read_text())
    key, manifest = bytes.fromhex(vector["key"]), bytes.fromhex(vector["manifest"]).ljust(8192, b"\0")
    kernel, initrd = make_vectors.Drawn("kernel")(300_000), make_vectors.Drawn("initrd")(100)
    assert manifest[128:144] == (300_000).to_bytes(8, "big") + (100).to_bytes(8, "big")
    assert manifest[144:].rstrip(b"\0") == b"root=UUID=1234 quiet"
    frames = [manifest, kernel[:262144], kernel[262144:], initrd]
    for number, (frame, size, expected) in enumerate(zip(frames, vector["sizes"], vector["sha256"], strict=True)):
        associated = _label("server>client bundle") + bytes([number == 3])
        sealed = crypto.seal_frame(key, number, associated, frame)
        assert (len(sealed), sha256(sealed).hexdigest()) == (size, expected)


def test_the_vectors_key_file_opens():
    vector = _vectors("key_file")
    (locked,) = keys.parse(json.dumps(vector["locked"]))
    assert keys.parse(json.dumps(vector["laptop"])) == (KEY,)
    assert keys.parse(json.dumps(vector["stick"])) == (STICK,)
    assert isinstance(locked, keys.LockedKey)
    assert locked.unlock(vector["passphrase"]) == STICK
