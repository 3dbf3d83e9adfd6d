"""Run on the laptop, as its owner: the notification service of a desktop environment, printing what it is told.

Source: https://specifications.freedesktop.org/notification-spec/latest/protocol.html
"""
# mypy: ignore-errors
# Its libraries are on the laptop, not here.

import dbus
import dbus.mainloop.glib
import dbus.service
from gi.repository import GLib

NAME = "org.freedesktop.Notifications"


class Notifications(dbus.service.Object):
    """As much of the service as notify-send asks for."""

    @dbus.service.method(NAME, in_signature="susssasa{sv}i", out_signature="u")
    def Notify(self, program, replaces, icon, summary, body, actions, hints, timeout):  # noqa: PLR0917
        """Print the summary and the body; all arguments are the specification's."""
        print(summary, body, flush=True)
        return 1

    @dbus.service.method(NAME, out_signature="ssss")
    def GetServerInformation(self):
        """Name, vendor, version, and the specification's version."""
        return "lab", "stiefelsystem", "1", "1.2"

    @dbus.service.method(NAME, out_signature="as")
    def GetCapabilities(self):
        """Nothing beyond a text."""
        return ["body"]


def main() -> None:
    """Serve until terminated."""
    dbus.mainloop.glib.DBusGMainLoop(set_as_default=True)
    bus = dbus.SessionBus()
    name = dbus.service.BusName(NAME, bus)
    service = Notifications(bus, "/org/freedesktop/Notifications")
    print("listening", name, service, flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
