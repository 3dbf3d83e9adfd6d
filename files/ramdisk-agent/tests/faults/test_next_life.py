"""What a server's agent finds when it starts again: it goes on with a whole session, and fences off anything else."""

import signal

import pytest
from bench import EXPORT

from stiefel_agent.machine import tunnel
from stiefel_agent.protocol.session import TUNNEL


def without_its_record(laptop):
    laptop.record.unlink()


def with_another_peer(laptop):
    laptop.run("wg", "set", TUNNEL, "peer", tunnel.encode(bytes(range(32))))


def with_a_closed_firewall(laptop):
    laptop.run("nft", "flush", "set", "inet", "stiefel", "plain")


@pytest.mark.parametrize(
    ("encryption", "left"),
    [("wireguard", without_its_record), ("wireguard", with_another_peer), ("none", with_a_closed_firewall)],
)
def test_what_is_not_whole_is_fenced_off_before_anybody_is_answered(bench, encryption, left):
    laptop, desktop = bench.laptop(encryption=encryption), bench.desktop("tower")
    desktop.boots()
    with laptop.stands_still(then=signal.SIGKILL):
        left(laptop)
    laptop.hears("event=server_ready", times=2)
    said = laptop.said()
    assert "event=adopted" not in said
    assert said.index(f"{EXPORT} was stopped") < said.rindex("event=server_ready")
    assert not laptop.run("ip", "link", "show", TUNNEL, check=False)
    bench.desktop("heir").boots().write(0, bytes(512))


def test_a_laptop_that_was_given_back_goes_home_although_its_agent_dies_on_the_way(bench):
    laptop, desktop = bench.laptop(), bench.desktop("tower")
    desktop.boots()
    with laptop.stands_still(then=signal.SIGKILL):
        laptop.record.write_text(laptop.record.read_text().replace('"serving"', '"returning"'))
    laptop.hears("the machine does: reboot")
    assert not laptop.main_pid(EXPORT)
