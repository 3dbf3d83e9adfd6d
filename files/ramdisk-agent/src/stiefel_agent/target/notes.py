"""What the keeper leaves of the way to the laptop in /run, for `stiefel-agent status`: anybody may read it.

Times are seconds since the kernel started (CLOCK_BOOTTIME): a desktop's clock may be set while it runs.
"""

from __future__ import annotations

import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from stiefel_agent.errors import SessionInvalid
from stiefel_agent.machine.power import Power
from stiefel_agent.target.links import State

NOTES = Path("/run/stiefel/link.json")
KEPT = 16
"""So many of the last cuts are kept."""
VERSION = 1


@dataclass(frozen=True, slots=True)
class Notes:
    """How the laptop is reached, and was."""

    attached: float
    """When the disk was attached."""
    state: State
    since: float
    """Since when it is so."""
    cuts: tuple[tuple[float, float], ...] = ()
    """When the last ones ended and how many seconds each lasted, newest first."""
    count: int = 0
    """How many there were."""
    error: tuple[float, str] | None = None
    """When something did not work the last time, and what."""
    power: Power | None = None
    """How the laptop is fed, as far as it has said."""

    def moved_to(self, state: State, now: float) -> Notes:
        """Return the notes after a change; a cut ends with it if all is well again."""
        if state is self.state:
            return self
        well = State.WELL
        if state is not well:
            return replace(self, state=state, since=now if self.state is well else self.since)
        cuts = ((now, round(now - self.since, 1)), *self.cuts)[:KEPT]
        return replace(self, state=state, since=now, cuts=cuts, count=self.count + 1)

    def to_json(self) -> str:
        """Return what `parse` reads."""
        return json.dumps({"version": VERSION, **asdict(self)})


def parse(text: str) -> Notes:
    """Read the notes; raises SessionInvalid when they are none of this version."""
    try:
        document = json.loads(text)
        if document.pop("version") != VERSION:
            raise SessionInvalid("the notes are of another version")
        fed, wrong = document.pop("power"), document.pop("error")
        state = State(document.pop("state"))
        cuts = tuple((float(end), float(seconds)) for end, seconds in document.pop("cuts"))
        error = (float(wrong[0]), str(wrong[1])) if wrong else None
        return Notes(state=state, cuts=cuts, error=error, power=Power(**fed) if fed else None, **document)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise SessionInvalid(f"the notes cannot be read: {error}") from error


def boottime() -> float:
    """Return the seconds since the kernel started, suspend included."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Notebook:
    """The notes as they are written: whole or not at all, and without a byte of the disk.

    `/run` is in memory, and reached through /proc as it was opened in the initrd (see voice.Voice).
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = os.open(proc, os.O_PATH | os.O_CLOEXEC)
        now = boottime()
        self.notes = Notes(attached=now, state=State.WELL, since=now)

    def moved_to(self, state: State) -> None:
        """Note that the laptop is reached in another way now, or not."""
        self._keep(self.notes.moved_to(state, boottime()))

    def failed(self, what: str) -> None:
        """Note what did not work."""
        self._keep(replace(self.notes, error=(boottime(), what)))

    def fed(self, power: Power) -> None:
        """Note what the laptop says of its power."""
        self._keep(replace(self.notes, power=power))

    def write(self) -> None:
        """Write the notes. Should that fail, nothing but `status` suffers."""
        place = f"1/root{NOTES}"
        with suppress(OSError):
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            file = os.open(f"{place}.new", flags, 0o644, dir_fd=self._proc)
            try:
                os.fchmod(file, 0o644)  # whatever the umask
                os.write(file, self.notes.to_json().encode())
            finally:
                os.close(file)
            os.rename(f"{place}.new", place, src_dir_fd=self._proc, dst_dir_fd=self._proc)

    def _keep(self, notes: Notes) -> None:
        if notes is not self.notes:
            self.notes = notes
            self.write()
