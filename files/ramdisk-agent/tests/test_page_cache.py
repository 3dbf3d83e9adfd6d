"""What is in memory, as the kernel says it, of a file of a terabyte that is all holes."""

import os

import pytest

from stiefel_agent.machine import page_cache

TERABYTE = 1 << 40
PAGE = page_cache.PAGE


@pytest.fixture
def large(tmp_path):
    with (tmp_path / "large").open("w+b") as file:
        file.truncate(TERABYTE)
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        yield file.fileno()


def test_the_pages_that_were_read_are_found(large):
    assert page_cache.resident(large, 0, 1 << 20) == []
    for place in (0, PAGE, 5 * PAGE):
        os.pread(large, 1, place)
    assert page_cache.resident(large, 0, 1 << 20) == [(0, 2 * PAGE), (5 * PAGE, PAGE)]
    assert page_cache.resident(large, 4 * PAGE, 2 * PAGE) == [(5 * PAGE, PAGE)]


def test_a_few_pages_of_a_terabyte_are_found(large):
    places = [0, 7 * PAGE, TERABYTE // 2 - PAGE, TERABYTE // 2, TERABYTE - PAGE]
    for place in places:
        os.pread(large, 1, place)
    try:
        found = list(page_cache.resident_of_disk(large, TERABYTE))
    except OSError:
        pytest.skip("this kernel has no cachestat")
    assert {(place, PAGE) for place in places} == set(found)
    assert found == sorted(found)
