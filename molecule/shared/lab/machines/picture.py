"""What a screen shows: a picture to keep, how much of it is lit, and the words on it."""

from __future__ import annotations

import os
import re
import struct
import subprocess
import zlib
from dataclasses import dataclass
from pathlib import Path

from .shell import LabError

BRIGHT = 96
"""Of 255: the console's grey letters have 170, its dark blue has 170 in one channel only."""
BLACK_BELOW = 200
"""Bright pixels. A line of ten letters has about three hundred; a cursor that waits alone has sixteen."""
SIGNATURE = b"\x89PNG\r\n\x1a\n"
ENLARGED = 3
READ_SECONDS = 60
_IS_BRIGHT = bytes(value >= BRIGHT for value in range(256))
_INVERTED = bytes(255 - value for value in range(256))


@dataclass(frozen=True)
class Picture:
    """Red, green and blue of every pixel, a byte each, row after row from the top."""

    width: int
    height: int
    pixels: bytes

    @classmethod
    def from_ppm(cls, content: bytes) -> Picture:
        """Read what QEMU's screendump writes: binary PPM without comments (ppm(5)).

        Raises:
            LabError: it is something else, or not complete.
        """
        header = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", content)
        if not header:
            raise LabError("QEMU's picture of a screen is no PPM with 8 bits")
        width, height = int(header[1]), int(header[2])
        pixels = content[header.end() :]
        if len(pixels) != 3 * width * height:
            raise LabError("QEMU's picture of a screen is not complete")
        return cls(width, height, pixels)

    @property
    def bright_pixels(self) -> int:
        """How many pixels can be seen in a lit room, by their green."""
        return self.pixels[1::3].translate(_IS_BRIGHT).count(1)

    @property
    def is_black(self) -> bool:
        """Whether there is nothing on it that a person could read."""
        return self.bright_pixels < BLACK_BELOW

    def save(self, file: Path) -> None:
        """Write it as PNG (https://www.w3.org/TR/png/): one chunk of rows without a filter."""
        header = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        parts = (chunk(b"IHDR", header), chunk(b"IDAT", self.packed), chunk(b"IEND", b""))
        file.write_bytes(SIGNATURE + b"".join(parts))

    @property
    def packed(self) -> bytes:
        """The rows as PNG packs them."""
        row = 3 * self.width
        return zlib.compress(b"".join(b"\0" + self.pixels[at : at + row] for at in range(0, len(self.pixels), row)), 9)

    def text(self) -> str:
        """Read the words on it: a letter may be mistaken for one like it; on a machine too busy to read there are none.

        Raises:
            LabError: there is no tesseract, or it fails.
        """
        # Its threads wait for each other by turning: on a busy machine one of them is many times faster than two.
        alone = {**os.environ, "OMP_THREAD_LIMIT": "1"}
        command = ["tesseract", "-", "-", "--psm", "6"]
        try:
            done = subprocess.run(
                command, input=self._dark_on_light(), capture_output=True, check=True, timeout=READ_SECONDS, env=alone
            )
        except FileNotFoundError as error:
            raise LabError("tesseract is not installed: install the Debian package tesseract-ocr") from error
        except subprocess.TimeoutExpired:
            return ""
        except subprocess.CalledProcessError as error:
            raise LabError(f"tesseract cannot read a screen: {error}") from error
        return done.stdout.decode(errors="replace")

    def _dark_on_light(self) -> bytes:
        """As a grey PGM, enlarged, black on white: what a reader of printed pages is used to (pgm(5))."""
        green = self.pixels[1::3].translate(_INVERTED)
        width = self.width * ENLARGED
        content = bytearray()
        for at in range(0, len(green), self.width):
            row = bytearray(width)
            for copy in range(ENLARGED):
                row[copy::ENLARGED] = green[at : at + self.width]
            content += row * ENLARGED
        return b"P5 %d %d 255\n" % (width, self.height * ENLARGED) + content


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return one chunk of a PNG: its length, kind and data, and their checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
