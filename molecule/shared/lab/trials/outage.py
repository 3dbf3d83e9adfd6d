"""What happens to a desktop's cable and adapter while its target works, and how long its work stood still after it."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from ..machines.bench import mac
from ..machines.machine import Machine
from .load import Load
from .result import Result

CABLE_SECONDS = 40
"""So long TCP's back-off alone had kept the target waiting for two minutes and more, once the cable was back."""
LINK = "stiefellink"
ANOTHER_ADAPTER = "virtio-net-pci"


@dataclass
class Outages:
    """A target under load; `figures` are kept by the row of docs/faults.md."""

    desktop: Machine
    load: Load
    result: Result
    figures: dict[str, str] = field(default_factory=dict)

    def cable_out(self) -> None:
        """Pull the cable for a while."""
        self.desktop.plug(connected=False)
        time.sleep(CABLE_SECONDS)  # the outage itself
        self.desktop.plug(connected=True)
        self._goes_on(f"{CABLE_SECONDS} s without cable", "F4", "F5", "F35")

    def adapter_out(self) -> None:
        """Take the adapter out, and put another one in its place: another driver, another name, the same cable."""
        self.desktop.unplug_adapter()
        self.desktop.plug_adapter(ANOTHER_ADAPTER, mac(self.desktop.name))
        self._goes_on("another adapter", "F9", "F34")

    def adapter_hangs(self) -> None:
        """Let the adapter swallow whatever is to be sent: only one that begins anew has no such queue."""
        self.desktop.ssh(f"sudo ip netns exec stiefel tc qdisc replace dev {LINK} root pfifo limit 0")
        self._goes_on("an adapter that hung", "F41")

    def _goes_on(self, after: str, *rows: str) -> None:
        start = time.monotonic()
        count = self.load.whole_round()
        seconds = time.monotonic() - start
        facts: dict[str, Any] = asdict(count) | {"seconds until a whole round": round(seconds, 1)}
        self.result.facts[after] = facts
        self.result.check(f"after {after}: input and output go on", count.errors == 0)
        if count.errors == 0:
            self.figures |= dict.fromkeys(rows, f"{seconds:.1f} s after {after}")
