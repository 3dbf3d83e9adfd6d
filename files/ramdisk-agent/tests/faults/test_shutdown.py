"""F12: a target that is shut down while the laptop is out of reach ends all the same, after a while and with a word."""

import pytest

UNIT = "/sys/fs/cgroup/system.slice/stiefel-running.service"


def runs(desktop):
    """Let the unit run that the generator makes for targets."""
    desktop.run("sh", "-c", f"mkdir -p {UNIT} && echo 1 >{UNIT}/cgroup.procs")


def shuts_down(desktop):
    """End it, as PID 1 does when a shutdown begins."""
    desktop.run("sh", "-c", f": >{UNIT}/cgroup.procs")


@pytest.mark.fault("F12")
def test_a_shutdown_without_the_laptop_waits_a_while_and_then_the_desktop_goes_off(bench):
    bench.laptop()
    desktop = bench.desktop()
    desktop.boots()
    runs(desktop)
    bench.cable.cut(desktop)
    desktop.tells("Is the cable in?")
    shuts_down(desktop)
    desktop.tells("is being shut down, and the laptop is not reached")
    desktop.tells("this desktop goes off now")
    desktop.restarted()


def test_a_target_that_goes_on_running_waits_for_its_laptop_however_long_it_takes(bench):
    bench.laptop()
    desktop = bench.desktop()
    desktop.boots()
    runs(desktop)
    bench.cable.cut(desktop)
    desktop.tells("Is the cable in?")  # by then it has waited longer than a shutdown does here
    bench.cable.join(desktop)
    desktop.tells("your work goes on")
    assert "goes off" not in desktop.console()


@pytest.mark.fault("F12")
def test_the_release_gives_up_and_says_so(bench):
    bench.laptop()
    desktop = bench.desktop(patience={"target.release.ANSWER_SECONDS": 1.0})
    desktop.boots()
    bench.cable.cut(desktop)
    assert desktop.releases() == 1
    desktop.tells("The laptop could not be told that its disk is free again")
