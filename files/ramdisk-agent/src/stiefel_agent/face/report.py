"""What `stiefel-agent status` says of a machine: one frozen object, as text for people or as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from stiefel_agent import __version__
from stiefel_agent.face import console, status
from stiefel_agent.machine import gauge, link, power
from stiefel_agent.machine.gauge import Gauge
from stiefel_agent.machine.power import Power

_LABEL = 12
_RECENT = 3
"""So many of the last reconnections are told to people; a program gets all that are on record."""


class Role(StrEnum):
    """What a machine is."""

    LAPTOP = "laptop"
    SERVER = "server"
    TARGET = "target"
    NONE = "none"


TITLES = {
    Role.LAPTOP: "the laptop {}",
    Role.SERVER: "the laptop {}, as server",
    Role.TARGET: "the laptop {}'s system, on a desktop",
    Role.NONE: "nothing is set up on {}",
}


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a target has read from the laptop's disk and written to it, in bytes on the cable."""

    read: int
    written: int

    def per_second(self, before: Traffic, seconds: float) -> Traffic:
        """Return the rates since an earlier look."""
        return Traffic(round((self.read - before.read) / seconds), round((self.written - before.written) / seconds))


@dataclass(frozen=True, slots=True)
class Cut:
    """A time in which the laptop was not reached: how long ago it ended, and how long it was."""

    ago: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Complaint:
    """Something that went wrong, and how long ago."""

    ago: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How a machine stands. What does not apply to it, or is not known, is None or empty."""

    role: Role
    name: str
    """The laptop's."""
    state: str
    """In words."""
    peer: str = ""
    session_seconds: float | None = None
    links: tuple[Gauge, ...] = ()
    traffic: Traffic | None = None
    cuts: tuple[Cut, ...] | None = None
    """The last ones, newest first."""
    cut_count: int = 0
    last_error: Complaint | None = None
    power: Power | None = None
    """The laptop's, on whichever machine."""
    facts: tuple[tuple[str, str], ...] = ()
    """What only this role has, by its label."""


def links(root: Path) -> tuple[Gauge, ...]:
    """Return the wired interfaces of a machine, whose files are below `root`."""
    net = root / "sys/class/net"
    found = (gauge.read(name, net) for name in link.wired_names(net))
    return tuple(one for one in found if one)


def supply(root: Path) -> Power:
    """Return how a machine is fed."""
    return power.read(root / "sys/class/power_supply")


def complaint(root: Path, now: float) -> Complaint | None:
    """Return what `console.complain` has left last, if anybody may read it; `now` is CLOCK_BOOTTIME, in seconds."""
    try:
        left = json.loads((root / console.LAST_ERROR.relative_to("/")).read_text())
        return Complaint(max(0.0, now - float(left["at"])), str(left["text"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def text(report: Report, rates: Traffic | None = None) -> str:
    """Return the report for people, a line for each thing worth knowing."""
    title = TITLES[report.role].format(report.name)
    lines = [f"  {label:<{_LABEL}} {said}" for label, said in _lines(report, rates)]
    return "\n".join([f"Stiefelsystem {__version__}: {title}", "", *lines])


def _lines(report: Report, rates: Traffic | None) -> Iterator[tuple[str, str]]:
    yield "State", report.state
    if report.session_seconds is not None:
        yield "Session", f"with {report.peer or 'a desktop'} for {status.duration(report.session_seconds)}"
    for number, one in enumerate(report.links):
        yield "" if number else "Cable", status.gauge(one)
    if report.traffic:
        yield "Disk", _traffic(report.traffic, rates)
    if report.cuts is not None:
        yield "Reconnects", _cuts(report.cuts, report.cut_count)
    if report.power:
        yield "Power", status.power(report.power)
    yield from report.facts
    wrong = report.last_error
    yield "Last error", f"{status.duration(wrong.ago)} ago: {wrong.text}" if wrong else "none"


def _traffic(traffic: Traffic, rates: Traffic | None) -> str:
    read, written = f"{status.size(traffic.read)} read", f"{status.size(traffic.written)} written"
    if rates:
        read, written = f"{read} at {status.size(rates.read)}/s", f"{written} at {status.size(rates.written)}/s"
    return f"{read}, {written}"


def _cuts(cuts: tuple[Cut, ...], count: int) -> str:
    told = [f"{status.duration(one.ago)} ago after {status.duration(one.seconds)}" for one in cuts[:_RECENT]]
    return f"{count}: {', '.join(told)}" if told else "none"


def document(report: Report, rates: Traffic | None = None) -> dict[str, Any]:
    """Return the report for programs. Sizes are in bytes, times in seconds, speeds in Mbit/s; null: does not apply."""
    fed, wrong, moved = report.power, report.last_error, report.traffic
    return {
        "version": __version__,
        "role": report.role,
        "name": report.name,
        "state": report.state,
        "peer": report.peer or None,
        "session_seconds": _rounded(report.session_seconds),
        "links": [_link(one) for one in report.links],
        "read_bytes": moved and moved.read,
        "written_bytes": moved and moved.written,
        "read_bytes_per_second": rates and rates.read,
        "written_bytes_per_second": rates and rates.written,
        "reconnects": None if report.cuts is None else report.cut_count,
        "reconnected": [{"ago_seconds": _rounded(one.ago), "seconds": one.seconds} for one in report.cuts or ()],
        "power": fed and {"plugged": fed.plugged, "percent": fed.percent, "charging": fed.charging},
        "last_error": wrong and {"ago_seconds": _rounded(wrong.ago), "text": wrong.text},
        **{label.lower(): said for label, said in report.facts},
    }


def _link(one: Gauge) -> dict[str, Any]:
    figures = {"received_bytes": one.received, "sent_bytes": one.sent}
    return {"name": one.name, "up": one.up, "carrier": one.carrier, "speed": one.speed, **figures}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
