"""The target's clock follows the laptop's, whatever the desktop's own says."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefel_agent.machine import rtc
from stiefel_agent.protocol.clock import LITTLE_SECONDS, LONGEST, right_time, word
from stiefel_agent.target import clock

TOLD = 1_700_000_000


@pytest.mark.fault("F44")
@pytest.mark.parametrize("hours", [-12, -1, -0.25, 0.25, 5.5, 14])
def test_a_clock_in_local_time_is_set_to_the_laptops_and_the_time_since_then(hours):
    now = TOLD + 40 + hours * 3600
    assert right_time(["quiet", word(TOLD)], now, uptime=40) == TOLD + 40


@pytest.mark.parametrize("seconds", [-200, 0, 200])
def test_a_clock_that_is_a_little_off_stays_as_it_is(seconds):
    assert abs(seconds) < LITTLE_SECONDS
    assert right_time([word(TOLD)], TOLD + 40 + seconds, uptime=40) is None


@pytest.mark.parametrize("words", [[], ["quiet"], ["stiefel.clock="], ["stiefel.clock=-5"], ["stiefel.clock=soon"]])
def test_without_a_word_of_the_laptops_nothing_is_set(words):
    assert right_time(words, 0.0, 0.0) is None


@given(st.integers(0, 10**10))
def test_no_word_is_longer_than_the_room_that_is_kept_for_it(seconds):
    assert len(word(seconds)) <= LONGEST


@pytest.mark.fault("F44")
def test_the_kernel_is_told_the_right_time_and_the_wrong_one_is_on_record(monkeypatch, capsys):
    done = []
    monkeypatch.setattr(clock, "take_as_utc", lambda: done.append("utc"))
    monkeypatch.setattr(clock, "boottime", lambda: 40.0)
    monkeypatch.setattr(time, "time", lambda: TOLD + 7240.0)
    monkeypatch.setattr(time, "clock_settime", lambda which, seconds: done.append((which, seconds)))
    clock.follow([word(TOLD)])
    assert done == ["utc", (time.CLOCK_REALTIME, TOLD + 40)]
    assert "event=clock_set was_ahead=7200" in capsys.readouterr().err


def test_a_clock_that_cannot_be_set_stops_nothing(monkeypatch):
    def refuse(_which, _seconds):
        raise PermissionError

    monkeypatch.setattr(clock, "take_as_utc", lambda: None)
    monkeypatch.setattr(time, "clock_settime", refuse)
    clock.follow([word(TOLD)])


@pytest.mark.parametrize(("shown", "ahead"), [(f"{TOLD + 7200}\n", 7200), ("", 0), (None, 0)])
def test_a_laptops_hardware_clock_in_local_time_is_known_as_such(monkeypatch, tmp_path, shown, ahead):
    monkeypatch.setattr(rtc, "SYS_RTC", tmp_path)
    monkeypatch.setattr(time, "time", lambda: float(TOLD))
    if shown is not None:
        (tmp_path / "since_epoch").write_text(shown)
    assert rtc.ahead() == ahead
