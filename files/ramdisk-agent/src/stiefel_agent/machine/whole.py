"""Files that are whole whenever somebody looks."""

import os
from pathlib import Path


def write(path: Path, text: str, mode: int) -> None:
    """Write a file, whole or not at all (rename(2)); `mode` holds from its first moment, whatever the umask.

    It is not synced: for /run, which is in memory. Raises OSError.
    """
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:  # noqa: PTH123 - the mode must be right from the first moment
        os.fchmod(descriptor, mode)
        file.write(text)
    new.rename(path)
