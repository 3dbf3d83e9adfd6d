"""What the server says and does about the laptop's power, and what its target makes of that. Pure."""

import itertools

import pytest

from stiefel_agent.errors import MessageError
from stiefel_agent.machine.power import Power
from stiefel_agent.protocol.supply import SIZE, Level, Supply, decode
from stiefel_agent.server import power
from stiefel_agent.server.power import Tone, Watch, words
from stiefel_agent.target import ear


def on_battery(percent, **also):
    return Power(False, percent, draining=True, **also)


@pytest.mark.parametrize(
    ("fed", "level"),
    [
        (Power(True), Level.WELL),
        (Power(True, 3, charging=True), Level.WELL),
        (Power(True, 60, draining=True), Level.WELL),
        (Power(True, 15, draining=True), Level.LOW),
        (Power(True, 5, draining=True), Level.CRITICAL),
        (Power(False), Level.BATTERY),
        (Power(False, 80), Level.BATTERY),
        (on_battery(21), Level.BATTERY),
        (on_battery(20), Level.LOW),
        (on_battery(6), Level.LOW),
        (on_battery(5), Level.CRITICAL),
        (on_battery(0), Level.CRITICAL),
    ],
)
def test_a_reading_has_a_level(fed, level):
    assert power.level(fed) is level


def test_a_gauge_that_wavers_changes_nothing():
    watch = Watch()
    changes = [watch.look(on_battery(percent), 0.0).changed for percent in (21, 20, 21, 22, 20, 23, 24)]
    assert changes == [True, True, False, False, False, False, True]


def heard(watch, *readings):
    """Return the tones of readings, each at its time."""
    return [watch.look(fed, now).tones for now, fed in readings]


def test_each_level_has_its_own_sound_and_an_urgent_one_comes_again():
    assert len(set(power.PATTERN.values())) == len(Level)
    tones = heard(
        Watch(),
        (1, Power(True, 90)),
        (2, on_battery(90)),
        (3, on_battery(89)),
        (1000, on_battery(88)),
        (1001, on_battery(20)),
        (1002, on_battery(20)),
        (1002 + 300, on_battery(19)),
        (1303, on_battery(5)),
        (1303 + 20, on_battery(5)),
        (1324, Power(True, 5, charging=True)),
    )
    quiet, low, critical = (), (Tone.SHORT,) * 2, (Tone.LONG,) * 3
    assert tones == [quiet, (Tone.SHORT,), quiet, quiet, low, quiet, low, critical, critical, quiet]


def test_the_target_is_asked_to_shut_down_only_after_its_grace_and_not_once_plugged_in():
    watch = Watch()
    decided = [
        watch.look(fed, now).supply.shut_down
        for now, fed in (
            (0.0, on_battery(5)),
            (power.GRACE_SECONDS - 1, on_battery(4)),
            (power.GRACE_SECONDS, on_battery(4)),
            (power.GRACE_SECONDS + 1, Power(True, 4, charging=True)),
            (power.GRACE_SECONDS + 2, on_battery(4)),
        )
    ]
    assert decided == [False, False, True, False, False]


def test_the_laptop_says_nothing_while_all_is_well_and_something_else_at_each_level():
    said = [words(Supply(level, level is Level.WELL, 10)) for level in Level]
    assert said[0] == ""
    assert len(set(said)) == len(Level)
    assert "holds" not in words(Supply(Level.BATTERY, False, None))


ALL = [
    Supply(level, plugged, percent, charging, shut_down)
    for level, plugged, percent, charging, shut_down in itertools.product(
        Level, (True, False), (None, 0, 100), (True, False), (True, False)
    )
]


def test_every_word_arrives_as_it_was_said():
    assert [decode(word.encode()) for word in ALL] == ALL
    assert {len(word.encode()) for word in ALL} == {SIZE}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"stPW",
        bytes(SIZE),
        b"stPW\x02\0\x50\x01",
        b"stPW\x01\x04\x50\x01",
        b"stPW\x01\0\x65\x01",
        b"stPW\x01\0\x50\x08",
        b"stPW\x01\0\x50\x01\0",
    ],
)
def test_what_is_no_word_is_refused(data):
    with pytest.raises(MessageError):
        decode(data)


def test_the_targets_people_hear_what_is_new_once():
    well, battery = Supply(Level.WELL, True, 80), Supply(Level.BATTERY, False, 79)
    critical = Supply(Level.CRITICAL, False, 5)
    now = Supply(Level.CRITICAL, False, 4, shut_down=True)
    told = [
        ear.news(before, after) for before, after in itertools.pairwise([None, well, battery, battery, critical, now])
    ]
    assert [bool(one) for one in told] == [False, True, False, True, True]
    assert "79 %" in told[1]
    assert "in a minute" in told[3]
    assert "now" in told[4]
    assert "plugged in again" in ear.news(critical, well)
    assert ear.news(None, battery)
