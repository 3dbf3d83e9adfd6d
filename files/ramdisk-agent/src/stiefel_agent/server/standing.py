"""How the laptop stands as server: `stiefel-agent status` in the ramdisk."""

from __future__ import annotations

import time
from pathlib import Path

from stiefel_agent import config
from stiefel_agent.errors import SessionInvalid
from stiefel_agent.face import report
from stiefel_agent.face.report import Report, Role, Traffic
from stiefel_agent.machine import gauge
from stiefel_agent.protocol.session import TUNNEL
from stiefel_agent.server.memory import RECORD
from stiefel_agent.server.sessions import Session, State, recorded

WORDS = {
    State.OPENING: "opens the disk to a desktop",
    State.SERVING: "serves the disk",
    State.REPLACING: "ends a session, for another desktop takes its place",
    State.FENCING: "ends a session: nobody gets the disk before all of it is closed",
    State.RETURNING: "was given the disk back",
}
"""The states that are on record; without a record nobody has the disk."""


def look(root: Path = Path("/"), now: float | None = None) -> Report:
    """Return how the server stands, whose files are below `root`; `now` is CLOCK_BOOTTIME. Raises BadConfiguration."""
    now = time.clock_gettime(time.CLOCK_BOOTTIME) if now is None else now
    settings = config.ServerConfig.load(root / config.SERVER_FILE.relative_to("/"))
    state, session = _recall(root) or (None, None)
    return Report(
        role=Role.SERVER,
        name=settings.laptop,
        state=WORDS[state] if state else "waits for a desktop",
        peer=session.facts.desktop if session else "",
        session_seconds=max(0.0, now - session.since) if session else None,
        links=report.links(root),
        traffic=_traffic(root) if session else None,
        power=report.supply(root),
        last_error=report.complaint(root, now),
        facts=(("Gives", settings.disk),),
    )


def _recall(root: Path) -> tuple[State, Session] | None:
    try:
        return recorded((root / RECORD.relative_to("/")).read_text())
    except (OSError, SessionInvalid):
        return None


def _traffic(root: Path) -> Traffic | None:
    """Return what went through the tunnel; without encryption nothing counts the target's alone."""
    tunnel = gauge.read(TUNNEL, root / "sys/class/net")
    return Traffic(read=tunnel.sent, written=tunnel.received) if tunnel else None
