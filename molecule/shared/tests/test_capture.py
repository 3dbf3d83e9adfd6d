"""The capture is read as it was written, and whatever of a secret is in it is found."""

import base64
import hashlib
import random
import struct
from collections.abc import Iterable
from pathlib import Path

import pytest
from lab.machines.capture import FILE_HEADER, Needles, datagrams, derived, frames, payload, record, search
from lab.machines.shell import LabError

RUN = 16  # what is found; one less is not
RANDOM = random.Random("capture")
OTHER = b"\xff"  # what the kernel has nowhere, so that it does not go on in what surrounds a run
KERNEL = RANDOM.randbytes(1021).replace(OTHER, b"\xfe")  # of a length that nothing divides
LAPTOP, DESKTOP = bytes.fromhex("fe80" + "00" * 13 + "01"), bytes.fromhex("fe80" + "00" * 13 + "02")
MACS = bytes.fromhex("525400000001525400000002")
UDP, TCP, ICMPV6 = 17, 6, 58


def ipv6(next_header: int, content: bytes, source: bytes = LAPTOP, destination: bytes = DESKTOP) -> bytes:
    start = struct.pack(">IHBB", 6 << 28, len(content), next_header, 64)
    return MACS + b"\x86\xdd" + start + source + destination + content


def udp(content: bytes) -> bytes:
    return ipv6(UDP, struct.pack(">HHHH", 5000, 5001, 8 + len(content), 0) + content)


def tcp(content: bytes, *, port: int = 10809, options: bytes = b"", back: bool = False) -> bytes:
    ports = (40000, port) if back else (port, 40000)
    addresses = (DESKTOP, LAPTOP) if back else (LAPTOP, DESKTOP)
    size = (20 + len(options)) // 4 << 4
    header = struct.pack(">HHIIBBHHH", *ports, 1, 2, size, 16, 3, 4, 5)
    return ipv6(TCP, header + options + content, *addresses)


def capture(folder: Path, *content: bytes) -> Path:
    file = folder / "cable.pcap"
    file.write_bytes(FILE_HEADER + b"".join(record(frame, 0) for frame in content))
    return file


def around(content: bytes, shift: int = 5) -> bytes:
    """Content amid other bytes, not at a multiple of eight."""
    return OTHER * shift + content + OTHER * 100


def runs(secret: bytes, size: int) -> Iterable[bytes]:
    return (secret[at : at + size] for at in range(len(secret) - size + 1))


def test_the_file_is_what_the_draft_says():
    assert FILE_HEADER.hex(" ", 4) == "d4c3b2a1 02000400 00000000 00000000 00000100 01000000"
    written = record(b"frame", 1_700_000_000_123_456_789)
    assert written == bytes.fromhex("00f15365 40e20100 05000000 05000000") + b"frame"


def test_frames_come_as_they_were_written(tmp_path):
    content = [b"", b"one", bytes(65536), b"last"]
    assert list(frames(capture(tmp_path, *content))) == content


def test_an_unfinished_last_record_is_left_out(tmp_path):
    file = capture(tmp_path, b"first", b"second")
    whole = file.read_bytes()
    second = len(FILE_HEADER + record(b"first", 0))
    for end in range(second, len(whole)):
        file.write_bytes(whole[:end])
        assert list(frames(file)) == [b"first"], end


@pytest.mark.parametrize("content", [b"", FILE_HEADER[:-1], b"\n\r\r\n" + bytes(40)])
def test_what_the_hub_did_not_write_is_no_empty_capture(tmp_path, content):
    file = tmp_path / "cable.pcap"
    file.write_bytes(content)
    with pytest.raises(LabError, match=r"cable\.pcap was not written by the lab's hub"):
        list(frames(file))


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (udp(b"content"), b"content"),
        (tcp(b"content"), b"content"),
        (tcp(b"content", options=bytes(12)), b"content"),
        (tcp(b""), b""),
        (ipv6(ICMPV6, b"content"), ipv6(ICMPV6, b"content")[14:]),
        (MACS + b"\x08\x00" + udp(b"content")[14:], udp(b"content")[14:]),
        (MACS + b"\x08\x06content", b"content"),
    ],
)
def test_payload_is_what_follows_the_headers_that_are_known(frame, expected):
    assert payload(frame) == expected


@pytest.mark.parametrize("whole", [udp(b""), tcp(b""), tcp(b"content")[:66] + b"\xf0" + tcp(b"content")[67:]])
def test_a_header_that_is_cut_short_hides_nothing(whole):
    for end in range(len(whole)):
        assert payload(whole[:end]) == whole[14:end], end
    if whole[66:67] == b"\xf0":  # it says that it is longer than the frame
        assert payload(whole) == whole[14:]


@pytest.mark.parametrize("shift", range(8))
def test_any_run_of_16_bytes_is_found_anywhere(shift):
    needles = Needles({"kernel": KERNEL})
    for run in runs(KERNEL, RUN):
        assert needles.found(around(run, shift)) == {"kernel"}
        assert needles.found(OTHER * shift + run) == {"kernel"}


@pytest.mark.parametrize("shift", range(8))
def test_15_bytes_are_not(shift):
    needles = Needles({"kernel": KERNEL})
    for run in runs(KERNEL, RUN - 1):
        assert needles.found(around(run, shift)) == set()
        assert needles.found(run) == set()


