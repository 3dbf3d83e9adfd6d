"""A device that hangs begins anew: the kernel takes it from its driver and gives it back.

Source: the kernel's Documentation/ABI/testing/sysfs-bus-pci and sysfs-bus-usb, `unbind` and `bind`.
"""

import os
from contextlib import suppress

from stiefel_agent.machine.rtnl import Interface


class Rebinding:
    """One rebinding at a time, in a process of its own: a driver may take for ever, and the keeper must not.

    /sys is that of PID 1, by way of /proc as it was opened in the initrd (see voice.Voice).
    """

    def __init__(self, proc: str = "/proc", sys: str = "1/root/sys") -> None:
        """`sys`: below `proc`, or anywhere."""
        self._proc = os.open(proc, os.O_PATH | os.O_CLOEXEC)
        self._bus = f"{sys}/bus"
        self._child = 0

    def busy(self) -> bool:
        """Say whether the last one is still under way."""
        if self._child:
            with suppress(ChildProcessError):
                if os.waitpid(self._child, os.WNOHANG) == (0, 0):
                    return True
            self._child = 0
        return False

    def begin(self, interface: Interface) -> None:
        """Begin to rebind an interface's device; the interface that comes then is a new one.

        Of a USB adapter it is the whole device, as if it were plugged in anew: `1-2` of its interface `1-2:1.0`.

        Raises:
            OSError: it has no device, or that no driver.
        """
        device = interface.device.partition(":")[0] if interface.bus == "usb" else interface.device
        bus = f"{self._bus}/{interface.bus}"
        driver = os.readlink(f"{bus}/devices/{device}/driver", dir_fd=self._proc).rpartition("/")[2]
        self._child = os.fork()
        if self._child == 0:
            try:
                for act in ("unbind", "bind"):
                    self._write(f"{bus}/drivers/{driver}/{act}", device)
            finally:
                os._exit(0)

    def _write(self, path: str, text: str) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._proc)
        try:
            os.write(file, text.encode())
        finally:
            os.close(file)
