import io
import tracemalloc
from contextlib import suppress
from dataclasses import replace
from itertools import cycle, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pairing import Drawn

from stiefel_agent.errors import BundleError, MessageError
from stiefel_agent.protocol import bundle
from stiefel_agent.protocol.bundle import FRAME_SIZE, Decoder, Encoder, Manifest, Part
from stiefel_agent.protocol.crypto import TAG_SIZE

KEY = bytes(range(32))
KERNEL, INITRD = Drawn("kernel")(600_000), Drawn("initrd")(FRAME_SIZE + 1)
"""Three frames and two; with the manifest's, a bundle has six."""
COUNT = 6


def _manifest(kernel: bytes = KERNEL, initrd: bytes = INITRD) -> Manifest:
    return Manifest("laptop", "6.12.0-amd64", "root=UUID=1 quiet", len(kernel), len(initrd))


def _frames(kernel: bytes = KERNEL, initrd: bytes = INITRD, manifest: Manifest | None = None) -> list[bytes]:
    return list(Encoder(KEY, manifest or _manifest(kernel, initrd), io.BytesIO(kernel), io.BytesIO(initrd)))


FRAMES = _frames()


def _decode(decoder: Decoder, pieces: list[bytes]) -> dict[Part, bytes]:
    got = dict.fromkeys(Part, b"")
    for piece in pieces:
        for chunk in decoder.feed(piece):
            got[chunk.part] += chunk.data
    return got


sizes = st.sampled_from([1, 2, FRAME_SIZE - 1, FRAME_SIZE, FRAME_SIZE + 1, 2 * FRAME_SIZE, 777])


@settings(max_examples=50)
@given(sizes, sizes, st.lists(st.integers(1, 300_000), min_size=1))
def test_a_bundle_arrives_as_it_was_sent_in_any_pieces(kernel_size, initrd_size, cuts):
    kernel, initrd = bytes(kernel_size), b"i" * initrd_size
    stream, decoder = io.BytesIO(b"".join(_frames(kernel, initrd))), Decoder(KEY)
    pieces = list(takewhile(bool, (stream.read(cut) for cut in cycle([*cuts, 100_000]))))
    got = _decode(decoder, pieces)
    assert decoder.complete
    assert decoder.manifest == _manifest(kernel, initrd)
    assert got == {Part.KERNEL: kernel, Part.INITRD: initrd}


def test_progress_counts_bytes_on_both_sides():
    encoder = Encoder(KEY, _manifest(), io.BytesIO(KERNEL), io.BytesIO(INITRD))
    decoder, seen, total = Decoder(KEY), [], len(KERNEL) + len(INITRD)
    assert (decoder.done, decoder.total, decoder.manifest) == (0, 0, None)
    for frame in encoder:
        decoder.feed(frame)
        assert (encoder.done, encoder.total) == (decoder.done, decoder.total)
        seen.append(decoder.done)
        assert decoder.complete == (decoder.done == total)
    assert seen == sorted(seen)
    assert (seen[0], seen[-1], encoder.total) == (0, total, total)


def _refused(pieces: list[bytes]) -> None:
    """Neither these pieces make a bundle, nor does anything that follows them."""
    decoder = Decoder(KEY)
    with suppress(BundleError):
        _decode(decoder, pieces)
    assert not decoder.complete
    for piece in (b"", *pieces):
        with pytest.raises(BundleError):
            decoder.feed(piece)
    assert not decoder.complete


@pytest.mark.parametrize("count", range(COUNT))
def test_a_bundle_that_is_cut_between_frames_is_refused(count):
    _refused(FRAMES[:count])


@settings(max_examples=60)
@given(st.data())
def test_a_bundle_that_is_changed_anywhere_is_refused(data):
    stream = b"".join(FRAMES)
    where = data.draw(st.integers(0, len(stream) - 1))
    before, after = stream[:where], stream[where:]
    how = data.draw(st.sampled_from(["flip", "cut", "insert", "remove", "append"]))
    changed = {
        "flip": before + bytes([after[0] ^ 1]) + after[1:],
        "cut": before,
        "insert": before + b"\0" + after,
        "remove": before + after[1:],
        "append": stream + after,
    }[how]
    _refused([changed] if changed else [])


