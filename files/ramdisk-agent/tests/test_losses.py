"""What TCP had to send again says whether an adapter loses long segments."""

import socket
import struct

import pytest

from stiefel_agent.machine.losses import Losses


class Counted:
    """A connection of which only its counters are looked at."""

    def __init__(self):
        self.again = self.sent = 0

    def goes_on(self, again, sent):
        self.again, self.sent = self.again + again, self.sent + sent

    def getsockopt(self, level, option, size):
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_INFO)
        return struct.pack("=100xI32xI", self.again, self.sent)[:size]


@pytest.mark.parametrize(
    ("again", "sent", "heavy"),
    [(0, 10_000, False), (100, 10_000, False), (50, 99, False), (50, 100, True), (1300, 10_000, True), (0, 0, False)],
)
def test_a_cable_that_loses_much_is_told_from_one_that_is_busy(again, sent, heavy):
    connection = Counted()
    connection.goes_on(again, sent)
    assert Losses().heavy([connection]) is heavy


def test_each_judgement_is_about_what_came_since_the_last():
    losses, connections = Losses(), [Counted(), Counted()]
    connections[0].goes_on(60, 100)
    assert losses.heavy(connections)
    connections[1].goes_on(0, 99)
    assert not losses.heavy(connections)
    connections[0].goes_on(40, 1)
    assert losses.heavy(connections)


def test_what_an_outage_cost_does_not_count():
    losses, connection = Losses(), Counted()
    connection.goes_on(500, 500)
    losses.forget([connection])
    connection.goes_on(1, 400)
    assert not losses.heavy([connection])


def test_connections_that_were_replaced_begin_anew():
    losses, old, new = Losses(), Counted(), Counted()
    old.goes_on(900, 1000)
    assert losses.heavy([old])
    new.goes_on(0, 50)
    assert not losses.heavy([new])
    new.goes_on(90, 100)
    assert losses.heavy([new])


def test_the_kernel_counts_where_we_look():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as one:
        other, _ = server.accept()
        with other:
            one.sendall(bytes(1 << 16))
            info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 140)
            again, sent = struct.unpack("=100xI32xI", info)
            assert (again, sent > 0) == (0, True)
