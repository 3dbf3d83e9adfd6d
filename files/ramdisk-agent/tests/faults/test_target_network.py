"""What the target's own network does, and who is in it, neither reaches the disk nor cuts it off."""

import pytest
from bench import connected
from nbd_kernel import Load


@pytest.mark.fault("F26", "F29")
def test_only_the_cables_own_namespace_leads_to_disk_and_release(bench):
    """A process of any user wrote a raw block: uid 65534 spoke NBD to the laptop's address."""
    _laptop, desktop = bench.laptop(), bench.desktop()
    desktop.boots()
    session = desktop.session()
    for port in (session.nbd.port, session.release.port):
        with pytest.raises(OSError, match=r"unreachable|refused|timed out"):
            desktop.inside(lambda port=port: connected(session.server_host, port, seconds=2))
        desktop.connect(port).close()


@pytest.mark.fault("F31")
def test_firewalls_and_vpn_clients_of_the_target_do_not_cut_the_disk_off(bench):
    """F31: `nft flush ruleset` and drop all; net.ipv6.conf.all.disable_ipv6, as VPN clients set it."""
    _laptop, desktop = bench.laptop(), bench.desktop()
    with Load(desktop.boots()) as load:
        desktop.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        load.goes_on()
        desktop.run("nft", "flush", "ruleset")
        desktop.run("nft", "add table inet shut")
        desktop.run("nft", "add chain inet shut out { type filter hook output priority 0 ; policy drop ; }")
        load.goes_on()
        desktop.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=0")
        load.goes_on()


@pytest.mark.fault("F10", "F11")
def test_a_target_gives_its_disk_back_from_the_namespace(bench):
    laptop, desktop = bench.laptop(), bench.desktop()
    desktop.boots()
    assert desktop.releases() == 0
    laptop.hears("event=released")
