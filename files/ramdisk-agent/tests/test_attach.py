"""The link half runs for real, in network namespaces with veth pairs; nbd and WireGuard need the virtual machines."""

import errno
import itertools
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from machines import LAPTOP, run

from stiefel_agent.errors import DiskRefused, DiskWithheld, DriverMissing, LinkFailed, TunnelFailed
from stiefel_agent.machine import netdev, rtnl, tunnel
from stiefel_agent.protocol.session import TUNNEL, Nbd, Release, Session, WireGuard
from stiefel_agent.target import attach

MAC = "52:54:00:00:00:02"
KEYS = [letter * 43 + "=" for letter in "ABC"]
SESSION = Session(
    mac=MAC,
    server="fe80::1",
    wireguard=WireGuard(KEYS[0], 61572, "fd73::2", "fd73::1", KEYS[1], KEYS[2]),
    nbd=Nbd(10809, "5ecret-name", 4, 512),
    release=Release(61571, "ab" * 32),
)
counter = itertools.count()

PRELUDE = f"""
import subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(Path(attach.__file__).parents[2])!r})
from stiefel_agent.protocol.session import Nbd, Release, Session
from stiefel_agent.target import attach, cable
attach.RETRY_SECONDS, cable.CARRIER_SECONDS, cable.ANSWER_SECONDS = 0.3, 0.3, 0.5
cable.HARDWARE = {{"veth"}}
attach.load_modules = lambda session: None  # they are this machine's own kernel's
disk, release = Nbd(10809, "disk", 4, 512), Release(61571, "ab" * 32)
session = Session({MAC!r}, "fe80::1", None, disk, release, packet=9000)
"""

FIND_LAPTOP = f"""{PRELUDE}
with cable.Cable(session, Path(sys.argv[1])) as way:
    attach.insist(lambda: attach.find_laptop(session, way), way.wait, debug=False)
    print([one.name + (" up" if one.up else "") for one in way.candidates()], flush=True)
subprocess.run(["ip", "-o", "address"], check=True)
subprocess.run(["ip", "-o", "link", "show", "dev", "stiefellink"], check=True)
"""

LIGHT_UP = f"""{PRELUDE}
with cable.Cable(session, Path(sys.argv[1])) as way:
    print(*sorted(one.name for one in way.light_up() if one.up))
"""

TRY_IN_VAIN = f"""{PRELUDE}
with cable.Cable(session, Path(sys.argv[1])) as way:
    for _ in range(3):
        (adapter,) = way.candidates()
        way.plug_in(adapter)
        way.has_carrier()
        print(way.link().mtu)
        way.unplug(adapter.name)
    print(way.candidates()[0].mtu)
"""


@pytest.fixture
def namespace():
    """Make network namespaces, each of which stands for a machine."""
    if os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("network namespaces need root and iproute2")
    made = []

    def make():
        made.append(f"stiefel-test-{os.getpid()}-{next(counter)}")
        run("ip", "netns", "add", made[-1])
        return made[-1]

    try:
        yield make
    finally:
        for name in made:
            run("ip", "netns", "delete", name)
            inner_name(name).unlink(missing_ok=True)


def inner_name(desktop):
    """Return where a desktop's own namespace gets its name: mounted where `ip netns exec` is, and gone with it."""
    return Path(f"/tmp/{desktop}-inner")


@pytest.fixture
def desktop(namespace):
    return namespace()


