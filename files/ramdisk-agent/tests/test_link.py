"""Addresses that both sides must agree on."""

import pytest

from stiefel_agent.machine.link import eui64_address


@pytest.mark.parametrize(
    ("mac", "address"),
    [("52:54:00:00:00:02", "fe80::5054:ff:fe00:2"), ("00:1b:21:ab:cd:ef", "fe80::21b:21ff:feab:cdef")],
)
def test_the_link_local_address_follows_from_the_mac_as_the_kernel_makes_it(mac: str, address: str) -> None:
    assert eui64_address(mac) == address
