"""Words for every state that a person may meet."""

from __future__ import annotations

from collections.abc import Sequence

from stiefel_agent.machine.gauge import Gauge
from stiefel_agent.machine.link import Wired
from stiefel_agent.machine.power import Power
from stiefel_agent.protocol.messages import Busy, Notice, NoticeState


def duration(seconds: float) -> str:
    """Return a length of time as people say it."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes = whole // 60
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def size(count: float) -> str:
    """Return an amount of bytes as people say it."""
    for unit, worth in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if abs(count) >= worth:
            return f"{count / worth:.1f} {unit}"
    return f"{count:.0f} B"


def gauge(found: Gauge) -> str:
    """Return how a network interface is doing."""
    if not found.up:
        return f"{found.name}, switched off"
    if not found.carrier:
        return f"{found.name}, no carrier: is the cable in?"
    return f"{found.name}, {found.speed} Mbit/s" if found.speed else f"{found.name}, carrier"


def power(fed: Power) -> str:
    """Return how a machine is fed."""
    if fed.percent is None:
        return "plugged in" if fed.plugged else "on its battery"
    if not fed.plugged:
        return f"on its battery, which holds {fed.percent} %"
    return f"plugged in, battery {'charging, ' if fed.charging else ''}{fed.percent} %"


def notice(laptop: str, received: Notice) -> str:
    """Return what the laptop does, for the desktop's screen."""
    who = received.who
    words = {
        NoticeState.COUNTDOWN: f"restarts into server mode in {received.seconds} s (its user can still cancel)",
        NoticeState.ASKING: "asks its user: please allow it there (sudo stiefel-agent allow)",
        NoticeState.SHUTTING_DOWN: "is shutting down to become the server; this takes about a minute",
        NoticeState.DECLINED: "stays as it is: its user said no",
        NoticeState.BUSY: f"is busy with {who or 'another desktop'} since {duration(received.seconds)}",
        NoticeState.INHIBITED: f"cannot restart now: {who or 'a program'} asked it not to",
        NoticeState.FAILED: "cannot become the server; `journalctl -u stiefel-autokexec` there says why",
    }
    return f"{laptop} {words[received.state]}"


def busy(laptop: str, answer: Busy) -> str:
    """Return why the server did not give us the disk."""
    return (
        f"{laptop} is in use by {answer.holder} since {duration(answer.held_seconds)}. "
        f"Shut that desktop down, or end its session at the laptop."
    )


def interface(wired: Wired, doing: str) -> str:
    """Return how one interface is doing; `doing` is what we do there when all is well."""
    if not wired.up:
        return f"{wired.name}: being switched on"
    if not wired.carrier:
        return f"{wired.name}: no carrier. Is the cable in, and the laptop on?"
    if wired.address is None:
        return f"{wired.name}: cable is in, waiting for its address"
    return f"{wired.name}: cable is in, {doing}"


def interfaces(found: Sequence[Wired], doing: str) -> str:
    """Return how all interfaces are doing, a line for each."""
    if not found:
        return "no wired network adapter found yet. Is there one, or can you plug one in?"
    return "\n".join(interface(wired, doing) for wired in found)
