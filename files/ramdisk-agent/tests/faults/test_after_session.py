"""What the laptop does when its disk was given back is its owner's choice."""

import pytest


@pytest.mark.parametrize(
    ("chosen", "shown", "does"),
    [("return", "Restarting", "reboot"), ("poweroff", "Switching off", "poweroff")],
)
def test_a_laptop_that_is_done_goes_home_or_off(bench, chosen, shown, does):
    laptop, desktop = bench.laptop(after_session=chosen), bench.desktop()
    desktop.boots()
    assert desktop.releases() == 0
    laptop.terminal.shows(shown)
    laptop.hears(f"the machine does: {does}")


def test_a_laptop_that_waits_serves_one_desktop_after_the_other(bench):
    laptop = bench.laptop(after_session="wait")
    for name in ("tower", "den"):
        desktop = bench.desktop(name)
        disk = desktop.boots()
        disk.write(4096, name.encode().ljust(512))
        assert desktop.releases() == 0
        laptop.terminal.shows("► Wait for the desktop")
        assert laptop.content(4096, len(name)) == name.encode()
        desktop.off()
    assert "the machine does" not in laptop.said()
    laptop.terminal.press("r")
    laptop.hears("the machine does: reboot")


def test_whoever_sends_a_laptop_home_gets_its_normal_system(bench):
    laptop = bench.laptop(after_session="poweroff")
    laptop.terminal.press("r")
    laptop.hears("the machine does: reboot")