@pytest.fixture
def laptop(namespace, desktop):
    """A laptop that hands out its disk on lap0; its cable's other end is the desktop's eth0, with the session's MAC."""
    name = namespace()
    plug_in_adapter(desktop, "eth0", MAC, name, "lap0")
    listen = ["ip", "netns", "exec", name, sys.executable, "-c", LAPTOP]
    run("ip", "-n", name, "address", "add", "fe80::1/64", "dev", "lap0", "nodad")
    with subprocess.Popen(listen, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "listening\n"
        yield name
        process.kill()


def plug_in_adapter(desktop, name, mac, other, end):
    """Give the desktop an interface; the other end of its cable is still without power."""
    run("ip", "-n", other, "link", "add", end, "type", "veth", "peer", "name", name, "address", mac, "netns", desktop)


def plug_in_cable(machine, end):
    run("ip", "-n", machine, "link", "set", end, "up")


def find_laptop(desktop):
    command = ["ip", "netns", "exec", desktop, sys.executable, "-c", FIND_LAPTOP, str(inner_name(desktop))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def found_laptop(desktop):
    """Find it without a word; return what is left outside, and what the namespace looks like."""
    with find_laptop(desktop) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    left, _, inside = output.partition("\n")
    return left, inside


def test_the_interface_becomes_stiefellink_in_a_namespace_of_its_own_with_the_sessions_address(desktop, laptop):
    plug_in_cable(laptop, "lap0")
    left, inside = found_laptop(desktop)
    assert left == "[]"
    assert MAC in inside
    (address,) = [line for line in inside.splitlines() if "inet6 fe80:" in line]
    assert "stiefellink    inet6 fe80::5054:ff:fe00:2/64" in address
    assert "tentative" not in address


@pytest.mark.parametrize(("powered", "sizes"), [(True, "9000 1500 9000 1500"), (False, "9000 9000 9000 1500")])
def test_an_adapter_that_hears_nothing_with_large_packets_is_tried_as_it_was(desktop, laptop, powered, sizes):
    """Some drivers promise jumbo frames, and receive nothing once they are set up for them. It goes back as it came."""
    if powered:
        plug_in_cable(laptop, "lap0")
    command = ["ip", "netns", "exec", desktop, sys.executable, "-c", TRY_IN_VAIN, str(inner_name(desktop))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == sizes.split()


def test_cable_may_come_late_and_the_wait_says_what_for(desktop, laptop):
    with find_laptop(desktop) as process:
        assert "no carrier on eth0" in process.stderr.readline()
        plug_in_cable(laptop, "lap0")
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stiefellink" in output


def test_a_cable_with_a_signal_and_nobody_at_its_end_is_not_said_to_have_none(namespace, desktop):
    stranger = namespace()
    plug_in_adapter(desktop, "eth0", MAC, stranger, "str0")
    plug_in_cable(stranger, "str0")
    with find_laptop(desktop) as process:
        said = process.stderr.readline()
        process.kill()
    assert "nobody answers on eth0" in said


def test_an_adapter_may_come_late_and_have_another_mac(namespace, desktop):
    with find_laptop(desktop) as process:
        assert "no wired network adapter is there yet" in process.stderr.readline()
        laptop = namespace()
        plug_in_adapter(desktop, "eth7", "62:e9:00:00:00:07", laptop, "lap0")
        run("ip", "-n", laptop, "address", "add", "fe80::1/64", "dev", "lap0", "nodad")
        plug_in_cable(laptop, "lap0")
        # Nobody listens there: that it says so is an answer, too.
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "stiefellink    inet6 fe80::5054:ff:fe00:2/64" in output
    assert "62:e9:00:00:00:07" in output


@pytest.mark.fault("F32")
def test_the_interface_is_the_one_on_which_the_laptop_answers_whatever_its_mac(namespace, desktop, laptop):
    stranger = namespace()
    run("ip", "-n", desktop, "link", "set", "eth0", "address", "52:54:00:00:00:99")
    plug_in_adapter(desktop, "eth1", MAC, stranger, "str0")
    plug_in_cable(stranger, "str0")
    plug_in_cable(laptop, "lap0")
    left, inside = found_laptop(desktop)
    assert left == "['eth1']"
    assert "52:54:00:00:00:99" in inside


def test_the_sessions_own_adapter_is_switched_on_only_where_it_is_used(namespace, desktop):
    """Its hardware takes a while for it, and looks for its cable's signal from the beginning each time."""
    for name, mac in (("eth0", MAC), ("eth1", "52:54:00:00:00:77")):
        plug_in_adapter(desktop, name, mac, namespace(), f"far-{name}")
    command = ["ip", "netns", "exec", desktop, sys.executable, "-c", LIGHT_UP, str(inner_name(desktop))]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.split() == ["eth1"]


@pytest.mark.parametrize("before", ["", " up"])
def test_another_interface_is_left_as_it_was(namespace, desktop, laptop, before):
    """NetworkManager leaves one alone that is up already: the target would have no network but the cable."""
    plug_in_adapter(desktop, "eth1", "52:54:00:00:00:77", namespace(), "str0")
    if before:
        plug_in_cable(desktop, "eth1")
    plug_in_cable(laptop, "lap0")
    assert found_laptop(desktop)[0] == f"['eth1{before}']"


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


def test_what_the_kernel_refuses_of_a_tunnel_is_said(monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(rtnl.Interfaces, "add_wireguard", refuse)
    with pytest.raises(LinkFailed, match=f"{TUNNEL} cannot be set up: Operation not supported"):
        tunnel.create("", "fd73::2", "fd73::1")


def test_a_failing_step_is_repeated_until_it_works_and_each_reason_said_once(capsys):
    failures = iter(["first", "first", "second"])

    def step():
        for reason in failures:
            raise LinkFailed(reason)

    attach.insist(step, lambda seconds: None, debug=False)
    said = capsys.readouterr().err
    assert said.count("first") == said.count("second") == 1


def test_with_debug_the_first_failure_ends_it():
    def step():
        raise LinkFailed("broken")

    with pytest.raises(LinkFailed):
        attach.insist(step, lambda seconds: None, debug=True)


def test_a_kernel_without_the_disks_driver_is_not_tried_again(monkeypatch, tmp_path):
    (tmp_path / "modprobe").write_text("#!/bin/sh\necho FATAL: Module nbd not found >&2\nexit 1\n")
    (tmp_path / "modprobe").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(DriverMissing, match="Module nbd not found"):
        attach.insist(lambda: attach.load_modules(SESSION), lambda seconds: pytest.fail("it waits"), debug=False)


@pytest.fixture
def run_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(attach, "IN_TARGET", tmp_path / "stiefel/session.json")
    monkeypatch.setattr(attach, "RUN_SYSTEMD", tmp_path / "systemd")
    monkeypatch.setattr(attach, "HUNG_TASKS", tmp_path / "hung_task_timeout_secs")
    return tmp_path


@pytest.mark.fault("F19")
def test_the_disks_driver_makes_partitions(monkeypatch, tmp_path):
    """Its default on some kernels is none (nbd.c, max_part); which programs are asked for says PATH."""
    (tmp_path / "modprobe").write_text('#!/bin/sh\necho "$*" >>"$0.log"\n')
    (tmp_path / "modprobe").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    attach.load_modules(SESSION)
    disk, tunnel = (tmp_path / "modprobe.log").read_text().splitlines()
    options = dict(word.split("=") for word in disk.split()[1:])
    assert disk.split()[0] == "nbd"
    assert int(options["max_part"]) >= 16
    assert tunnel == "wireguard"


def test_the_target_knows_its_session_but_nothing_that_gets_the_disk(run_folder):
    attach.leave_word(SESSION)
    left = run_folder / "stiefel/session.json"
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert not any(secret in left.read_text() for secret in [*KEYS[1:], SESSION.nbd.export])
    assert SESSION.release.token in left.read_text()


@pytest.mark.fault("F15", "F17")
def test_the_target_does_not_sleep(run_folder):
    for _ in range(2):  # a second attempt finds the first one's traces
        attach.leave_word(SESSION)
    sleep = (run_folder / "systemd/sleep.conf.d/99-stiefel.conf").read_text()
    assert {"AllowSuspend=no", "AllowHibernation=no"} <= set(sleep.splitlines())


def test_what_waits_for_its_disk_while_it_starts_is_not_given_up(run_folder):
    attach.leave_word(SESSION)
    assert "DefaultTimeoutStartSec=1h" in (run_folder / "systemd/system.conf.d/99-stiefel.conf").read_text()


def test_whoever_waits_for_the_laptop_is_not_reported_as_hung(run_folder):
    attach.HUNG_TASKS.write_text("120")
    attach.leave_word(SESSION)
    assert attach.HUNG_TASKS.read_text() == "0"
    attach.HUNG_TASKS.unlink()


@pytest.fixture
def firmware(monkeypatch, tmp_path):
    """An initrd with an adapter's firmware, and a kernel that looks on the disk."""
    for name, path in (("FIRMWARE", "lib/rtl_nic"), ("FIRMWARE_IN_MEMORY", "run/firmware"), ("FIRMWARE_PATH", "path")):
        monkeypatch.setattr(attach, name, tmp_path / path)
    attach.FIRMWARE.mkdir(parents=True)
    (attach.FIRMWARE / "rtl8153b-2.fw").write_bytes(b"firmware")
    attach.FIRMWARE_PATH.write_text("\n")


@pytest.mark.fault("F34")
@pytest.mark.usefixtures("firmware")
def test_an_adapter_that_is_plugged_in_again_finds_its_firmware_in_memory():
    attach.keep_firmware()
    where = Path(attach.FIRMWARE_PATH.read_text())
    assert (where / "rtl_nic/rtl8153b-2.fw").read_bytes() == b"firmware"


@pytest.mark.usefixtures("firmware")
def test_a_path_for_firmware_that_somebody_has_set_stays():
    attach.FIRMWARE_PATH.write_text("/opt/firmware\n")
    attach.keep_firmware()
    assert attach.FIRMWARE_PATH.read_text() == "/opt/firmware\n"


@pytest.mark.fault("F47")
def test_attach_leaves_nothing_that_changes_what_others_in_an_initrd_do(run_folder):
    """F47: with /run/systemd/system there, lvm2 hands the activation of root to a systemd that does not run."""
    attach.leave_word(SESSION)
    left = {str(path.relative_to(run_folder)) for path in run_folder.rglob("*") if not path.is_dir()}
    settings = {f"systemd/{name}.conf.d/99-stiefel.conf" for name in ("sleep", "system")}
    assert left == {"stiefel/session.json", *settings}
    assert not (run_folder / "systemd/system").exists()


def test_without_a_session_there_is_one_clear_message_and_the_desktop_restarts(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(attach, "IN_INITRD", tmp_path / "session.json")
    restarts = []
    monkeypatch.setattr(attach, "restart", restarts.append)
    assert attach.main() == 1
    assert "from the stick again" in capsys.readouterr().err
    assert restarts == [attach.RESTART_SECONDS]


def test_what_cannot_succeed_is_not_tried_again():
    tries = []

    def step():
        tries.append(1)
        raise DiskRefused("it is read-only")

    with pytest.raises(DiskRefused):
        attach.insist(step, lambda seconds: None, debug=False)
    assert len(tries) == 1


def test_a_laptop_that_knows_no_such_session_is_asked_for_a_minute_only(monkeypatch, capsys):
    clock = itertools.count(0, 5)
    monkeypatch.setattr(attach.time, "monotonic", lambda: next(clock))

    def step():
        raise DiskWithheld("it knows no such export")

    with pytest.raises(DiskWithheld):
        attach.insist(step, lambda seconds: None, debug=False)
    assert next(clock) >= attach.WITHHELD_SECONDS
    assert capsys.readouterr().err.count("no such export") == 1
