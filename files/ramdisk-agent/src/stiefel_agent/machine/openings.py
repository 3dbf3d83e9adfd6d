"""Which files of a filesystem are opened, as the kernel announces it: fanotify(7)."""

import ctypes
import os
import struct
from collections.abc import Iterator

FAN_CLOEXEC, FAN_NONBLOCK, FAN_UNLIMITED_QUEUE, FAN_UNLIMITED_MARKS = 0x1, 0x2, 0x10, 0x20
FAN_MARK_ADD, FAN_MARK_IGNORED_MASK, FAN_MARK_IGNORED_SURV_MODIFY, FAN_MARK_FILESYSTEM = 0x1, 0x20, 0x40, 0x100
FAN_OPEN = 0x20
EVENT = struct.Struct("=IBBHQii")
"""linux/fanotify.h, fanotify_event_metadata: length, version, reserved, own length, mask, descriptor, process."""
AT_ONCE = 4096

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fanotify_mark.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p)


class Openings:
    """Every file is announced the first time that anybody opens it, in whatever mount namespace."""

    def __init__(self, folder: str) -> None:
        """Begin with the filesystem that a folder is on; raises OSError where the kernel cannot do that."""
        flags = FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE | FAN_UNLIMITED_MARKS
        self._group: int = _libc.fanotify_init(flags, os.O_RDONLY | os.O_CLOEXEC | os.O_NOATIME)
        if self._group < 0:
            raise OSError(ctypes.get_errno(), "fanotify_init")
        folder_file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._mark(FAN_MARK_FILESYSTEM, folder_file)
        except OSError:
            self.close()
            raise
        finally:
            os.close(folder_file)

    def fileno(self) -> int:
        """Return what becomes readable when a file has been opened."""
        return self._group

    def read(self) -> Iterator[int]:
        """Yield a descriptor of each file that was opened, until there is none; it is closed afterwards."""
        while True:
            try:
                events = os.read(self._group, AT_ONCE)
            except BlockingIOError:
                return
            except OSError:  # the file could not be opened for us: its event is gone, the next one is not
                continue
            for event in EVENT.iter_unpack(events):
                file = event[5]
                if file < 0:
                    continue
                try:
                    self._mark(FAN_MARK_IGNORED_MASK | FAN_MARK_IGNORED_SURV_MODIFY, file)
                    yield file
                finally:
                    os.close(file)

    def close(self) -> None:
        """End it."""
        os.close(self._group)

    def _mark(self, flags: int, file: int) -> None:
        if _libc.fanotify_mark(self._group, FAN_MARK_ADD | flags, FAN_OPEN, file, None):
            raise OSError(ctypes.get_errno(), "fanotify_mark")
