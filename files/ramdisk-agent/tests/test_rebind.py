"""A device that hangs is taken from its driver and given back, in a folder that looks like /sys."""

import os
import sys

import pytest

from stiefel_agent.machine.netlink import attribute
from stiefel_agent.machine.rebind import Rebinding
from stiefel_agent.machine.rtnl import Interface, decode


def interface(bus, device):
    return Interface(2, "stiefellink", "", up=True, carrier=True, ethernet=True, kind="", bus=bus, device=device)


def plugged(sys, bus, device, driver):
    """Make what /sys shows of a device with its driver; return the driver's folder."""
    folder = sys / "bus" / bus / "drivers" / driver
    folder.mkdir(parents=True)
    for name in ("bind", "unbind"):
        (folder / name).touch()
    (sys / "bus" / bus / "devices" / device).mkdir(parents=True)
    (sys / "bus" / bus / "devices" / device / "driver").symlink_to(folder)
    return folder


def done(rebinding):
    os.waitid(os.P_PID, rebinding._child, os.WEXITED | os.WNOWAIT)
    assert not rebinding.busy()


@pytest.mark.fault("F41")
@pytest.mark.parametrize(
    ("bus", "of_interface", "device", "driver"),
    [("usb", "1-2.4:1.0", "1-2.4", "usb"), ("pci", "0000:02:00.0", "0000:02:00.0", "r8169")],
)
def test_a_device_is_given_back_to_the_driver_it_is_taken_from(tmp_path, bus, of_interface, device, driver):
    folder = plugged(tmp_path, bus, device, driver)
    rebinding = Rebinding(sys=str(tmp_path))
    rebinding.begin(interface(bus, of_interface))
    done(rebinding)
    assert [(folder / act).read_text() for act in ("unbind", "bind")] == [device, device]


def test_an_interface_without_a_device_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        Rebinding(sys=str(tmp_path)).begin(interface("", ""))


def test_a_driver_that_never_comes_to_an_end_is_not_waited_for(tmp_path):
    folder = plugged(tmp_path, "pci", "0000:02:00.0", "hangs")
    (folder / "unbind").unlink()
    os.mkfifo(folder / "unbind")  # opening it waits for a reader
    rebinding = Rebinding(sys=str(tmp_path))
    rebinding.begin(interface("pci", "0000:02:00.0"))
    assert rebinding.busy()
    assert (folder / "unbind").open().read() == "0000:02:00.0"
    done(rebinding)


def test_the_kernel_says_what_device_an_interface_is_of():
    told = attribute(3, b"eth0\0") + attribute(56, b"1-2:1.0\0") + attribute(57, b"usb\0")
    told += attribute(23, (7).to_bytes(8, sys.byteorder) + bytes(184))
    found = decode(bytes(16) + told)
    assert (found.bus, found.device, found.received) == ("usb", "1-2:1.0", 7)
