"""The link half runs for real, in network namespaces with veth pairs; nbd and WireGuard need the virtual machines."""

import itertools
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stiefel_agent.errors import LinkFailed, TunnelFailed
from stiefel_agent.machine import netdev
from stiefel_agent.protocol.session import Nbd, Release, Session, WireGuard
from stiefel_agent.target import attach

MAC = "52:54:00:00:00:02"
KEYS = [letter * 43 + "=" for letter in "ABC"]
SESSION = Session(
    mac=MAC,
    server="fe80::1",
    wireguard=WireGuard(KEYS[0], 61572, "fd73::2", "fd73::1", KEYS[1], KEYS[2]),
    nbd=Nbd(10809, "disk", 4, 512),
    release=Release(61571, "ab" * 32),
)
counter = itertools.count()

BRING_UP = f"""
import sys
sys.path.insert(0, {str(Path(attach.__file__).parents[2])!r})
from stiefel_agent.target import attach
from stiefel_agent.protocol.session import Nbd, Release, Session
attach.REMIND_SECONDS = 0.3
session = Session({MAC!r}, "fe80::1", None, Nbd(10809, "disk", 4, 512), Release(61571, "ab" * 32))
attach.bring_up_link(session)
print("up", flush=True)
"""


def run(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def desktop():
    """A network namespace that stands for the desktop."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    name = f"stiefel-test-{os.getpid()}-{next(counter)}"
    run("ip", "netns", "add", name)
    try:
        yield name
    finally:
        run("ip", "netns", "delete", name)


def plug_in_adapter(desktop):
    """Give the desktop an interface; the other end of its cable is still without power."""
    peer = ("peer", "name", "laptop0", "address", "52:54:00:00:00:01")
    run("ip", "-n", desktop, "link", "add", "eth0", "address", MAC, "type", "veth", *peer)


def plug_in_cable(desktop):
    run("ip", "-n", desktop, "link", "set", "laptop0", "up")


def bring_up(desktop):
    command = ["ip", "netns", "exec", desktop, sys.executable, "-c", BRING_UP]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_the_interface_becomes_stiefellink_with_the_address_that_follows_from_its_mac(desktop):
    plug_in_adapter(desktop)
    plug_in_cable(desktop)
    with bring_up(desktop) as process:
        output, errors = process.communicate(timeout=30)
    assert (output, errors, process.returncode) == ("up\n", "", 0)
    address = run("ip", "-n", desktop, "-6", "-o", "address", "show", "dev", "stiefellink")
    assert "fe80::5054:ff:fe00:2/64" in address
    assert "tentative" not in address
    assert MAC in run("ip", "-n", desktop, "-o", "link", "show", "dev", "stiefellink")


def test_adapter_and_cable_may_come_late_and_each_wait_says_what_for(desktop):
    with bring_up(desktop) as process:
        assert process.stderr.readline() == (f"[stiefel] no network interface {MAC} yet: is the adapter plugged in?\n")
        plug_in_adapter(desktop)
        waiting = "[stiefel] no carrier on stiefellink: is the cable in?\n"
        assert waiting in iter(process.stderr.readline, "")
        plug_in_cable(desktop)
        output, _ = process.communicate(timeout=30)
    assert (output, process.returncode) == ("up\n", 0)


def test_a_second_attempt_finds_the_interface_under_its_new_name(desktop):
    plug_in_adapter(desktop)
    plug_in_cable(desktop)
    for _ in range(2):
        with bring_up(desktop) as process:
            assert process.communicate(timeout=30)[0] == "up\n"


def test_the_tunnel_sends_to_the_laptop_on_the_cable_and_takes_only_its_address():
    configuration = attach.wireguard_configuration(SESSION.wireguard, SESSION.server)
    assert "Endpoint = [fe80::1%stiefellink]:61572\n" in configuration
    assert "AllowedIPs = fd73::1/128\n" in configuration
    assert f"PrivateKey = {KEYS[1]}\n" in configuration


@pytest.fixture
def fake_wg(monkeypatch, tmp_path):
    """A wg that notes what it is told on its command line and on standard input."""
    wg = tmp_path / "wg"
    wg.write_text(f'#!/bin/sh\necho "$@" >{tmp_path}/arguments\ncat >{tmp_path}/input\n')
    wg.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def test_keys_reach_wg_through_a_pipe_only(fake_wg):
    netdev.wg_setconf("stiefeltunnel", attach.wireguard_configuration(SESSION.wireguard, SESSION.server))
    assert (fake_wg / "input").read_text().count(KEYS[1]) == 1
    assert not any(key in (fake_wg / "arguments").read_text() for key in KEYS)


def test_what_wg_refuses_is_said(fake_wg):
    (fake_wg / "wg").write_text("#!/bin/sh\necho no such device >&2\nexit 1\n")
    with pytest.raises(TunnelFailed, match="no such device"):
        netdev.wg_setconf("stiefeltunnel", "")


def test_what_ip_refuses_is_said():
    with pytest.raises(LinkFailed, match="stiefel-none"):
        netdev.ip("link", "set", "dev", "stiefel-none", "up")


def test_a_failing_step_is_repeated_until_it_works_and_each_reason_said_once(monkeypatch, capsys):
    monkeypatch.setattr(attach, "RETRY_SECONDS", 0)
    failures = iter(["first", "first", "second"])

    def step():
        for reason in failures:
            raise LinkFailed(reason)

    attach.insist(step, debug=False)
    said = capsys.readouterr().err
    assert said.count("first") == said.count("second") == 1


def test_with_debug_the_first_failure_ends_it():
    def step():
        raise LinkFailed("broken")

    with pytest.raises(LinkFailed):
        attach.insist(step, debug=True)


@pytest.fixture
def run_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(attach, "IN_TARGET", tmp_path / "stiefel/session.json")
    monkeypatch.setattr(attach, "RUN_SYSTEMD", tmp_path / "systemd")
    return tmp_path


def test_the_target_knows_its_session_but_no_key(run_folder):
    attach.leave_word(SESSION)
    left = run_folder / "stiefel/session.json"
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert not any(key in left.read_text() for key in KEYS[1:])
    assert SESSION.release.token in left.read_text()


def test_the_target_does_not_sleep(run_folder):
    for _ in range(2):  # a second attempt finds the first one's traces
        attach.leave_word(SESSION)
    sleep = (run_folder / "systemd/sleep.conf.d/99-stiefel.conf").read_text()
    assert {"AllowSuspend=no", "AllowHibernation=no"} <= set(sleep.splitlines())


def test_attach_leaves_nothing_that_changes_what_others_in_an_initrd_do(run_folder):
    """F47: with /run/systemd/system there, lvm2 hands the activation of root to a systemd that does not run."""
    attach.leave_word(SESSION)
    left = {str(path.relative_to(run_folder)) for path in run_folder.rglob("*") if not path.is_dir()}
    assert left == {"stiefel/session.json", "systemd/sleep.conf.d/99-stiefel.conf"}
    assert not (run_folder / "systemd/system").exists()


def test_without_a_session_there_is_one_clear_message(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(attach, "IN_INITRD", tmp_path / "session.json")
    assert attach.main() == 1
    assert "from the stick again" in capsys.readouterr().err
