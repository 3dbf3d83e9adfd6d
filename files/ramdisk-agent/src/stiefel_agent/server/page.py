"""What the person at the laptop sees of a server: four steps, how the session goes, and which keys do what now."""

from __future__ import annotations

from stiefel_agent.face import screen, status
from stiefel_agent.server.sessions import State

QUIET_SECONDS = 30.0
"""Three keepalives that did not come: no longer just a pause."""


class Page:
    """The laptop's screen. Every call shows what is new and nothing else."""

    def __init__(self, laptop: str, *, encrypted: bool, goes_off: bool) -> None:
        self._wait = screen.Step("Wait for the desktop")
        self._give = screen.Step("Give it the system")
        self._serve = screen.Step("Serve the disk")
        self._home = screen.Step("Switch this laptop off" if goes_off else "Return to the normal system")
        title = f"laptop {laptop}" + ("" if encrypted else "  (block traffic is NOT encrypted)")
        self._screen = screen.Screen(title, (self._wait, self._give, self._serve, self._home))

    def waiting(self, detail: str) -> None:
        """Nobody has the disk."""
        self._screen.start(self._wait, detail)

    def giving(self, desktop: str) -> None:
        """A desktop receives its system."""
        self._screen.start(self._give, f"to {desktop}")

    def serving(self, detail: str) -> None:
        """The target has the disk."""
        self._screen.start(self._serve, detail)

    def home(self, detail: str) -> None:
        """The laptop restarts: nothing is left to be done by a person."""
        self._screen.advise()
        self._screen.start(self._home, detail)

    def warn(self, notice: str, fresh: bool) -> None:
        """Show what must not be overlooked, whatever the session does; empty: nothing."""
        self._screen.warn(notice, fresh=fresh)

    def not_fenced(self, wrong: list[str]) -> None:
        """Something of a session that is over is not gone yet."""
        reasons = ["The session is over, but not everything of it is gone:", *wrong]
        self._screen.fail(self._serve, "\n".join(reasons), "Trying again; until then nobody gets the disk.")

    def advise(self, state: State, desktop: str, *, sure: bool) -> None:
        """Show which keys do what now; `sure`: the person has pressed e and is asked whether that was meant."""
        match state:
            case State.GIVING | State.OPENING | State.SERVING if sure:
                self._screen.advise(
                    f"End the session of {desktop}? What it has not saved is lost. "
                    "Press y to end it, any other key to let it be."
                )
            case State.GIVING | State.OPENING | State.SERVING:
                self._screen.advise(
                    "The desktop is using this laptop's disk. To finish, shut the desktop down. "
                    "If it is lost for good: press e to end its session."
                )
            case State.FENCING if self._serve.mark is screen.Mark.FAILED:
                self._screen.advise(*self._screen.hints[:2], "Press r to restart this laptop, which closes everything.")
            case State.WAITING:
                self._screen.advise("Press r to restart this laptop into its normal system.")
            case _:
                self._screen.advise()


def how_it_goes(
    desktop: str,
    seconds: float,
    moved: tuple[int, int] | None,
    quiet: float,
    restarts: int,
    *,
    cable: bool,
    packet: int = 0,
) -> str:
    """Return who has the disk and for how long, in one sentence.

    `moved`: bytes received and sent, None without a tunnel. `quiet`: seconds without a byte from it. `restarts`: how
    often nbdkit had to come again. `cable`: some adapter has a carrier. `packet`: the largest that gets through it, in
    bytes; 0 if that is nothing to speak of.
    """
    text = f"{desktop} for {status.duration(seconds)}"
    if moved:
        text += f"; {moved[1] / 1e6:.0f} MB read, {moved[0] / 1e6:.0f} MB written"
    if not cable:
        text += f"; the cable is out, and its work waits (nothing heard for {status.duration(quiet)})"
    elif quiet > QUIET_SECONDS:
        text += f"; nothing heard of it for {status.duration(quiet)}: is the cable in?"
    if packet:
        text += f"; the cable swallows packets of more than {packet} bytes: try another cable or adapter"
    if restarts:
        text += f"; nbdkit had to be started again ({restarts})"
    return text
