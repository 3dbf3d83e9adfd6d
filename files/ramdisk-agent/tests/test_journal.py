"""Events have fields in the journal, where a unit's standard error leads there."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from stiefel_agent.face import journal

SOURCE = Path(journal.__file__).parents[2]
PROGRAM = f"""
import os, sys
sys.path.insert(0, {str(SOURCE)!r})
from stiefel_agent.face import console, journal
journal.SOCKET = sys.argv[1]
console._write_console = lambda line: None
stream = os.fstat(2)
os.environ["JOURNAL_STREAM"] = sys.argv[2] or f"{{stream.st_dev}}:{{stream.st_ino}}"
console.event("triggered", by="the tower")
console.complain("no disk")
"""


def run(tmp_path, stream=""):
    """Return what an agent leaves in the journal, and what on its standard error."""
    place = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(place))
        heard.setblocking(False)
        command = [sys.executable, "-c", PROGRAM, place, stream]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True)
        entries = []
        while True:
            try:
                entries.append(heard.recv(65536))
            except BlockingIOError:
                return entries, done.stderr


def test_an_event_has_a_field_for_each_fact_and_an_error_its_priority(tmp_path):
    (event, error), written = run(tmp_path)
    assert event.splitlines() == [
        b"MESSAGE=stiefel: event=triggered by=the tower",
        b"PRIORITY=6",
        b"SYSLOG_IDENTIFIER=stiefel-agent",
        b"STIEFEL_EVENT=triggered",
        b"STIEFEL_BY=the tower",
    ]
    assert b"PRIORITY=3" in error
    assert written == ""


def test_a_standard_error_that_leads_elsewhere_gets_the_line(tmp_path):
    entries, written = run(tmp_path, stream="1:2")
    assert entries == []
    assert "stiefel: event=triggered by=the tower" in written


def test_a_journal_that_takes_nothing_loses_nothing(tmp_path):
    missing = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path / "nobody", ""], stderr=subprocess.PIPE, text=True, check=True
    )
    assert "event=triggered" in missing.stderr


def test_several_lines_are_given_with_their_length():
    assert journal.entry({"MESSAGE": "a\nb"}) == b"MESSAGE\n" + (3).to_bytes(8, "little") + b"a\nb\n"
    assert os.sep in journal.SOCKET