@given(st.permutations(range(COUNT)))
def test_frames_in_another_order_are_refused(order):
    if order != list(range(COUNT)):
        _refused([FRAMES[index] for index in order])


@pytest.mark.parametrize("number", range(COUNT))
def test_a_frame_that_is_missing_repeated_or_from_another_bundle_is_refused(number):
    before, after = FRAMES[:number], FRAMES[number + 1 :]
    _refused([*before, *after])
    _refused([*before, FRAMES[number], FRAMES[number], *after])
    foreign = list(Encoder(bytes(32), _manifest(), io.BytesIO(KERNEL), io.BytesIO(INITRD)))
    _refused([*before, foreign[number], *after])


def test_a_file_that_became_shorter_stops_the_encoder():
    with pytest.raises(BundleError, match="initrd"):
        list(Encoder(KEY, _manifest(), io.BytesIO(KERNEL), io.BytesIO(INITRD[:-1])))


def test_a_file_that_became_longer_is_sent_as_promised():
    decoder = Decoder(KEY)
    got = _decode(decoder, list(Encoder(KEY, _manifest(), io.BytesIO(KERNEL + b"x"), io.BytesIO(INITRD + b"y"))))
    assert decoder.complete
    assert got[Part.INITRD] == INITRD


def test_a_bundle_is_sealed_only_once():
    encoder = Encoder(KEY, _manifest(), io.BytesIO(KERNEL), io.BytesIO(INITRD))
    list(encoder)
    with pytest.raises(RuntimeError):
        list(encoder)


@given(st.binary(min_size=1, max_size=20000))
def test_garbage_is_refused_and_nothing_else_is_raised(data):
    decoder = Decoder(KEY)
    with pytest.raises(BundleError):
        assert decoder.feed(data) == []
        decoder.feed(b"")


# The manifest


part_sizes = st.integers(1, bundle.PART_LIMIT)
texts = st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=16)


@given(st.builds(Manifest, texts, texts, texts, part_sizes, part_sizes))
def test_a_manifest_reads_back(manifest):
    assert Manifest.decode(manifest.encode().ljust(bundle.MANIFEST_SIZE, b"\0")) == manifest


@given(st.binary(max_size=5000))
def test_a_manifest_parser_raises_nothing_but_message_error(payload):
    with pytest.raises(MessageError):
        Manifest.decode(payload)


@pytest.mark.parametrize(
    "change",
    [
        {"kernel_size": 0},
        {"initrd_size": bundle.PART_LIMIT + 1},
        {"command_line": "x" * 4097},
        {"command_line": "quiet\nroot=evil"},
        {"laptop": "x" * 65},
    ],
)
def test_a_manifest_that_cannot_travel_shows_before_the_first_frame(change):
    with pytest.raises(MessageError):
        Encoder(KEY, replace(_manifest(), **change), io.BytesIO(KERNEL), io.BytesIO(INITRD))


@pytest.mark.parametrize("size", [0, bundle.PART_LIMIT + 1, 2**64 - 1])
def test_a_manifest_that_promises_too_much_is_refused_before_a_byte_more_is_read(monkeypatch, size):
    manifest = replace(_manifest(), kernel_size=size)
    monkeypatch.setattr(Manifest, "_check", lambda _: None)
    header = next(iter(Encoder(KEY, manifest, io.BytesIO(), io.BytesIO())))
    monkeypatch.undo()
    with pytest.raises(BundleError):
        Decoder(KEY).feed(header)


# Memory


class _Zeros(io.RawIOBase):
    """A file of zeros that takes no memory."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        size = min(size, self.left)
        self.left -= size
        return bytes(size)


def test_a_large_bundle_takes_no_more_memory_than_a_small_one():
    size = 48 << 20
    manifest = Manifest("laptop", "6.12", "", size, size)
    decoder = Decoder(KEY)
    tracemalloc.start()
    for frame in Encoder(KEY, manifest, _Zeros(size), _Zeros(size)):  # type: ignore[arg-type]
        decoder.feed(frame)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert decoder.complete
    assert peak < 8 * FRAME_SIZE


def test_frames_are_as_large_as_documented():
    sizes = 8192, 262144, 262144, 600_000 - 2 * 262144, 262144, 1
    assert [len(frame) for frame in FRAMES] == [size + TAG_SIZE for size in sizes]
