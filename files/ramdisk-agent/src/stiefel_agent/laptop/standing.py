"""What this machine is ready for, in words: `stiefel-agent status`, which anybody may ask."""

from __future__ import annotations

import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

from stiefel_agent import config
from stiefel_agent.errors import StiefelError
from stiefel_agent.laptop import boot
from stiefel_agent.protocol import session

SERVICE = "stiefel-autokexec.service"
CONSENT = {
    config.Consent.COUNTDOWN: "after a countdown of {seconds} s",
    config.Consent.ASK: "after somebody here has allowed it",
    config.Consent.NONE: "without asking",
}


def listens() -> bool:
    """Return whether autokexec runs."""
    asked = ["systemctl", "is-active", "--quiet", SERVICE]
    return subprocess.run(asked, check=False, capture_output=True).returncode == 0


def kernels(targets: Path) -> list[str]:
    """Return the versions of the kernels that a target can be started with."""
    return sorted(path.name.removeprefix("initrd.img-") for path in targets.glob("initrd.img-*"))


def standing(listening: bool, settings: Path, in_target: Path, targets: Path) -> Iterator[str]:
    """Yield a line for each thing that a person may want to know; raises ConfigError for settings that are none."""
    if in_target.exists():
        yield "This is a target: the laptop's own system on a desktop, with its disk at the other end of the cable."
        return
    if not settings.exists():
        yield "This is no laptop that answers desktops: autokexec is not set up here."
        return
    chosen = config.AutokexecConfig.load(settings)
    if listening:
        how = CONSENT[chosen.consent].format(seconds=chosen.countdown_seconds)
        yield f"This laptop answers desktops: it moves into the server {how}."
    else:
        yield f"This laptop does not answer desktops: {SERVICE} does not run; `systemctl status` says why."
    yield f"Block traffic: {'encrypted' if chosen.encryption is config.Encryption.WIREGUARD else 'not encrypted'}."
    yield f"Disk: {chosen.disk or 'the one that / is on'}."
    usable = kernels(targets)
    yield f"Kernels that a target can be started with: {', '.join(usable) or 'none'}. Running: {platform.release()}."


def show() -> None:
    """Print it."""
    try:
        for line in standing(listens(), config.AUTOKEXEC_FILE, session.IN_TARGET, boot.TARGETS):
            print(line)
    except PermissionError as error:
        raise StiefelError(f"{error.filename} is root's alone: try it with sudo") from error