def test_a_run_is_found_at_each_place_of_bytes_that_come_again():
    often = b"\x0f\x1f\x84\0\0\0\0\0"  # as between a kernel's functions
    blocks = [RANDOM.randbytes(8) + often + RANDOM.randbytes(8) for _ in range(5)]
    needles = Needles({"kernel": b"".join(blocks)})
    for block in blocks:
        assert needles.found(around(block[4:20])) == {"kernel"}
    assert needles.found(around(often)) == set()


def test_what_an_address_has_is_no_secret():
    needles = Needles({"kernel": KERNEL[:1016] + bytes(15) + b"\xff" + KERNEL})
    assert needles.found(payload(ipv6(ICMPV6, b"x", bytes(16), b"\xff\x02" + bytes(13) + b"\x16"))) == set()


def test_padding_is_no_secret():
    needles = Needles({"kernel": KERNEL + bytes(512) + KERNEL + b"\xaa" * 512})
    assert needles.found(bytes(1400)) == needles.found(b"\xaa" * 1400) == set()
    assert needles.found(around(KERNEL[-11:] + bytes(5))) == {"kernel"}


def test_each_secret_is_named_and_none_goes_on_in_the_next():
    one, two, three = (RANDOM.randbytes(size) for size in (32, 37, 16))
    needles = Needles({"one": one, "two": two, "three": three})
    assert needles.found(around(one) + around(three)) == {"one", "three"}
    assert needles.found(around(two[-16:])) == {"two"}
    assert needles.found(around(one[-8:] + two[:8]) + around(two[-8:] + three[:8])) == set()


@pytest.mark.parametrize("secret", [b"", KERNEL[:15], bytes(64)])
def test_what_could_never_be_found_is_refused(secret):
    with pytest.raises(ValueError, match="short secret"):
        Needles({"kernel": KERNEL, "short secret": secret})


def test_a_key_is_known_by_its_spellings_and_hashes():
    key = RANDOM.randbytes(32)
    given_away = derived(key)
    assert given_away.pop("key") == key
    assert bytes.fromhex(given_away.pop("hex").decode()) == key
    assert base64.b64decode(given_away.pop("base64"), validate=True) == key
    assert given_away == {
        "md5": hashlib.md5(key).digest(),
        "sha1": hashlib.sha1(key).digest(),
        "sha256": hashlib.sha256(key).digest(),
        "sha512": hashlib.sha512(key).digest(),
    }
    with pytest.raises(ValueError, match="not 31"):
        derived(key[1:])


def test_search_counts_the_frames_of_each_secret(tmp_path):
    needles = Needles({"kernel": KERNEL, "absent": RANDOM.randbytes(32)} | derived(RANDOM.randbytes(32)))
    arp = MACS + b"\x08\x06" + around(KERNEL[100:116])
    content = [udp(around(KERNEL[:40])), udp(around(b"")), tcp(around(KERNEL[-16:])), arp]
    assert search(capture(tmp_path, *content), needles) == {"kernel": 3}
    assert search(capture(tmp_path, *content[1:2]), needles) == {}


@pytest.mark.parametrize("first", range(1, 16))
def test_a_secret_split_over_two_segments_is_found(tmp_path, first):
    run = KERNEL[201 : 201 + RUN]
    content = [
        tcp(OTHER * 100 + run[:first]),
        tcp(b"", options=bytes(12)),  # an acknowledgement carries nothing
        tcp(OTHER * 100, back=True),
        tcp(OTHER * 100, port=22),
        tcp(run[first:] + OTHER * 100),
        tcp(OTHER * 100),
    ]
    assert search(capture(tmp_path, *content), Needles({"kernel": KERNEL})) == {"kernel": 1}


def test_a_secret_in_many_small_segments_is_found(tmp_path):
    content = (tcp(KERNEL[at : at + 1]) for at in range(201, 201 + RUN))
    assert search(capture(tmp_path, *content), Needles({"kernel": KERNEL})) == {"kernel": 1}


def test_a_secret_at_a_segment_s_end_is_counted_once(tmp_path):
    content = [tcp(KERNEL[201 : 201 + RUN]), tcp(OTHER * 100), tcp(b"")]
    assert search(capture(tmp_path, *content), Needles({"kernel": KERNEL})) == {"kernel": 1}


@pytest.mark.parametrize("other", [{"back": True}, {"port": 22}])
def test_two_streams_are_not_joined(tmp_path, other):
    halves = [tcp(KERNEL[201:209]), tcp(KERNEL[209:217], **other)]
    assert search(capture(tmp_path, *halves), Needles({"kernel": KERNEL})) == {}


def test_datagrams_are_counted_by_sender_port_and_receiver(tmp_path: Path) -> None:
    sender, receiver = MACS[6:], MACS[:6]
    pcap = capture(tmp_path, udp(b"one"), tcp(b"other", port=5001), udp(b"two"))
    assert datagrams(pcap, sender, 5001) == 2
    assert datagrams(pcap, sender, 5001, receiver) == 2
    assert datagrams(pcap, sender, 5001, sender) == 0
    assert datagrams(pcap, receiver, 5001) == 0
    assert datagrams(pcap, sender, 5000) == 0
