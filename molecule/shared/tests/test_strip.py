"""The moving picture of a session."""

import struct
import zlib

import pytest
from lab.machines.picture import Picture
from lab.machines.shell import LabError
from lab.machines.strip import animated, chunks, load, strip

WHITE, GREY, BLACK = (bytes([level]) * 3 for level in (255, 128, 0))


def test_black_pictures_and_those_shown_before_are_left_out(tmp_path):
    pictures = [Picture(40, 30, WHITE * 1200), Picture(40, 30, BLACK * 1200), Picture(40, 30, WHITE * 1200)]
    for number, picture in enumerate([*pictures, Picture(20, 10, GREY * 200)]):
        picture.save(tmp_path / f"{number:02d}.png")
    (tmp_path / "out").mkdir()
    assert strip(tmp_path, tmp_path / "out/strip.png") == 2

    found = list(chunks((tmp_path / "out/strip.png").read_bytes()))
    assert [kind for kind, _ in found] == [b"IHDR", b"acTL", b"fcTL", b"IDAT", b"fcTL", b"fdAT", b"IEND"]
    content = dict(found)
    assert struct.unpack(">II", content[b"acTL"]) == (2, 0)
    assert [struct.unpack_from(">I", data)[0] for kind, data in found if kind in (b"fcTL", b"fdAT")] == [0, 1, 2]
    rows = zlib.decompress(content[b"fdAT"][4:])
    middle = rows[15 * 121 + 1 : 16 * 121]
    assert middle == BLACK * 10 + GREY * 20 + BLACK * 10
    assert rows[1:121] == BLACK * 40


def test_a_saved_picture_is_read_as_it_was(tmp_path):
    picture = Picture(3, 2, bytes(range(18)))
    picture.save(tmp_path / "x.png")
    assert load(tmp_path / "x.png") == picture


def test_nothing_to_show_is_an_error():
    with pytest.raises(LabError):
        animated([])
