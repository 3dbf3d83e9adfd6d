"""What happens to a desktop's cable and adapter while its target works, and how long its work stood still after it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from ..machines.bench import mac
from ..machines.machine import Machine
from .load import Load, Standstills
from .result import Result

CABLE_SECONDS = (5, 40, 600)
"""40 s: TCP's back-off alone had kept the target waiting for two minutes and more, once the cable was back. 600 s: the
tunnel's keys are refused, and every request was sent again, long before."""
ADAPTER_SECONDS = 5
LINK = "stiefellink"
ANOTHER_ADAPTER = "virtio-net-pci"


@dataclass
class Outage:
    """For how many seconds nothing could go through, at least: what is more of a standstill came after it."""

    seconds: float = 0.0

    def last(self, seconds: float) -> None:
        """Let it last so long."""
        began = time.monotonic()
        time.sleep(seconds)
        self.seconds = time.monotonic() - began


@dataclass
class Outages:
    """A target under load; `figures` are kept by the row of docs/faults.md."""

    desktop: Machine
    load: Load
    result: Result
    figures: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Look from now on."""
        self._standstills = Standstills(self.desktop)

    def cable_out(self, seconds: int) -> None:
        """Pull the cable for so long."""
        with self._going_on(f"{seconds} s without cable", "F4", "F5", "F35") as outage:
            self.desktop.plug(connected=False)
            outage.last(seconds)
            self.desktop.plug(connected=True)

    def adapter_out(self) -> None:
        """Take the adapter out, and put another one in its place: another driver, another name, the same cable."""
        with self._going_on("another adapter", "F9", "F34") as outage:
            self.desktop.unplug_adapter()
            outage.last(ADAPTER_SECONDS)
            self.desktop.plug_adapter(ANOTHER_ADAPTER, mac(self.desktop.name))

    def adapter_hangs(self) -> None:
        """Let the adapter swallow whatever is to be sent: only one that begins anew has no such queue."""
        with self._going_on("an adapter that hung", "F41"):
            self.desktop.ssh(f"sudo ip netns exec stiefel tc qdisc replace dev {LINK} root pfifo limit 0")

    @contextmanager
    def _going_on(self, after: str, *rows: str) -> Iterator[Outage]:
        """See that input and output go on after what happens within, and how soon."""
        before = len(self._standstills.noted())
        yield (outage := Outage())
        count = self.load.whole_round()
        seconds = max(self._standstills.noted()[before:]) - outage.seconds
        self.result.facts[after] = asdict(count) | {"seconds until the disk answered": round(seconds, 1)}
        self.result.check(f"after {after}: input and output go on", count.errors == 0)
        if count.errors == 0:
            told = f"{seconds:.1f} s after {after}"
            for row in rows:
                self.figures[row] = f"{self.figures[row]}, {told}" if row in self.figures else told
