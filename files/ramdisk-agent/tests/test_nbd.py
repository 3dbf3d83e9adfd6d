import contextlib
import errno
import json
import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stiefel_agent.errors import DiskRefused, DiskUnreachable, DiskWithheld
from stiefel_agent.machine import genl, netlink
from stiefel_agent.target import nbd

SEGMENT = 1220
needs_nbdkit = pytest.mark.skipif(not shutil.which("nbdkit"), reason="nbdkit is not installed")


@pytest.fixture
def serve(tmp_path):
    """Start nbdkit on loopback with the given arguments; the port is ours before it starts (socket activation)."""
    with contextlib.ExitStack() as stack:

        def start(*arguments):
            listener = stack.enter_context(socket.create_server(("::1", 0), family=socket.AF_INET6))
            launch = 'exec 3<&"$0"; LISTEN_FDS=1 LISTEN_PID=$$ exec nbdkit -f "$@"'
            process = subprocess.Popen(
                ["bash", "-c", launch, str(listener.fileno()), *arguments], pass_fds=[listener.fileno()]
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return listener.getsockname()[1]

        yield start


def dial_all(port, count=4):
    connections, offered = nbd.dial_all("::1", port, "disk", SEGMENT, count)
    for connection in connections:
        connection.close()
    return len(connections), offered


@pytest.mark.fault("F13")
@needs_nbdkit
def test_size_and_flags_are_those_that_another_client_sees(serve):
    port = serve("memory", "100M")
    _, offered = dial_all(port)
    said = json.loads(subprocess.check_output(["nbdinfo", "--json", f"nbd://[::1]:{port}/disk"]))["exports"][0]
    assert offered.size == said["export-size"] == 100 * 1024 * 1024
    assert bool(offered.flags & nbd.FLAG_SEND_FLUSH) == said["can_flush"] is True
    assert bool(offered.flags & nbd.FLAG_SEND_FUA) == said["can_fua"]
    assert bool(offered.flags & nbd.FLAG_READ_ONLY) == said["is_read_only"] is False
    assert bool(offered.flags & nbd.FLAG_CAN_MULTI_CONN) == said["can_multi_conn"] is True


@needs_nbdkit
def test_a_negotiated_connection_reads_the_disk(serve):
    port = serve("pattern", "1M")  # each 8 bytes hold their own offset
    connection, _ = nbd.dial("::1", port, "disk", SEGMENT)
    with connection:
        assert connection.getblocking()
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.sendall(struct.pack(">IHHQQI", 0x25609513, 0, 0, 77, 4096, 8))
        reply = connection.recv(24, socket.MSG_WAITALL)
    assert reply == struct.pack(">IIQQ", 0x67446698, 0, 77, 4096)


@needs_nbdkit
def test_several_connections_only_where_they_see_each_others_writes(serve):
    assert dial_all(serve("memory", "1M"), 4)[0] == 4
    assert dial_all(serve("--filter=multi-conn", "memory", "1M", "multi-conn-mode=disable"), 4)[0] == 1


@pytest.mark.fault("F18")
@needs_nbdkit
def test_a_disk_that_prefers_larger_blocks_than_its_sectors_is_taken(serve):
    """Most disks: sectors of 512 bytes on blocks of 4096, which nbdkit calls the smallest (BLKIOMIN)."""
    port = serve("--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=4096", "blocksize-preferred=4096")
    _, offered = dial_all(port)
    nbd.check(offered, 512)


@needs_nbdkit
def test_a_read_only_disk_is_refused(serve):
    with pytest.raises(DiskRefused, match="read-only"):
        nbd.check(dial_all(serve("-r", "memory", "1M"))[1], 512)


@needs_nbdkit
def test_an_unknown_export_is_withheld(serve):
    port = serve("--filter=exportname", "memory", "1M", "exportname=other", "exportname-strict=true")
    with pytest.raises(DiskWithheld, match="no such export"):
        dial_all(port)


@needs_nbdkit
def test_one_connection_too_many_is_withheld_until_another_ends(serve):
    port = serve("--filter=limit", "memory", "1M", "limit=1")
    first, _ = nbd.dial("::1", port, "disk", SEGMENT)
    with first, pytest.raises(DiskUnreachable):
        nbd.dial("::1", port, "disk", SEGMENT)


@pytest.mark.parametrize(
    ("number", "error", "words"),
    [
        (2, DiskRefused, "may not"),
        (5, DiskRefused, "TLS"),
        (6, DiskWithheld, "no such export"),
        (7, DiskUnreachable, "about to stop"),
        (99, DiskRefused, "error 99"),
    ],
)
def test_an_error_reply_is_said_in_words_and_with_the_laptops_own(number, error, words):
    with pytest.raises(error, match=f"{words}.*: its own words"):
        negotiate_with(GREETING + reply((1 << 31) + number, b"its own words"))


@pytest.mark.parametrize(
    ("size", "flags", "reason"),
    [
        (0, nbd.FLAG_SEND_FLUSH, "whole number"),
        (512 * 3 + 1, nbd.FLAG_SEND_FLUSH, "whole number"),
        (512 * 3, 0, "flush"),
    ],
)
def test_what_is_not_a_disk_to_write_to_is_refused(size, flags, reason):
    with pytest.raises(DiskRefused, match=reason):
        nbd.check(nbd.Export(size, flags), 512)


def test_nobody_there_is_said_with_address_and_port():
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(DiskUnreachable, match=f"::1 port {port}"):
        nbd.dial("::1", port, "disk", SEGMENT)


def negotiate_with(answer):
    """Negotiate with a server that says these bytes and hangs up."""
    ours, theirs = socket.socketpair()

    def serve():
        with theirs, contextlib.suppress(OSError):
            theirs.sendall(answer)
            theirs.shutdown(socket.SHUT_WR)
            while theirs.recv(4096):
                pass

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours:
            return nbd.negotiate(ours, "disk")
    finally:
        thread.join()


GREETING = b"NBDMAGICIHAVEOPT" + struct.pack(">H", 3)


def reply(kind, payload):
    return struct.pack(">QIII", 0x3E889045565A9, 7, kind, len(payload)) + payload


EXPORT_INFO = reply(3, struct.pack(">HQH", 0, 1 << 40, 0x10D))
BLOCK_INFO = reply(3, struct.pack(">HIII", 3, 512, 4096, 1 << 25))


def test_information_is_taken_in_any_order_and_the_unknown_is_skipped():
    unknown = reply(3, struct.pack(">H", 2) + b"description")
    expected = nbd.Export(1 << 40, 0x10D)
    assert negotiate_with(GREETING + EXPORT_INFO + BLOCK_INFO + reply(1, b"")) == expected
    assert negotiate_with(GREETING + unknown + BLOCK_INFO + EXPORT_INFO + reply(1, b"")) == expected


@pytest.mark.parametrize(
    "answer",
    [
        b"NBDMAGIC\x00\x00\x42\x02\x81\x86\x12\x53" + bytes(10),  # the old style negotiation
        b"NBDMAGICIHAVEOPT\x00\x00",
        GREETING + reply(1, b""),
        GREETING + struct.pack(">QIII", 0x3E889045565A9, 7, 3, 1 << 31),
    ],
)
def test_a_server_that_does_not_offer_the_disk_properly_is_refused(answer):
    with pytest.raises(DiskRefused):
        negotiate_with(answer)


@given(st.integers(0, 200), st.binary(max_size=40))
def test_whatever_a_server_says_ends_in_an_export_or_in_our_own_errors(cut, tail):
    answer = (GREETING + BLOCK_INFO + EXPORT_INFO + reply(1, b""))[:cut] + tail
    with contextlib.suppress(DiskRefused, DiskUnreachable):
        assert negotiate_with(answer).size == 1 << 40


def test_the_request_for_the_export_is_the_protocol_documents():
    assert nbd.go_option("disk").hex() == (
        "49484156454f5054"  # IHAVEOPT
        "00000007"  # NBD_OPT_GO
        "0000000a"  # length of what follows
        "00000004" + b"disk".hex() + "0000"  # name; no request for information
    )


@pytest.mark.fault("F1", "F3", "F4", "F5")
@pytest.mark.skipif(struct.pack("=H", 1) != struct.pack("<H", 1), reason="the vector is little-endian")
def test_the_connect_message_is_the_kernels():
    payload = genl.command(nbd.NBD_CMD_CONNECT, nbd.connect_attributes(0, nbd.Export(1 << 20, 0x10D), 4096, [5, 6]))
    assert netlink.request(0x21, netlink.NLM_F_ACK, 9, payload).hex(" ", -4) == " ".join(
        (
            "74000000 21000500 09000000 00000000",  # nlmsghdr: length, family, REQUEST | ACK, sequence
            "01010000",  # genlmsghdr: NBD_CMD_CONNECT, version 1
            "08000100 00000000",  # INDEX
            "0c000200 00001000 00000000",  # SIZE_BYTES
            "0c000300 00100000 00000000",  # BLOCK_SIZE_BYTES
            "0c000400 1e000000 00000000",  # TIMEOUT
            "0c000500 0d010000 00000000",  # SERVER_FLAGS
            "0c000800 0003cc12 00000000",  # DEAD_CONN_TIMEOUT
            "1c000780 0c000180 08000100 05000000 0c000180 08000100 06000000",  # SOCKETS of SOCK_ITEM of SOCK_FD
        )
    )


def test_the_kernel_answers_our_netlink():
    with genl.GenericNetlink() as kernel:
        assert kernel.family("nlctrl") == genl.GENL_ID_CTRL
        with pytest.raises(OSError) as refused:
            kernel.family("stiefel-none")
        assert refused.value.errno == errno.ENOENT
        assert kernel.family("nlctrl") == genl.GENL_ID_CTRL


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=30)))
def test_attributes_are_read_back(wanted):
    assert netlink.attributes(b"".join(netlink.attribute(*item) for item in wanted.items())) == wanted


@given(st.binary(max_size=80))
def test_any_netlink_bytes_are_read_without_an_exception(data):
    netlink.attributes(data)
    assert all(len(body) <= len(data) for _, _, body in netlink.messages(data))


def test_a_kernel_without_nbd_is_said_in_our_words():
    if Path("/sys/module/nbd").exists():
        pytest.skip("this kernel has nbd")
    with genl.GenericNetlink() as kernel, pytest.raises(DiskRefused, match="nbd driver"):
        nbd.connect(kernel, 0, nbd.Export(1 << 20, 0x10D), 512, [0])
