"""The session is the laptop's durable state: nothing at the laptop ends it but its target, or a person who means it."""

import re
import signal
import socket
import struct
import threading

import pytest
from bench import EXPORT, SERVER
from nbd_kernel import Load

from stiefel_agent.server.releases import CALLERS_LIMIT


def goes_home(laptop, desktop):
    """The target's own release works as if nothing had been."""
    assert desktop.releases() == 0, desktop.said()
    laptop.hears("event=released desktop=tower")
    laptop.hears("the machine does: reboot")


@pytest.mark.fault("F10", "F11", "F13")
def test_a_session_goes_from_the_first_beacon_to_the_release(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    disk = desktop.boots()
    bundle = laptop.folder / "etc/stiefel/bundle"
    for given, kept in (("vmlinuz", "kernel"), ("initrd.img", "initrd")):
        assert (desktop.folder / "run" / kept).read_bytes() == (bundle / given).read_bytes()
    line = (desktop.folder / "run/cmdline").read_text()
    assert re.fullmatch(r"stiefel\.clock=\d+ root=UUID=1 stiefel\.role=target", line)
    disk.write(4096, b"work" * 1024)
    disk.flush()
    assert disk.read(4096, 4096) == b"work" * 1024
    assert laptop.content(4096, 4) == b"work"
    wrong = desktop.connect(desktop.session().release.port)
    wrong.sendall(b"00" * 32 + b"\n")
    assert wrong.recv(16) == b""
    goes_home(laptop, desktop)


def test_no_key_at_the_laptop_ends_the_agent(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    with Load(desktop.boots()) as load:
        laptop.terminal.press("\x03\x1c\x1a" + "e")  # Ctrl-C, Ctrl-\\, Ctrl-Z
        laptop.terminal.shows("End the session of tower?")
        load.goes_on()
    assert f"{SERVER} ended" not in laptop.said()
    goes_home(laptop, desktop)


@pytest.mark.parametrize("encryption", ["wireguard", "none"])
def test_an_agent_that_is_killed_in_a_session_goes_on_with_it(bench, encryption):
    laptop, desktop = bench.laptop(encryption=encryption), bench.desktop("tower")
    with Load(desktop.boots()) as load:
        nbdkit = laptop.main_pid(EXPORT)
        laptop.kill(SERVER, signal.SIGKILL)
        laptop.hears("event=server_ready", times=2)
        assert "event=adopted desktop=tower" in laptop.said()
        assert laptop.main_pid(EXPORT) == nbdkit
        laptop.terminal.shows("The desktop is using this laptop's disk.")
        laptop.terminal.shows("tower for")
        second = bench.desktop("second")
        second.role("client")
        second.hears("in use by tower")
        load.goes_on()
    goes_home(laptop, desktop)


def reset(connection):
    """Hang up so that the other end hears it as an error (socket(7), SO_LINGER)."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def test_a_release_connection_that_is_reset_ends_nothing(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    desktop.boots()
    with laptop.stands_still():
        reset(desktop.connect(desktop.session().release.port))
    goes_home(laptop, desktop)
    assert f"{SERVER} ended with 1" not in laptop.said()


def test_a_release_and_a_persons_yes_in_one_turn_end_the_session_once(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    desktop.boots()
    laptop.terminal.press("e")
    laptop.terminal.shows("End the session of tower?")
    release = desktop.session().release
    with laptop.stands_still():
        connection = desktop.connect(release.port)
        connection.sendall(release.token.encode() + b"\n")
        laptop.terminal.press("y")
    laptop.hears("desktop=tower", times=2)  # exported; and released or ended_here
    if "event=ended_here" in laptop.said():
        bench.desktop("heir").receives()
    else:
        laptop.hears("the machine does: reboot")
    assert f"{SERVER} ended with 1" not in laptop.said()


@pytest.mark.parametrize("fault", ["", "hang "], ids=["fails", "hangs"])
def test_the_laptop_goes_home_though_the_exports_end_does_not_work_at_once(bench, fault):
    laptop = bench.laptop(patience={"server.export.LIMIT_SECONDS": 2.0, "server.acts.RETRY_SECONDS": 0.5})
    desktop = bench.desktop("tower")
    desktop.boots()
    for verb in ("stop", "kill"):
        laptop.refuse(f"{fault}{verb} {EXPORT}")
    goes_home(laptop, desktop)


def test_a_systemd_that_does_not_answer_freezes_neither_screen_nor_keys(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    desktop.boots()
    laptop.refuse(f"hang stop {EXPORT}")
    laptop.terminal.press("ey")
    laptop.hears(f"hang stop {EXPORT}")
    laptop.terminal.press("r")
    laptop.hears("the machine does: reboot")
    assert "event=not_fenced" not in laptop.said()  # that is what comes when systemctl has had its time


@pytest.mark.parametrize(("program", "encryption"), [("wg", "wireguard"), ("nft", "none")])
def test_a_program_that_does_not_answer_freezes_neither_screen_nor_keys(bench, program, encryption):
    patience = {"machine.program.LIMIT_SECONDS": 3600.0}  # so that nobody but the loop itself can have gone on
    laptop, desktop = bench.laptop(encryption=encryption, patience=patience), bench.desktop("tower")
    with Load(desktop.boots()) as load, laptop.hangs(program):
        laptop.hears(f"{program} hangs")
        laptop.terminal.press("e")
        laptop.terminal.shows("End the session of tower?")
        laptop.terminal.press("n")
        load.goes_on()
    assert desktop.releases() == 0
    laptop.hears("event=released desktop=tower")


def test_a_disk_that_takes_its_time_freezes_neither_screen_nor_keys(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    desktop.boots()
    release = desktop.session().release
    connection = desktop.connect(release.port)
    with laptop.slow_disk():
        connection.sendall(release.token.encode() + b"\n")
        laptop.terminal.press("e")
        laptop.terminal.shows("End the session of tower?")
        laptop.terminal.press("n")
        second = bench.desktop("second")
        second.role("client")
        second.hears("in use by tower")
        assert "event=released" not in laptop.said()
    assert connection.recv(16) == b"ok\n"
    laptop.hears("the machine does: reboot")


def test_strangers_at_the_release_port_who_dawdle_hang_up_or_say_nothing_hold_nobody_up(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    desktop.boots()
    port = desktop.session().release.port
    for _ in range(40):
        reset(desktop.connect(port))
    silent = [desktop.connect(port) for _ in range(12)]
    dawdling = desktop.connect(port)
    dawdling.sendall(b"a")
    enough = threading.Event()

    def dawdle():
        while not enough.wait(1):
            try:
                dawdling.sendall(b"a")
            except OSError:
                return

    dawdler = threading.Thread(target=dawdle)
    dawdler.start()
    try:
        laptop.terminal.press("e")
        laptop.terminal.shows("End the session of tower?")
        goes_home(laptop, desktop)
    finally:
        enough.set()
        dawdler.join()
        for one in (dawdling, *silent):
            one.close()


def test_callers_at_the_release_port_are_limited_in_number_and_the_newest_are_heard(bench):
    """Who calls and says nothing is driven out by the next, or any user of the target could use up the laptop."""
    laptop, desktop = bench.laptop(patience={"server.releases.CALLER_SECONDS": 3600.0}), bench.desktop("tower")
    desktop.boots()
    release = desktop.session().release
    callers = [desktop.connect(release.port) for _ in range(CALLERS_LIMIT + 3)]
    driven_out, heard = callers[:3], callers[3]
    for one in driven_out:
        assert one.recv(1) == b""
    heard.sendall(release.token.encode() + b"\n")
    assert heard.recv(16) == b"ok\n"
    laptop.hears("event=released desktop=tower")
    for one in callers:
        one.close()


def test_a_stopped_terminal_stops_nothing(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    disk = desktop.boots()
    laptop.terminal.press("\x13")  # Ctrl-S, or Scroll Lock
    laptop.terminal.look_away()
    laptop.terminal.fill()
    disk.write(0, b"x" * 512)
    second = bench.desktop("second")
    second.role("client")
    second.hears("in use by tower")
    goes_home(laptop, desktop)


@pytest.mark.fault("F2", "F4")
def test_an_nbdkit_that_is_killed_is_started_again_and_costs_nothing(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    with Load(desktop.boots()) as load:
        laptop.kill(EXPORT, signal.SIGKILL)
        load.ended()
        load.goes_on()
    laptop.hears("event=export_restarted desktop=tower")
    goes_home(laptop, desktop)


@pytest.mark.parametrize("encryption", ["wireguard", "none"])
def test_an_export_that_is_ended_in_order_never_answers_with_an_error(bench, encryption):
    laptop, desktop = bench.laptop(encryption=encryption), bench.desktop("tower")
    with Load(desktop.boots()) as load:
        laptop.run("systemctl", "stop", EXPORT)  # as the end of the ramdisk does: ESHUTDOWN would be an I/O error
        load.ended()
        assert not load.errors


@pytest.mark.parametrize("encryption", ["wireguard", "none"])
def test_a_session_that_a_person_ends_never_answers_with_an_error(bench, encryption):
    laptop, desktop = bench.laptop(encryption=encryption), bench.desktop("tower")
    with Load(desktop.boots()) as load:
        laptop.terminal.press("ey")
        laptop.hears("event=ended_here desktop=tower")
        laptop.terminal.shows("listening")
        assert not load.errors
