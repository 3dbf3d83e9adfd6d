"""F36: a laptop that lost its power has forgotten what it had not flushed: no session goes on with it, and no word is
said by anybody else.
"""

import base64
import socket

import pytest
from nbd_kernel import Load
from waiting import SECONDS

from stiefel_agent.protocol.discovery import Seeker
from stiefel_agent.protocol.meeting import PORT

CUT_OFF = "this session is over"


@pytest.mark.fault("F36")
@pytest.mark.parametrize("encryption", ["wireguard", "none"])
def test_a_laptop_that_was_cut_off_says_so_from_its_own_system_and_the_desktop_restarts(bench, encryption):
    laptop, desktop = bench.laptop(encryption=encryption), bench.desktop()
    desktop.boots()
    session = desktop.session()
    assert answers(bench, bench.goes_home(laptop), session)
    desktop.tells(CUT_OFF)
    desktop.restarted()


def test_a_desktop_that_is_to_wait_says_so_and_waits(bench):
    laptop, desktop = bench.laptop(words="stiefel.when_lost=wait"), bench.desktop()
    desktop.boots()
    bench.goes_home(laptop)
    desktop.tells("Switch this desktop off")
    assert "restarts in" not in desktop.console()


def test_a_session_that_a_person_ends_at_the_laptop_is_over_for_its_desktop_too(bench):
    laptop, desktop = bench.laptop(), bench.desktop()
    desktop.boots()
    laptop.terminal.press("ey")
    desktop.tells(CUT_OFF)


def test_a_session_is_not_over_while_its_server_crashes_and_starts_again(bench):
    laptop, desktop = bench.laptop(), bench.desktop()
    with Load(desktop.boots()) as load:
        laptop.kill("stiefel-server.service", 9)
        laptop.hears("event=server_ready", times=2)
        assert not answers(bench, laptop, desktop.session())
        load.goes_on()
    assert CUT_OFF not in desktop.console()


def test_another_laptop_of_the_same_keys_ends_no_session(bench):
    """A fleet has one key file, and a switch has more than one laptop."""
    laptop, desktop = bench.laptop(), bench.desktop()
    desktop.boots()
    other = bench.goes_home(laptop, serial="berta's")
    assert not answers(bench, other, desktop.session())
    assert CUT_OFF not in desktop.console()


def answers(bench, laptop, session):
    """Ask a laptop what a target asks, and then something that it does answer; say whether the first was answered.

    What comes to one socket is dealt with in order: so there is no wait for an answer that does not come.
    """
    asker, seeker = bench.desktop("asker"), Seeker(bench.key.for_stick())
    host = laptop.address().partition("%")[0]

    def ask():
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as wire:
            wire.settimeout(SECONDS)
            index = socket.if_nametoindex("eth0")
            for said in (base64.b64decode(session.over.question), seeker.beacon(index, 0.0)):
                wire.sendto(said, (host, PORT, 0, index))
            answer, source = wire.recvfrom(4096)
            return None if seeker.receive(answer, (host, *source[1:]), 0.0) else answer

    answer = asker.inside(ask)
    asker.off()
    assert answer in (None, base64.b64decode(session.over.answer))
    return answer is not None
