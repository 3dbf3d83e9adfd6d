"""F44: a desktop's clock is in local time, and its target has the laptop's time all the same."""

import time

import pytest


@pytest.mark.fault("F44")
def test_the_targets_clock_is_set_to_the_laptops_when_they_differ_by_hours(bench):
    bench.laptop(clock_ahead=7200)  # laptop and desktop have one clock here, and two opinions of it
    desktop = bench.desktop()
    desktop.boots()
    assert "event=clock_set" in desktop.said()
    assert abs(float((desktop.folder / "run/clock").read_text()) - (time.time() - 7200)) < 300


def test_a_clock_that_is_right_is_left_alone(bench):
    bench.laptop()
    desktop = bench.desktop()
    desktop.boots()
    assert not (desktop.folder / "run/clock").exists()
