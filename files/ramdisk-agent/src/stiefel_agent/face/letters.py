"""How large the letters of a console are: what is on it is read from some metres away."""

from __future__ import annotations

import fcntl
import os
import struct
from array import array
from contextlib import suppress

WIDTH, LINES = 78, 25
"""What a page needs, in letters."""
_KDFONTOP, _SET_DEFAULT = 0x4B72, 2
"""linux/kd.h: take one of the kernel's own fonts, by its name."""
_LARGE_FONT = b"TER16x32\0"
"""Terminus, the largest that Debian's kernel has (CONFIG_FONT_TER16x32): twice as wide and as high as the usual one."""


def is_large(size: os.terminal_size) -> bool:
    """Whether a page fits in letters of twice the size, too."""
    return size.columns // 2 >= WIDTH and size.lines // 2 >= LINES


def enlarge(terminal: int) -> None:
    """Take the kernel's large font where there is room.

    `terminal` is a descriptor of a console; text mode, and a kernel without that font, stay as they are.
    """
    if is_large(os.get_terminal_size(terminal)):
        name = array("b", _LARGE_FONT)
        with suppress(OSError):
            fcntl.ioctl(terminal, _KDFONTOP, struct.pack("@5IP", _SET_DEFAULT, 0, 0, 0, 0, name.buffer_info()[0]))
