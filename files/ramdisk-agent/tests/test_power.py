"""What a machine is fed by, out of recorded trees of /sys/class/power_supply; and the kernel's announcements."""

import pytest
from trees import plant, supply

from stiefel_agent.machine import power
from stiefel_agent.machine.power import Power

MAINS_ON, MAINS_OFF = supply("AC", type="Mains", online=1), supply("AC", type="Mains", online=0)
FULL = supply("BAT0", type="Battery", present=1, status="Full", capacity=100, energy_now=50000000, energy_full=50000000)
DRAINING = supply("BAT0", type="Battery", present=1, status="Discharging", capacity=41)
HELD = supply("BAT0", type="Battery", present=1, status="Not charging", capacity=80)
MOUSE = supply("hidpp_battery_0", type="Battery", scope="Device", present=1, status="Discharging", capacity=5, online=1)
USB_C = supply("ucsi-source-psy-USBC000:001", type="USB", online=1, usb_type="C [PD] PD_PPS")
USB_C_EMPTY = supply("ucsi-source-psy-USBC000:002", type="USB", online=0, usb_type="[C] PD PD_PPS")
PHONE = supply("ucsi-source-psy-USBC000:002", type="USB", scope="Device", online=1)
THINKPAD = {
    **supply(
        "BAT0", type="Battery", present=1, status="Unknown", capacity=50, energy_now=12000000, energy_full=24000000
    ),
    **supply(
        "BAT1", type="Battery", present=1, status="Discharging", capacity=10, energy_now=7200000, energy_full=72000000
    ),
}
CHARGE = supply(
    "BAT1", type="Battery", present=1, status="Charging", capacity=7, charge_now=1500000, charge_full=6000000
)
EMPTY_BAY = supply("BAT1", type="Battery", present=0)


@pytest.mark.parametrize(
    ("tree", "expected"),
    [
        ({}, Power(True)),
        (MAINS_ON, Power(True)),
        ({**MAINS_ON, **FULL}, Power(True, 100)),
        ({**MAINS_OFF, **DRAINING}, Power(False, 41, draining=True)),
        ({**MAINS_ON, **CHARGE}, Power(True, 25, charging=True)),
        ({**MAINS_ON, **HELD, **EMPTY_BAY}, Power(True, 80)),
        ({**USB_C, **USB_C_EMPTY, **HELD}, Power(True, 80)),
        ({**USB_C_EMPTY, **DRAINING}, Power(False, 41, draining=True)),
        ({**MAINS_OFF, **PHONE, **DRAINING}, Power(False, 41, draining=True)),
        ({**MAINS_OFF, **HELD}, Power(False, 80)),
        (DRAINING, Power(False, 41, draining=True)),
        (HELD, Power(True, 80)),
        ({**MAINS_OFF, **THINKPAD}, Power(False, 20, draining=True)),
        ({**MAINS_ON, **DRAINING}, Power(True, 41, draining=True)),
        (MOUSE, Power(True)),
        ({**MAINS_OFF, **DRAINING, **MOUSE}, Power(False, 41, draining=True)),
        (supply("BAT0", type="Battery", status="Discharging"), Power(False, draining=True)),
    ],
    ids=[
        "nothing", "desktop", "full", "draining", "charging by charge", "empty bay", "USB-C PD", "USB-C pulled",
        "phone at a port", "mains pulled, battery not yet draining", "no mains known", "no mains known, held",
        "two batteries by size", "weak supply", "mouse", "mouse and battery", "battery that does not say",
    ],
)  # fmt: skip
def test_a_recorded_machine_is_read_as_its_owner_would(tree, expected, tmp_path):
    assert power.read(plant(tmp_path, tree) / "sys/class/power_supply") == expected


def test_an_announcement_says_what_it_is_about():
    message = b"change@/devices/LNXSYSTM:00/AC\0ACTION=change\0SUBSYSTEM=power_supply\0POWER_SUPPLY_NAME=AC\0"
    assert power.subsystem(message) == "power_supply"
    assert power.subsystem(b"add@/devices/x\0ACTION=add\0SUBSYSTEM=net\0") == "net"
    assert power.subsystem(b"libudev\0garbage") == ""


def test_without_announcements_nothing_is_waited_for():
    with power.Uevents() as events:
        events.about_power()  # whatever this machine has announced
        assert events.fileno() >= 0
