"""The list of what a boot reads: it is on a disk, so anything may stand in it."""

import json

import pytest

from stiefel_agent.target.reads import MOST_FILES, Reads, parse

READS = Reads(((0, 4096), (1 << 40, 8192)), (("/usr/bin/dash", ((0, 131072),)), ("/home/\udce9", ((4096, 4096),))))


def test_it_is_read_as_it_was_written():
    assert parse(READS.to_json()) == READS
    assert READS.bytes == 4096 + 8192 + 131072 + 4096


def changed(**members):
    return json.dumps({**json.loads(READS.to_json()), **members})


@pytest.mark.parametrize(
    "text",
    [
        "",
        READS.to_json()[:-9],
        "[]",
        "[" * 100_000,
        changed(version=2),
        changed(disk=None),
        changed(disk=[[0]]),
        changed(disk=[[0, 4096, 1]]),
        changed(disk=[[-4096, 4096]]),
        changed(disk=[[0, 0]]),
        changed(disk=[[0, True]]),
        changed(disk=[[0.5, 1]]),
        changed(files=[["relative", [[0, 1]]]]),
        changed(files=[["/with\0zero", [[0, 1]]]]),
        changed(files=[[7, [[0, 1]]]]),
        changed(files=[["/name"]]),
        changed(files={"/name": [[0, 1]]}),
    ],
)
def test_a_damaged_list_is_none(text):
    with pytest.raises(ValueError, match=r"."):
        parse(text)


def test_it_is_cut_where_it_becomes_too_much():
    assert READS.within(READS.bytes) == READS
    assert READS.within(READS.bytes - 1) == Reads(READS.disk, READS.files[:1])
    assert READS.within(4096) == Reads(READS.disk[:1])
    many = Reads(files=tuple((f"/{number}", ((0, 1),)) for number in range(MOST_FILES + 1)))
    assert len(many.within(many.bytes).files) == MOST_FILES
