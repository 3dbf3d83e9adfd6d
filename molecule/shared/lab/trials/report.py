"""What a session run leaves behind: a report for programs and a timeline for people."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..machines.shell import LabError
from .facts import Facts

# What the timeline calls the moments, in the order in which they are expected.
MOMENTS = {
    "power_on": "the desktop is switched on",
    "client_kernel": "the stick's kernel starts",
    "locked": "the stick asks for its passphrase",
    "beacon": "the desktop calls for a laptop",
    "called": "the laptop asks whether it may",
    "triggered": "the laptop decides to answer",
    "server_ready": "the laptop, now in the ramdisk, is ready to serve",
    "bundle_received": "the desktop has kernel and initrd",
    "target_kernel": "the laptop's kernel starts on the desktop",
    "attached": "the laptop's disk is attached",
    "asked": "the laptop's system asks for the disk's passphrase, on the desktop",
    "login": "login prompt of the laptop's system, on the desktop",
    "power_off": "the target is told to shut down",
    "released": "the laptop gets its disk back",
    "desktop_off": "the desktop is off",
    "laptop_asked": "the laptop asks for its disk's passphrase",
    "laptop_login": "login prompt of the laptop's system, on the laptop",
}


@dataclass
class Report:
    """Filled in as the session goes on; what is missing did not happen."""

    firmware: str
    accelerator: str
    encryption: str
    seconds: dict[str, float] = field(default_factory=dict)  # moment -> seconds since the desktop's power-on
    target: Facts | None = None
    laptop_before: Facts | None = None
    laptop_after: Facts | None = None
    checks: dict[str, bool] = field(default_factory=dict)
    screenshots: list[str] = field(default_factory=list)

    @property
    def beacon_without_firmware(self) -> float | None:
        """Seconds from the stick's kernel to the first beacon: firmware and boot loader do not count."""
        if "beacon" not in self.seconds or "client_kernel" not in self.seconds:
            return None
        return round(self.seconds["beacon"] - self.seconds["client_kernel"], 1)

    @property
    def failed(self) -> list[str]:
        """The checks that did not hold."""
        return [check for check, holds in self.checks.items() if not holds]

    def write(self, file: Path) -> None:
        """Write everything as JSON."""
        content = asdict(self) | {"beacon_without_firmware": self.beacon_without_firmware}
        file.write_text(json.dumps(content, indent=2) + "\n")

    def timeline(self) -> str:
        """The moments that came, one line each: seconds since power-on, and since the line before."""
        lines, previous = ["seconds   since  what"], 0.0
        for moment, what in MOMENTS.items():
            if moment in self.seconds:
                now = self.seconds[moment]
                lines.append(f"{now:7.1f} {now - previous:+7.1f}  {what}")
                previous = now
        return "\n".join(lines)

    def require_success(self) -> None:
        """Raise LabError with every check that did not hold."""
        if self.failed:
            raise LabError("these checks did not hold:\n" + "\n".join(f"  * {check}" for check in self.failed))
