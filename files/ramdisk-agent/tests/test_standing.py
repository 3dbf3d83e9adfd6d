"""What `stiefel-agent status` says of laptop, server and target, out of recorded trees."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from trees import plant, supply, tunnel, wired

from stiefel_agent import __version__
from stiefel_agent.config import AUTOKEXEC_FILE, SERVER_FILE
from stiefel_agent.errors import BadConfiguration
from stiefel_agent.face import console, report, watch
from stiefel_agent.face.report import Role, Traffic
from stiefel_agent.laptop import standing as laptop
from stiefel_agent.machine.power import Power
from stiefel_agent.protocol.messages import Facts
from stiefel_agent.server import standing as server
from stiefel_agent.server.memory import RECORD
from stiefel_agent.server.sessions import Session, State, record
from stiefel_agent.target import links, notes
from stiefel_agent.target import standing as target
from stiefel_agent.target.notes import Notes

BATTERY = {
    **supply("AC", type="Mains", online=1),
    **supply("BAT0", type="Battery", present=1, status="Charging", capacity=82),
}
HELD = Session(Facts("tower", bytes(32), bytes(16)), "stick", "fe80::2%eth0", "fd73::1", "secret", bytes(32), 100.0)


def settings(**chosen):
    return {str(AUTOKEXEC_FILE)[1:]: json.dumps({"laptop": "anna", **chosen})}


def said(found):
    return report.text(found)


def test_a_laptop_says_how_it_answers_and_what_it_has(tmp_path):
    initrd = {"var/lib/stiefel/target/initrd.img-6.12.1-amd64": ""}
    down = wired("eth1", flags="0x1002", carrier="", speed="")
    files = {**settings(countdown_seconds=7), **initrd, **wired("eth0", speed=2500), **down, **BATTERY}
    text = said(laptop.look(True, plant(tmp_path, files)))
    assert text.startswith(f"Stiefelsystem {__version__}: the laptop anna\n")
    for words in (
        "moves into the server after a countdown of 7 s",
        "eth0, 2500 Mbit/s",
        "eth1, switched off",
        "plugged in, battery charging, 82 %",
        "6.12.1-amd64 for a desktop",
        "Last error   none",
    ):
        assert words in text


def test_a_service_that_does_not_run_and_other_consents_are_told(tmp_path):
    assert "does not answer desktops" in said(laptop.look(False, plant(tmp_path, settings())))
    plant(tmp_path, settings(consent="ask"))
    assert "after somebody here has allowed it" in said(laptop.look(True, tmp_path))


def test_a_stranger_is_no_laptop_and_settings_that_are_none_are_refused(tmp_path):
    assert laptop.look(True, tmp_path).role is Role.NONE
    with pytest.raises(BadConfiguration):
        laptop.look(True, plant(tmp_path, settings(consent="maybe")))


def a_server(tmp_path, files=()):
    mine = {str(SERVER_FILE)[1:]: json.dumps({"disk": "/dev/sda", "laptop": "anna"})}
    return plant(tmp_path, {**mine, **wired("eth0"), **BATTERY, **dict(files)})


def test_a_server_without_a_session_waits(tmp_path):
    found = server.look(a_server(tmp_path), now=160.0)
    assert (found.role, found.session_seconds, found.traffic) == (Role.SERVER, None, None)
    assert "waits for a desktop" in said(found)


def test_a_server_says_whom_it_serves_for_how_long_and_how_much(tmp_path):
    files = {str(RECORD)[1:]: record(State.SERVING, HELD), **tunnel(received=3_000_000, sent=2_500_000_000)}
    found = server.look(a_server(tmp_path, files), now=160.0 + 3600)
    text = report.text(found, Traffic(read=1500, written=0))
    assert "with tower for 1 h 1 min" in text
    assert "2.5 GB read at 1.5 kB/s, 3.0 MB written at 0 B/s" in text
    assert "secret" not in text + json.dumps(report.document(found))


def test_a_record_that_cannot_be_read_is_no_session(tmp_path):
    assert server.look(a_server(tmp_path, {str(RECORD)[1:]: "{"}), now=0.0).session_seconds is None


WELL = Notes(attached=50.0, state=links.State.WELL, since=50.0)


def a_target(tmp_path, left):
    return plant(tmp_path, {str(notes.NOTES)[1:]: left.to_json(), **wired("stiefellink"), **tunnel(2_000_000, 4000)})


def test_a_target_says_how_its_cable_did(tmp_path):
    cut = WELL.moved_to(links.State.CUT, 100.0).moved_to(links.State.PROVING, 130.0).moved_to(links.State.WELL, 142.0)
    left = replace(cut, power=Power(False, 14))
    found = target.look(a_target(tmp_path, left), now=202.0, name="anna")
    text = said(found)
    assert "1: 1 min ago after 42 s" in text
    assert "stiefellink, 1000 Mbit/s" in text
    assert "2.0 MB read, 4.0 kB written" in text
    assert "on its battery, which holds 14 %" in text
    document = report.document(found)
    assert document["reconnects"] == 1
    assert document["reconnected"] == [{"ago_seconds": 60.0, "seconds": 42.0}]
    assert document["session_seconds"] == 152.0


def test_a_target_whose_laptop_is_gone_says_since_when(tmp_path):
    left = replace(WELL.moved_to(links.State.CUT, 100.0), error=(105.0, "dial: no route"))
    text = said(target.look(a_target(tmp_path, left), now=220.0))
    assert "not reached since 2 min" in text
    assert "no cable leads to the laptop" in text
    assert "Last error   1 min ago: dial: no route" in text
    over = replace(left, state=links.State.OVER)
    assert "this session is over" in said(target.look(a_target(tmp_path, over), now=220.0))


def test_a_target_that_may_not_be_looked_into_is_still_one(tmp_path):
    found = target.look(tmp_path, now=1.0)
    assert (found.role, found.traffic, found.cuts) == (Role.TARGET, None, None)
    assert "Cable" in said(found)


def test_only_so_many_cuts_are_kept_and_all_are_counted():
    left = WELL
    for number in range(20):
        left = left.moved_to(links.State.DIALLING, 100.0 + number).moved_to(links.State.WELL, 100.5 + number)
    assert (left.count, len(left.cuts)) == (20, notes.KEPT)
    assert notes.parse(left.to_json()) == left


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"version": 2}', '{"version": 1, "state": "well"}'])
def test_notes_that_are_none_are_refused(text):
    with pytest.raises(notes.SessionInvalid):
        notes.parse(text)


def test_what_went_wrong_last_is_kept_for_everybody(tmp_path, monkeypatch, capsys):
    kept = plant(tmp_path, {"run/stiefel/other": ""}) / str(console.LAST_ERROR)[1:]
    monkeypatch.setattr(console, "LAST_ERROR", kept)
    monkeypatch.setattr(console, "_write_console", lambda _: None)
    console.complain("the disk is in use")
    assert "the disk is in use" in capsys.readouterr().err
    assert kept.stat().st_mode & 0o777 == 0o644
    left = json.loads(kept.read_text())
    monkeypatch.setattr(console, "LAST_ERROR", Path("/run/stiefel/last-error.json"))
    found = report.complaint(tmp_path, left["at"] + 65)
    assert found.text == "the disk is in use"
    assert round(found.ago) == 65


def test_json_is_one_line_and_text_stays_narrow(tmp_path, capsys):
    look = lambda: laptop.look(True, plant(tmp_path, {**settings(), **wired("eth0"), **BATTERY}))  # noqa: E731
    watch.show(look, as_json=True, watch=False)
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert json.loads(line)["links"][0]["speed"] == 1000
    watch.show(look, as_json=False, watch=False)
    assert max(map(len, capsys.readouterr().out.splitlines())) < 120


def test_watching_goes_on_until_somebody_ends_it(capsys, monkeypatch, tmp_path):
    looks = iter(range(3))

    def look():
        if next(looks, None) is None:
            raise KeyboardInterrupt
        return laptop.look(True, plant(tmp_path, settings()))

    monkeypatch.setattr(watch, "WATCH_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        watch.show(look, as_json=True, watch=True)
    assert capsys.readouterr().out.count("\n") == 2


def test_the_version_is_told():
    command = [sys.executable, "-m", "stiefel_agent.cli", "--version"]
    source = Path(report.__file__).parents[2]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": str(source)})
    assert told.stdout == f"stiefel-agent {__version__}\n"
