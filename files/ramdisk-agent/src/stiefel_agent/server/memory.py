"""The record of a session in /run: it outlives the agent, and ends with this very kernel."""

from __future__ import annotations

from pathlib import Path

from stiefel_agent.errors import SessionInvalid
from stiefel_agent.face.console import say
from stiefel_agent.machine import whole
from stiefel_agent.server.sessions import Session, State, record, recorded

RECORD = Path("/run/stiefel/server-session.json")


def remember(state: State, session: Session) -> None:
    """Write the record, for root only. Raises OSError."""
    RECORD.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    whole.write(RECORD, record(state, session), 0o600)


def recall() -> tuple[State, Session] | None:
    """Return what is on record, None if there is nothing that can be read: then everything is fenced off."""
    try:
        return recorded(RECORD.read_text())
    except FileNotFoundError:
        return None
    except (OSError, SessionInvalid) as error:
        say(f"the record of a session is of no use: {error}")
        return None


def forget() -> None:
    """Remove the record: nothing of the session is left."""
    RECORD.unlink(missing_ok=True)
