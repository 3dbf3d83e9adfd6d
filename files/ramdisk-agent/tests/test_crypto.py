import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefel_agent.errors import SealError
from stiefel_agent.protocol import crypto

SOURCE = Path(crypto.__file__).parents[2]
KEY, NONCE = bytes(range(32)), bytes(range(16))
P256_PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1


@pytest.mark.parametrize(
    ("message", "key", "nonce", "header", "sealed"),
    [
        (
            "",
            "233952DEE4D5ED5F9B9C6D6FF80FF478",
            "62EC67F9C3A4A407FCB2A8C49031A8B3",
            "6BFB914FD07EAE6B",
            "E037830E8389F27B025A2D6527E79D01",
        ),
        (
            "F7FB",
            "91945D3F4DCBEE0BF45EF52255F095A4",
            "BECAF043B0A23D843194BA972C66DEBD",
            "FA3BFD4806EB53FA",
            "19DD5C4C9331049D0BDAB0277408F67967E5",
        ),
    ],
)
def test_seal_agrees_with_the_vectors_of_the_eax_paper(message, key, nonce, header, sealed):
    arguments = [bytes.fromhex(field) for field in (key, nonce, header, message)]
    assert crypto.seal(*arguments) == bytes.fromhex(sealed)


def test_seal_frame_agrees_with_test_case_16_of_the_gcm_paper():
    key = "feffe9928665731c6d6a8f9467308308" * 2
    associated = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
    frame = (
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
    )
    sealed = crypto.seal_frame(bytes.fromhex(key), 0xCAFEBABEFACEDBADDECAF888, *map(bytes.fromhex, (associated, frame)))
    assert sealed.hex() == (
        "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
        "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"
    )


def test_derive_agrees_with_rfc_5869_case_1_cut_to_32_bytes():
    key = crypto.derive(bytes([0x0B] * 22), bytes(range(0xF0, 0xFA)), bytes(range(13)))
    assert key.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"


def test_stretch_agrees_with_rfc_7914():
    key = crypto.stretch(b"pleaseletmein", b"SodiumChloride", 16384, 8, 1)
    assert key.hex() == "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"


def test_agree_agrees_with_rfc_5903_section_8_1():
    ours = crypto.KeyPair(0xC88F01F510D9AC3F70A292DAA2316DE544E9AAB8AFE84049C62A9C57862D1433)
    theirs = crypto.KeyPair(0xC6EF9C5D78AE012A011164ACB397CE2088685D8F06BF9BE0B283AB46476BEE53)
    assert ours.public.hex() == (
        "04dad0b65394221cf9b051e1feca5787d098dfe637fc90b9ef945d0c3772581180"
        "5271a0461cdb8252d61f1c456fa3e59ab1f45b33accf5f58389e0577b8990bb3"
    )
    assert ours.agree(theirs.public) == theirs.agree(ours.public)
    assert ours.agree(theirs.public).hex() == "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"


def test_fresh_pairs_agree_and_differ():
    ours, theirs = crypto.KeyPair(), crypto.KeyPair()
    assert ours.agree(theirs.public) == theirs.agree(ours.public)
    assert ours.public != theirs.public


def _point(x: int, y: int) -> bytes:
    return b"\x04" + x.to_bytes(32, "big") + y.to_bytes(32, "big")


@pytest.mark.parametrize(
    "public",
    [
        b"",
        b"\x00",
        _point(0, 0),
        _point(1, 1),
        _point(P256_PRIME, P256_PRIME),
        _point(2**256 - 1, 2**256 - 1),
        b"\x02" + crypto.KeyPair(1).public[1:33],
        b"\x02" + crypto.KeyPair(1).public[1:],
        crypto.KeyPair(1).public + b"\0",
        crypto.KeyPair(1).public[:-1],
    ],
    ids=[
        "empty",
        "infinity",
        "0,0",
        "off curve",
        "prime",
        "above prime",
        "compressed",
        "prefix",
        "long",
        "short",
    ],
)
def test_agree_refuses_what_is_not_an_uncompressed_point_of_the_curve(public):
    with pytest.raises(SealError):
        crypto.KeyPair(5).agree(public)


@given(st.binary(min_size=65, max_size=65).map(lambda data: b"\x04" + data[1:]))
def test_agree_never_raises_anything_but_seal_error(public):
    with pytest.raises(SealError):
        crypto.KeyPair(5).agree(public)


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_unseal_reverses_seal(plaintext, associated):
    sealed = crypto.seal(KEY, NONCE, associated, plaintext)
    assert len(sealed) == len(plaintext) + crypto.TAG_SIZE
    assert crypto.unseal(KEY, NONCE, associated, memoryview(bytearray(sealed))) == plaintext


@given(st.binary(max_size=100), st.data())
def test_unseal_refuses_any_change(plaintext, data):
    sealed = crypto.seal(KEY, NONCE, b"associated", plaintext)
    changed = bytearray(sealed)
    changed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    cut = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
    for key, nonce, associated, candidate in (
        (KEY, NONCE, b"associated", changed),
        (KEY, NONCE, b"associated", cut),
        (KEY, NONCE, b"associated", sealed + b"\0"),
        (KEY, NONCE, b"Associated", sealed),
        (KEY, bytes(16), b"associated", sealed),
        (bytes(32), NONCE, b"associated", sealed),
    ):
        with pytest.raises(SealError):
            crypto.unseal(key, nonce, associated, candidate)


def test_purposes_and_salts_give_different_keys():
    assert len({crypto.derive(KEY, purpose, salt) for purpose in (b"a", b"b") for salt in (b"", b"c")}) == 4


PROBE = """
import sys
from stiefel_agent.protocol import crypto
assert not any(name.endswith((".DH", ".ECC")) for name in sys.modules), "key agreement loaded before its use"
sealed = crypto.seal(bytes(32), bytes(16), b"ad", b"text")
assert crypto.unseal(bytes(32), bytes(16), b"ad", sealed) == b"text"
ours, theirs = crypto.KeyPair(2), crypto.KeyPair(3)
assert ours.agree(theirs.public) == theirs.agree(ours.public)
crypto.derive(bytes(32), b"purpose"), crypto.stretch(b"a", b"b", 16, 1, 1)
loaded = {name.split(".")[0] for name in sys.modules} & {"Crypto", "Cryptodome"}
print(crypto.PACKAGE, *loaded, sealed.hex())
"""


def _package_named(name: str, folder: Path) -> None:
    """Lay pycryptodome into `folder` under one of its two names; they differ in nothing but that name."""
    spec = find_spec(crypto.PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    shutil.copytree(spec.submodule_search_locations[0], folder / name, ignore=shutil.ignore_patterns("SelfTest"))
    for source in (folder / name).rglob("*.py"):
        source.write_text(re.sub(rf"\b{crypto.PACKAGE}\b", name, source.read_text()))


@pytest.mark.parametrize("name", ["Crypto", "Cryptodome"])
def test_either_name_of_pycryptodome_will_do(name, tmp_path):
    _package_named(name, tmp_path)
    # -S: no site-packages, so that only the one name exists
    command = [sys.executable, "-S", "-c", PROBE]
    path = {"PYTHONPATH": f"{tmp_path}:{SOURCE}", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    sealed = crypto.seal(bytes(32), bytes(16), b"ad", b"text").hex()
    assert done.stdout.split() == [name, name, sealed]


def test_only_crypto_knows_pycryptodome():
    naming = [path.name for path in SOURCE.rglob("*.py") if re.search(r"\bCrypto(dome)?\b", path.read_text())]
    assert naming == ["crypto.py"]
