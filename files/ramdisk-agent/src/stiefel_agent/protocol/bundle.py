"""The bundle on the wire: a manifest, then kernel and initrd in authenticated frames, in constant memory.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizar 2015): frames are sealed under one key,
numbered by their nonces, and the last one is marked, so that a frame that is missing, repeated, moved or cut
off does not open. Frames carry no lengths: the authenticated manifest comes first and says how long
everything is. There is no checksum beside it: what opens is what the server read.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import BinaryIO, ClassVar, Self

from stiefel_agent.errors import BundleError, MessageError, StiefelError
from stiefel_agent.protocol.crypto import TAG_SIZE, seal_frame, unseal_frame
from stiefel_agent.protocol.messages import NAME_SIZE, Kind, pack_text, unpack, unpack_text

FRAME_SIZE = 256 * 1024
"""Plaintext bytes of every frame but a part's last."""
MANIFEST_SIZE = 8192
"""Plaintext bytes of the manifest's frame, padded with zeros."""
COMMAND_LINE_SIZE = 4096
"""Bytes of command line: Linux takes 2048 on x86 and arm64, 4096 elsewhere (COMMAND_LINE_SIZE in its
setup.h).
"""
PART_LIMIT = 2 << 30
"""Bytes of kernel or initrd that are accepted; both are held in RAM."""


class Part(Enum):
    """What a chunk is part of; sent in this order."""

    KERNEL = "kernel"
    INITRD = "initrd"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the bundle holds; kernel and initrd by their sizes in bytes."""

    laptop: str
    kernel_version: str
    command_line: str
    kernel_size: int
    initrd_size: int

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct(f"!{NAME_SIZE}s{NAME_SIZE}sQQ{COMMAND_LINE_SIZE}s")

    @property
    def total(self) -> int:
        """Bytes of kernel and initrd together."""
        return self.kernel_size + self.initrd_size

    def encode(self) -> bytes:
        """Return the payload; raises MessageError if a field is out of its range."""
        self._check()
        names = pack_text(self.laptop), pack_text(self.kernel_version)
        line = pack_text(self.command_line, COMMAND_LINE_SIZE)
        return self._LAYOUT.pack(*names, self.kernel_size, self.initrd_size, line)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Parse a padded payload; raises MessageError."""
        laptop, version, kernel_size, initrd_size, line = unpack(cls._LAYOUT, payload)
        manifest = cls(unpack_text(laptop), unpack_text(version), unpack_text(line), kernel_size, initrd_size)
        manifest._check()
        return manifest

    def _check(self) -> None:
        if not all(1 <= size <= PART_LIMIT for size in (self.kernel_size, self.initrd_size)):
            raise MessageError("a part of the bundle is empty or too large")


def _frames(manifest: Manifest) -> Iterator[tuple[Part, int]]:
    """Yield part and plaintext size of every frame after the manifest's; both sides cut alike."""
    for part, size in ((Part.KERNEL, manifest.kernel_size), (Part.INITRD, manifest.initrd_size)):
        for start in range(0, size, FRAME_SIZE):
            yield part, min(FRAME_SIZE, size - start)


def _associated(last: bool) -> bytes:
    return Kind.BUNDLE.label + bytes([last])


class Encoder:
    """Server: iterate over it once to get the sealed frames, each to be sent as it is.

    `done` counts the bytes of kernel and initrd that were sealed so far, `total` all of them.
    """

    def __init__(self, key: bytes, manifest: Manifest, kernel: BinaryIO, initrd: BinaryIO) -> None:
        """`key` is Secrets.bundle_key, used for this bundle only; the files are read from their positions on.

        Raises MessageError if the manifest cannot travel.
        """
        self._key, self._manifest, self._header = key, manifest, manifest.encode()
        self._files = {Part.KERNEL: kernel, Part.INITRD: initrd}
        self._number = 0
        self.done, self.total = 0, manifest.total

    def __iter__(self) -> Iterator[bytearray]:
        """Yield the manifest's frame and all others; raises BundleError if a file is shorter than
        promised.
        """
        if self._number:
            raise RuntimeError("a bundle is sealed only once")
        yield self._seal(self._header.ljust(MANIFEST_SIZE, b"\0"))
        for part, size in _frames(self._manifest):
            yield self._seal(self._read(part, size))

    def _read(self, part: Part, size: int) -> bytes:
        chunk = self._files[part].read(size)
        if len(chunk) != size:
            raise BundleError(f"the {part.value} became shorter on the laptop")
        self.done += size
        return chunk

    def _seal(self, plaintext: bytes) -> bytearray:
        number, self._number = self._number, self._number + 1
        return seal_frame(self._key, number, _associated(self.done == self.total), plaintext)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some authenticated bytes of one part, in order."""

    part: Part
    data: bytes = field(repr=False)


class Decoder:
    """Client: feed it what arrives. Use the parts only once `complete` is true.

    `manifest` is None until its frame has arrived. `done` counts the bytes of kernel and initrd that were
    authenticated so far, `total` all of them (0 while unknown).
    """

    def __init__(self, key: bytes) -> None:
        """`key` is Secrets.bundle_key."""
        self._key = key
        self._buffer = memoryview(bytearray(max(FRAME_SIZE, MANIFEST_SIZE) + TAG_SIZE))
        self._have, self._want, self._number = 0, MANIFEST_SIZE + TAG_SIZE, 0
        self._frames: Iterator[tuple[Part, int]] = iter(())
        self._part = Part.KERNEL
        self.complete = False
        self.manifest: Manifest | None = None
        self.done, self.total = 0, 0

    def feed(self, data: bytes | bytearray | memoryview) -> list[Chunk]:
        """Take bytes; return the chunks that became whole. feed(b"") says that the server closed the
        connection.

        Raises BundleError, and from then on always: for a frame that does not open, for an early end, and for
        more bytes than promised.
        """
        try:
            if not data:
                raise BundleError("the connection closed before its end")
            return list(self._open_frames(memoryview(data)))
        except StiefelError as error:
            self.complete, self._want = False, 0
            raise (error if isinstance(error, BundleError) else BundleError(str(error))) from None

    def _open_frames(self, data: memoryview) -> Iterator[Chunk]:
        while data:
            if not self._want:
                raise BundleError("more data than expected")
            taken = min(self._want - self._have, len(data))
            self._buffer[self._have : self._have + taken] = data[:taken]
            self._have, data = self._have + taken, data[taken:]
            if self._have == self._want:
                yield from self._open()

    def _open(self) -> Iterator[Chunk]:
        size = self._want - TAG_SIZE
        done = self.done + size if self.manifest else 0
        last = self.manifest is not None and done == self.total
        plaintext = unseal_frame(self._key, self._number, _associated(last), self._buffer[: self._want])
        self._number, self.done = self._number + 1, done
        if self.manifest is None:
            self._begin(Manifest.decode(plaintext))
        else:
            chunk = Chunk(self._part, plaintext)
            self._next()
            yield chunk

    def _begin(self, manifest: Manifest) -> None:
        self.manifest, self.total = manifest, manifest.total
        self._frames = _frames(manifest)
        self._next()

    def _next(self) -> None:
        self._have = 0
        self._part, size = next(self._frames, (self._part, -TAG_SIZE))
        self._want = size + TAG_SIZE
        self.complete = not self._want
