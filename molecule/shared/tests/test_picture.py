"""A picture of a screen is kept as it was, and a black one is known as such."""

import struct
import zlib

import pytest
from lab.machines import picture
from lab.machines.picture import BLACK_BELOW, Picture
from lab.machines.shell import LabError

GREY, BLACK = b"\xaa\xaa\xaa", b"\0\0\0"


def ppm(width, height, pixels):
    return b"P6\n%d %d\n255\n" % (width, height) + pixels


def test_a_screendump_is_read():
    picture = Picture.from_ppm(ppm(2, 1, b"\x0a\x20\x0d" + GREY))  # line ends and spaces among the pixels
    assert (picture.width, picture.height, picture.pixels) == (2, 1, b"\x0a\x20\x0d" + GREY)


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n", ppm(2, 2, GREY), b"P6 2 2 65535 " + GREY * 4])
def test_what_is_no_complete_screendump_is_an_error(content):
    with pytest.raises(LabError):
        Picture.from_ppm(content)


@pytest.mark.parametrize(
    ("lit", "black"),
    [(0, True), (16, True), (BLACK_BELOW - 1, True), (BLACK_BELOW, False), (5000, False)],
)
def test_a_cursor_alone_is_black_and_a_line_of_text_is_not(lit, black):
    assert Picture(100, 100, GREY * lit + BLACK * (10_000 - lit)).is_black is black


def test_a_dark_picture_is_black():
    assert Picture(100, 100, b"\x20\x20\x40" * 10_000).is_black


def test_it_is_saved_as_png(tmp_path):
    pixels = bytes(range(2 * 3 * 3))
    Picture(2, 3, pixels).save(tmp_path / "screen.png")
    content = (tmp_path / "screen.png").read_bytes()
    at, chunks = 8, {}
    while at < len(content):
        length, kind = struct.unpack_from(">I4s", content, at)
        chunks[kind] = content[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + chunks[kind]) == struct.unpack_from(">I", content, at + 8 + length)[0]
        at += 12 + length
    assert struct.unpack(">IIBBBBB", chunks[b"IHDR"]) == (2, 3, 8, 2, 0, 0, 0)
    rows = zlib.decompress(chunks[b"IDAT"])
    assert rows == b"".join(b"\0" + pixels[row : row + 6] for row in (0, 6, 12))


def test_a_machine_too_busy_to_read_sees_no_words_and_looks_again(tmp_path, monkeypatch):
    """Seen at a load of fourteen: a session that went well ended because its reader took a minute."""
    reader = tmp_path / "tesseract"
    reader.write_text("#!/bin/sh\nexec sleep 60\n")
    reader.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(picture, "READ_SECONDS", 0.2)
    assert Picture(8, 8, bytes(192)).text() == ""
