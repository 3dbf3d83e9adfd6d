"""Make the test vectors of docs/protocol.md from fixed inputs: `PYTHONPATH=src python tests/make_vectors.py`."""

import json
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from pairing import (
    AUTOKEXEC,
    CLIENT,
    CLIENT_INTERFACE,
    FACTS,
    GRANT,
    KEY,
    LAPTOP,
    SERVER,
    STICK,
    Conversation,
    Drawn,
    Pair,
)

from stiefel_agent.protocol import keys
from stiefel_agent.protocol.bundle import Encoder, Manifest
from stiefel_agent.protocol.crypto import KeyPair, derive
from stiefel_agent.protocol.discovery import Challenged, Datagram, Proven
from stiefel_agent.protocol.messages import Kind, Notice, NoticeState
from stiefel_agent.protocol.probing import Probing

FOLDER = Path(__file__).parent / "vectors"
BUNDLE_KEY = sha256(b"bundle key").digest()
PASSPHRASE = "zum Stiefel"
SCRYPT = keys.ScryptParameters(bytes(range(16)), n=1 << 14)


def key_schedule() -> dict[str, str]:
    """Label of each purpose -> the key that the long-term key gives for it."""
    discovery = Kind.BEACON, Kind.CHALLENGE, Kind.PROOF, Kind.NOTICE, Kind.PROBE, Kind.ECHO
    hellos = Kind.CLIENT_HELLO, Kind.SERVER_HELLO
    return {kind.value: derive(KEY.secret, kind.label).hex() for kind in (*discovery, *hellos)}


def discovery() -> dict[str, str]:
    """The four datagrams of stage autokexec."""
    pair = Pair(AUTOKEXEC)
    beacon = pair.seeker.beacon(CLIENT_INTERFACE, 0.0)
    challenge = pair.answerer.receive(beacon, CLIENT, 0.0)
    assert isinstance(challenge, Datagram)
    challenged = pair.seeker.receive(challenge.data, LAPTOP, 0.0)
    assert isinstance(challenged, Challenged)
    proof = pair.seeker.prove(challenged, "desktop")
    proven = pair.answerer.receive(proof.data, CLIENT, 0.0)
    assert isinstance(proven, Proven)
    notice = pair.answerer.notice(proven, Notice(NoticeState.COUNTDOWN, 10))
    sent = {"beacon": beacon, "challenge": challenge.data, "proof": proof.data, "notice": notice.data}
    return {name: data.hex() for name, data in sent.items()}


def probing() -> dict[str, str]:
    """A probe for the smallest packet and its echo, by a laptop whose interface takes 1500 bytes."""
    pair = Pair(SERVER)
    exchange = pair.challenged().exchange
    probe = Probing(exchange, LAPTOP, 1280, Drawn("probing")).probes()[0]
    echo = pair.answerer.receive(probe, CLIENT, 0.0)
    assert isinstance(echo, Datagram)
    sent = {"Nc": exchange.client_nonce, "Ns": exchange.server_nonce, "probe": probe, "echo": echo.data}
    return {name: data.hex() for name, data in sent.items()}


def handshake() -> dict[str, str]:
    """The nonces, the six messages and the secrets of a session that was granted."""
    scalars = [int.from_bytes(sha256(seed).digest(), "big") for seed in (b"client ephemeral", b"server ephemeral")]
    conversation = Conversation(Pair(SERVER), ephemerals=(KeyPair(scalars[0]), KeyPair(scalars[1])))
    exchange = conversation.exchange
    conversation.finish()
    assert conversation.granted
    secrets = conversation.granted.secrets
    values = {"Nc": exchange.client_nonce, "Ns": exchange.server_nonce}
    values |= {"ee": KeyPair(scalars[0]).agree(KeyPair(scalars[1]).public)}
    values |= {"es": KeyPair(scalars[0]).agree(STICK.laptop_public)}
    values |= dict(zip(Conversation.NAMES, conversation.messages, strict=True))
    values |= {"bundle key": secrets.bundle_key, "preshared key": secrets.preshared_key}
    values |= {"release token": secrets.release_token}
    values |= {"question": conversation.granted.question, "over": conversation.granted.over}
    payloads = {"facts payload": FACTS.encode(), "answer payload": GRANT.encode()}
    return {name: data.hex() for name, data in (values | payloads).items()}


def bundle() -> dict[str, object]:
    """A bundle of 300000 + 100 bytes: its key, manifest, and the SHA-256 of each frame."""
    kernel, initrd = Drawn("kernel")(300_000), Drawn("initrd")(100)
    manifest = Manifest("laptop", "6.12.0-amd64", "root=UUID=1234 quiet", len(kernel), len(initrd))
    frames = list(Encoder(BUNDLE_KEY, manifest, BytesIO(kernel), BytesIO(initrd)))
    hashes = [sha256(frame).hexdigest() for frame in frames]
    return {
        "key": BUNDLE_KEY.hex(),
        "manifest": manifest.encode().hex(),
        "sizes": [len(frame) for frame in frames],
        "sha256": hashes,
    }


def key_file() -> dict[str, object]:
    """One entry of each form, as parsed JSON."""
    locked = keys.lock(STICK, PASSPHRASE, SCRYPT, Drawn("key file"))
    files = {"laptop": [KEY], "stick": [STICK], "locked": [locked]}
    return {"passphrase": PASSPHRASE} | {name: json.loads(keys.serialise(made)) for name, made in files.items()}


MAKERS = {
    "key_schedule": key_schedule,
    "discovery": discovery,
    "probing": probing,
    "handshake": handshake,
    "bundle": bundle,
    "key_file": key_file,
}

if __name__ == "__main__":
    for name, make in MAKERS.items():
        (FOLDER / f"{name}.json").write_text(json.dumps(make(), indent=2) + "\n")
