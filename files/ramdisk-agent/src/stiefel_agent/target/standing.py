"""How a target stands: `stiefel-agent status` on the desktop."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from stiefel_agent.errors import SessionInvalid
from stiefel_agent.face import report, status
from stiefel_agent.face.report import Complaint, Cut, Report, Role, Traffic
from stiefel_agent.machine import gauge, netns
from stiefel_agent.protocol.session import LINK, TUNNEL
from stiefel_agent.target.links import OVER, State
from stiefel_agent.target.notes import NOTES, Notes, boottime, parse


def look(root: Path = Path("/"), now: float | None = None, name: str = "") -> Report:
    """Return how the target stands, whose files are below `root`; `now` is CLOCK_BOOTTIME.

    The cable shows below sys/class/net only to who is in its namespace; see `enter`.
    """
    now = boottime() if now is None else now
    net = root / "sys/class/net"
    link, tunnel = gauge.read(LINK, net), gauge.read(TUNNEL, net)
    counted = tunnel or link
    notes = _notes(root)
    return Report(
        role=Role.TARGET,
        name=name or socket.gethostname(),
        state=_state(notes, now) if notes else "runs from the laptop's disk",
        peer="the laptop",
        session_seconds=max(0.0, now - notes.attached) if notes else None,
        links=(link,) if link else (),
        traffic=Traffic(read=counted.received, written=counted.sent) if counted else None,
        cuts=tuple(Cut(max(0.0, now - end), seconds) for end, seconds in notes.cuts) if notes else None,
        cut_count=notes.count if notes else 0,
        last_error=_worst(root, notes, now),
        power=notes.power if notes else None,
        facts=() if link else (("Cable", "sudo shows it" if os.geteuid() else "no adapter is there"),),
    )


def _notes(root: Path) -> Notes | None:
    try:
        return parse((root / NOTES.relative_to("/")).read_text())
    except (OSError, SessionInvalid):
        return None


def _state(notes: Notes, now: float) -> str:
    if notes.state is State.WELL:
        return "runs from the laptop's disk"
    if notes.state is State.OVER:
        return OVER
    missing = "no cable leads to the laptop" if notes.state is State.CUT else "the laptop is being asked"
    return f"the laptop is not reached since {status.duration(now - notes.since)}, and work waits: {missing}"


def _worst(root: Path, notes: Notes | None, now: float) -> Complaint | None:
    """Return what went wrong last, of the keeper and of the others."""
    found = [report.complaint(root, now)]
    if notes and notes.error:
        found.append(Complaint(max(0.0, now - notes.error[0]), notes.error[1]))
    return min((one for one in found if one), key=lambda one: one.ago, default=None)


def enter() -> None:
    """Go to where the cable shows, if we may: ip(8) mounts the namespace's own /sys. Returns if that is not needed."""
    if os.geteuid() or not netns.HOME.exists() or _is_inside():
        return
    os.execvp("ip", ["ip", "netns", "exec", netns.NAME, sys.executable, *sys.orig_argv[1:]])


def _is_inside() -> bool:
    own, cable = netns.OWN.stat(), netns.HOME.stat()
    return (own.st_dev, own.st_ino) == (cable.st_dev, cable.st_ino)
