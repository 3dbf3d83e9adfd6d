"""Opening an encrypted disk as a person does: who reads the question on the screen types the passphrase."""

from __future__ import annotations

from collections.abc import Callable

from .machine import Machine

PROMPT = r"(?i)unlock d[il]sk|pass ?phrase for"
"""cryptsetup's askpass; systemd's and Plymouth's. The reader of screens may take an i for an l."""
PROMPT_SECONDS = 600


def unlock(machine: Machine, passphrase: str, asked: Callable[[], None] = lambda: None) -> None:
    """Type the passphrase when the screen asks for it; `asked` is called while the question stands there.

    A disk without a passphrase asks nothing: then there is nothing to do.

    Raises:
        LabError: no question could be read on the screen.
    """
    if not passphrase:
        return
    machine.wait_screen(PROMPT, seconds=PROMPT_SECONDS, why="the question for the disk's passphrase")
    asked()
    machine.type_line(passphrase)
