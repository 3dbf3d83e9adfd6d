"""What the server says and does about the laptop's power: readings and time come in, decisions go out. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from stiefel_agent.face import status
from stiefel_agent.machine.power import Power
from stiefel_agent.protocol.supply import Level, Supply

PERCENT = {Level.LOW: 20, Level.CRITICAL: 5}
"""A battery that holds no more than this is low, or almost empty."""
SLACK_PERCENT = 3
"""A level is left only when so much more is there: gauges waver."""
GRACE_SECONDS = 60.0
"""How long the target has from "almost empty" until it is asked to shut down: time to plug in, or to save."""
REMIND_SECONDS = {Level.LOW: 300.0, Level.CRITICAL: 20.0}
"""How often the warning sounds again."""


class Tone(StrEnum):
    """One beep; each lasts less than a second."""

    SHORT = "short"
    LONG = "long"


PATTERN = {
    Level.WELL: (),
    Level.BATTERY: (Tone.SHORT,),
    Level.LOW: (Tone.SHORT, Tone.SHORT),
    Level.CRITICAL: (Tone.LONG, Tone.LONG, Tone.LONG),
}
"""What is heard of a level, a tone each second."""


def level(fed: Power, before: Level = Level.WELL) -> Level:
    """Return how urgent a reading is, after another one. With a supply that is too weak a laptop drains, plugged in."""
    if fed.percent is None or (fed.plugged and not fed.draining):
        return Level.WELL if fed.plugged else Level.BATTERY
    for urgent in (Level.CRITICAL, Level.LOW):
        if fed.percent <= PERCENT[urgent] + (SLACK_PERCENT if before >= urgent else 0):
            return urgent
    return Level.WELL if fed.plugged else Level.BATTERY


def words(supply: Supply) -> str:
    """Return what the laptop's screen says; empty while all is well."""
    held = "" if supply.percent is None else f": it holds {supply.percent} %"
    match supply.level:
        case Level.BATTERY:
            return f"This laptop runs on its battery{held}. Plug it in if you can."
        case Level.LOW:
            return f"This laptop's battery is low{held}. Please plug it in."
        case Level.CRITICAL:
            then = "now" if supply.shut_down else f"in {status.duration(GRACE_SECONDS)}"
            return (
                f"This laptop's battery is almost empty{held}. Plug it in, or the desktop is asked to shut down {then}."
            )
        case _:
            return ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes of a look at the power."""

    supply: Supply
    changed: bool
    """The level is another one: screen and target are told at once."""
    tones: tuple[Tone, ...] = ()


@dataclass(slots=True)
class Watch:
    """The laptop's power over time; `now` is monotonic, in seconds."""

    _level: Level = Level.WELL
    _since: float = 0.0
    _sounded: float = field(default=0.0)

    def look(self, fed: Power, now: float) -> Decision:
        """Judge a reading."""
        reached = level(fed, self._level)
        changed, worse = reached is not self._level, reached > self._level
        if changed:
            self._level, self._since = reached, now
        again = now - self._sounded >= REMIND_SECONDS.get(reached, float("inf"))
        tones = PATTERN[reached] if worse or (again and not changed) else ()
        if tones:
            self._sounded = now
        shut_down = reached is Level.CRITICAL and now - self._since >= GRACE_SECONDS
        return Decision(Supply(reached, fed.plugged, fed.percent, fed.charging, shut_down), changed, tones)
