"""Find out on the controller whether there is room for what is built."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

MEBIBYTE = 1 << 20


def nearest(path: Path) -> Path:
    """Return the folder itself, or the nearest above it that exists already."""
    return next(folder for folder in (path, *path.parents) if folder.exists())


def short_of_space(folders: Mapping[str, str], needs: Mapping[str, int]) -> list[str]:
    """Return one message for each file system without room; both arguments name settings, `needs` has their MiB."""
    shares: dict[int, list[str]] = {}
    for name, folder in folders.items():
        shares.setdefault(nearest(Path(folder)).stat().st_dev, []).append(name)
    messages = []
    for names in shares.values():
        wanted, folder = sum(needs[name] for name in names), folders[names[0]]
        free = shutil.disk_usage(nearest(Path(folder))).free // MEBIBYTE
        if free < wanted:
            messages.append(
                f"{folder} has {free} MiB free, {wanted} MiB are needed there. Make room, or set {' and '.join(names)} "
                "to a folder on another disk."
            )
    return messages


class FilterModule:
    """Ansible's way to find the filter."""

    def filters(self) -> dict[str, Callable[..., list[str]]]:
        """Return it by name."""
        return {"short_of_space": short_of_space}
