"""How the laptop stands in its normal system: `stiefel-agent status`, which anybody may ask."""

from __future__ import annotations

import platform
import socket
import subprocess
import time
from pathlib import Path

from stiefel_agent import config
from stiefel_agent.face import report
from stiefel_agent.face.report import Report, Role
from stiefel_agent.laptop import boot

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


def look(listening: bool, root: Path = Path("/")) -> Report:
    """Return how the laptop stands, whose files are below `root`. Raises BadConfiguration."""
    settings = root / config.AUTOKEXEC_FILE.relative_to("/")
    if not settings.exists():
        return Report(role=Role.NONE, name=socket.gethostname(), state="this is no laptop that answers desktops")
    chosen = config.AutokexecConfig.load(settings)
    return Report(
        role=Role.LAPTOP,
        name=chosen.laptop or socket.gethostname(),
        state=_state(listening, chosen),
        links=report.links(root),
        power=report.supply(root),
        last_error=report.complaint(root, time.clock_gettime(time.CLOCK_BOOTTIME)),
        facts=(
            ("Gives", chosen.disk or "the disk that / is on"),
            ("Traffic", "encrypted" if chosen.encryption is config.Encryption.WIREGUARD else "not encrypted"),
            ("Kernels", _kernels(root / boot.TARGETS.relative_to("/"))),
        ),
    )


def _state(listening: bool, chosen: config.AutokexecConfig) -> str:
    if listening:
        how = CONSENT[chosen.consent].format(seconds=chosen.countdown_seconds)
        return f"answers desktops, and moves into the server {how}"
    return f"does not answer desktops: {SERVICE} does not run, `systemctl status {SERVICE}` says why"


def _kernels(targets: Path) -> str:
    usable = ", ".join(kernels(targets)) or "none"
    return f"{usable} for a desktop; {platform.release()} runs here"


def now() -> Report:
    """Return how this laptop stands now."""
    return look(listens())
