"""People at a target's desktop are told by notification: a real session bus, and a stand-in for what shows them."""

import os
import shutil
import signal
import subprocess
import threading

import pytest

from stiefel_agent.target.herald import Herald

USER = 65534
NOTIFICATIONS = "org.freedesktop.Notifications"
DEADLINE_SECONDS = 120
"""No verdict, only an end for what would never end."""
NEEDED = ("dbus-daemon", "gdbus", "setpriv")
DBUSMOCK = ["/usr/bin/python3", "-m", "dbusmock"]

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs root"),
    pytest.mark.skipif(not all(map(shutil.which, NEEDED)), reason=f"not installed: one of {', '.join(NEEDED)}"),
    pytest.mark.skipif(
        subprocess.run([*DBUSMOCK, "--help"], capture_output=True, check=False).returncode != 0,
        reason="python3-dbusmock is not installed",
    ),
]


class Desktop:
    """A user's session bus below a folder that looks like /proc, and what shows notifications on it."""

    def __init__(self, proc):
        self.folder = proc / f"1/root/run/user/{USER}"
        self.folder.mkdir(parents=True)
        os.chown(self.folder, USER, USER)
        self.folder.chmod(0o700)
        self._address = f"unix:path={self.folder}/bus"
        self._processes = []
        bus = self._start(
            "dbus-daemon", "--session", "--nofork", "--nopidfile", "--print-address", f"--address={self._address}"
        )
        assert bus.stdout.readline()

    def _start(self, *command):
        as_user = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", *command]
        process = subprocess.Popen(
            as_user, stdout=subprocess.PIPE, text=True, env={**os.environ, "DBUS_SESSION_BUS_ADDRESS": self._address}
        )
        self._processes.append(process)
        return process

    def shows_notifications(self):
        """Start what shows them; what it hears can be read from the process's output, line by line."""
        mock = self._start(*DBUSMOCK, "--session", "--template", "notification_daemon")
        assert self._start("gdbus", "wait", "--session", NOTIFICATIONS).wait(DEADLINE_SECONDS) == 0
        return mock.stdout

    def stands_still(self):
        """Stop the bus, as if its program were on a disk that is out of reach."""
        self._processes[0].send_signal(signal.SIGSTOP)

    def off(self):
        for process in reversed(self._processes):
            process.kill()
            process.communicate()


@pytest.fixture
def desktop(tmp_path):
    for folder in (tmp_path, *tmp_path.parents[:3]):  # a user goes through them to the bus
        folder.chmod(folder.stat().st_mode | 0o011)
    found = Desktop(tmp_path)
    watchdog = threading.Timer(DEADLINE_SECONDS, found.off)
    watchdog.start()
    try:
        yield found
    finally:
        watchdog.cancel()
        found.off()


def heard(log):
    """Return the next notification that was asked for, as the stand-in wrote it down."""
    return next(line.split("Notify ", 1)[1].strip() for line in log if "Notify " in line)


def returned(herald):
    """Wait until the one herald that is under way is back; return the number of what it has shown."""
    (sent,) = herald._sent.values()
    os.waitid(os.P_PID, sent.process, os.WEXITED | os.WNOWAIT)
    herald._return(USER)
    assert not herald._sent
    return herald._shown.get(USER, 0)


def test_what_is_told_takes_the_place_of_what_was_told_before_and_goes_when_all_is_well(tmp_path, desktop):
    log = desktop.shows_notifications()
    herald = Herald(str(tmp_path))
    herald.send("the laptop is not reached: é", lasting=True)
    first = heard(log)
    assert first.startswith('"Stiefelsystem" 0 ""')
    assert "the laptop is not reached: é" in first
    assert '"urgency": 2' in first
    assert first.endswith(" 0")
    number = returned(herald)
    assert number
    herald.send("your work goes on", lasting=False)
    last = heard(log)
    assert last.startswith(f'"Stiefelsystem" {number} ""')
    assert '"urgency": 1' in last
    assert last.endswith(" 10000")


def test_where_nobody_shows_notifications_nothing_is_waited_for(tmp_path, desktop):
    herald = Herald(str(tmp_path))
    herald.send("the laptop is not reached", lasting=True)
    assert returned(herald) == 0


def test_a_bus_that_stands_still_has_one_herald_at_a_time(tmp_path, desktop):
    herald = Herald(str(tmp_path))
    desktop.stands_still()
    herald.send("the laptop is not reached", lasting=True)
    (sent,) = herald._sent.values()
    herald.send("the laptop is not reached", lasting=True)
    assert list(herald._sent.values()) == [sent]
    os.kill(sent.process, signal.SIGKILL)
    assert returned(herald) == 0


def test_with_nobody_logged_in_nothing_is_sent(tmp_path):
    herald = Herald(str(tmp_path))
    herald.send("the laptop is not reached", lasting=True)
    assert not herald._sent
