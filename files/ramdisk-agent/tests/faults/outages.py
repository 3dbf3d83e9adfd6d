"""Outages of every kind: what is done to the cable or an adapter, and how it comes back."""

KINDS = ("cable", "swallow", "adapter", "another")
"""The cable is pulled; it has a signal, and nothing passes; an adapter is unplugged and plugged in; another is."""


class Outage:
    """One machine's end of the cable, which is taken away and comes back again and again."""

    def __init__(self, cable, machine, interface):
        self._cable, self._machine = cable, machine
        self.interface = interface
        """What its adapter is called outside of the target."""

    def begins(self, kind):
        act = {"cable": self._cable.cut, "swallow": self._cable.swallow}.get(kind, self._cable.unplug)
        act(self._machine, self.interface)

    def ends(self, kind, name):
        """Let it be over; `name`: what another adapter is called."""
        if kind in ("cable", "swallow"):
            self._cable.join(self._machine, self.interface)
            return
        if kind == "another":
            self.interface = name
        self._cable.plug(self._machine, self.interface, up=False)
