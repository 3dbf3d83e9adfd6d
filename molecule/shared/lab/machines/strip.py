"""A session as one picture that moves: an animated PNG (https://www.w3.org/TR/png-3/), which browsers show anywhere."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from .picture import SIGNATURE, Picture, chunk
from .shell import LabError

SECONDS = 3
"""How long each picture is shown; the last one twice as long."""


def chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and data of each chunk of a PNG."""
    at = len(SIGNATURE)
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        yield content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        at += length + 12


def load(file: Path) -> Picture:
    """Read a picture that `Picture.save` has written; raises LabError for any other."""
    found = dict(chunks(file.read_bytes()))
    width, height = struct.unpack_from(">II", found[b"IHDR"])
    rows = zlib.decompress(found[b"IDAT"])
    row = 1 + 3 * width
    if len(rows) != row * height or any(rows[::row]):
        raise LabError(f"{file} is no picture that the lab has made")
    return Picture(width, height, b"".join(rows[at + 1 : at + row] for at in range(0, len(rows), row)))


def centred(picture: Picture, width: int, height: int) -> Picture:
    """Return a picture in the middle of a black one that is at least as large."""
    left, top = (width - picture.width) // 2, (height - picture.height) // 2
    row, right = 3 * picture.width, width - picture.width - left
    rows = (picture.pixels[at : at + row] for at in range(0, len(picture.pixels), row))
    lines = b"".join(bytes(3 * left) + line + bytes(3 * right) for line in rows)
    below = height - picture.height - top
    return Picture(width, height, bytes(3 * width * top) + lines + bytes(3 * width * below))


def telling(pictures: Sequence[Picture]) -> list[Picture]:
    """Return those on which there is something new to read: not black, and not shown before."""
    return [picture for picture in dict.fromkeys(pictures) if not picture.is_black]


def animated(pictures: Sequence[Picture]) -> bytes:
    """Return pictures as an animated PNG that starts again for ever; raises LabError when there is none."""
    if not pictures:
        raise LabError("there is no picture to show")
    width, height = (max(getattr(picture, side) for picture in pictures) for side in ("width", "height"))
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))]
    parts.append(chunk(b"acTL", struct.pack(">II", len(pictures), 0)))
    number = 0
    for index, picture in enumerate(pictures):
        shown = SECONDS * (2 if picture is pictures[-1] else 1)
        parts.append(chunk(b"fcTL", struct.pack(">IIIIIHHBB", number, width, height, 0, 0, shown, 1, 0, 0)))
        rows = centred(picture, width, height).packed
        # The first one is what a program shows that knows no animation.
        parts.append(chunk(b"fdAT", struct.pack(">I", number + 1) + rows) if index else chunk(b"IDAT", rows))
        number += 2 if index else 1
    return SIGNATURE + b"".join(parts) + chunk(b"IEND", b"")


def strip(folder: Path, file: Path) -> int:
    """Make one of a session's screenshots, in their order, and return how many it shows."""
    shown = telling([load(picture) for picture in sorted(folder.glob("*.png"))])
    file.write_bytes(animated(shown))
    return len(shown)
