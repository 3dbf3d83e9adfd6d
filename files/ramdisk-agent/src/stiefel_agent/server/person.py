"""The person at the laptop: which key means what, and when. Pure."""

from __future__ import annotations

from stiefel_agent.server.sessions import Event, State

_CAN_BE_ENDED = (State.GIVING, State.SERVING)
_CAN_BE_SENT_HOME = (State.WAITING, State.FENCING)


class Person:
    """What was pressed so far. Ending a session takes two keys, for work may be lost."""

    def __init__(self) -> None:
        self.sure = False
        """Whether the person has pressed e, and is asked whether that was meant."""

    def press(self, key: str, state: State) -> Event | None:
        """Return what the person decides with one more key, a small letter; None if nothing."""
        ends = self.sure and key == "y" and state in _CAN_BE_ENDED
        self.sure = key == "e" and state in _CAN_BE_ENDED
        if ends:
            return Event.ENDED
        return Event.SENT_HOME if key == "r" and state in _CAN_BE_SENT_HOME else None
