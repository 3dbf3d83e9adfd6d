"""Opening an encrypted disk as a person does: who reads the question on the screen types the passphrase."""

from __future__ import annotations

from collections.abc import Callable

from .machine import Machine

PROMPT = r"[Uu]nlock d[il]sk|[Pp]ass ?phrase for"
"""cryptsetup's askpass; systemd's and Plymouth's. The reader of screens may take an i for an l."""
PROMPT_SECONDS = 600


ASKED_AGAIN = f"(?s)({PROMPT}).*({PROMPT})"


def unlock(machine: Machine, passphrase: str, asked: Callable[[], None] = lambda: None, *, mistyped: str = "") -> None:
    """Type the passphrase when the screen asks for it; `asked` is called while the question stands there.

    A disk without a passphrase asks nothing: then there is nothing to do. `mistyped` is typed first, if there is such.

    Raises:
        LabError: no question could be read on the screen.
    """
    if not passphrase:
        return
    machine.wait_screen(PROMPT, seconds=PROMPT_SECONDS, why="the question for the disk's passphrase")
    asked()
    if mistyped:
        machine.type_line(mistyped)
        machine.wait_screen(ASKED_AGAIN, seconds=PROMPT_SECONDS, why="the question once more, after a wrong passphrase")
    machine.type_line(passphrase)
