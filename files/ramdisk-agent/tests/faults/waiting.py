"""Waiting for something to become true: every wait of the bench has this deadline, and says what for."""

import time

SECONDS = 60.0
"""No verdict, only an end for what would never end: many times what anything here takes on a busy machine."""


def wait_for(look, why, seconds=SECONDS):
    """Look again and again until there is something to see; return that."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"{seconds:.0f} s in vain: {why() if callable(why) else why}"
        time.sleep(0.01)
    return found
