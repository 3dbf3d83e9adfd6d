"""What preflight says about adapters, drivers and firmware, about firewalls, and about network profiles."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recorded import CABLE, one, plain, report, said
from stiefel_preflight.laptop import Adapter, Drivers, Firewall
from stiefel_preflight.profiles import bindings
from stiefel_preflight.read import no_ipv6, read_adapters

VERSION = "6.12.48+deb13-amd64"


def test_ipv6_that_is_off_on_one_adapter_is_told() -> None:
    """NetworkManager's ipv6.method=disabled (home-assistant/supervisor#4200)."""
    adapters = (Adapter(name="eth0", driver="e1000e", ipv6=False), Adapter(name="eth1", driver="r8152"))
    told = one(said(plain(adapters=adapters)))
    assert told.startswith("know: IPv6 is switched off on eth0")


def test_a_kernel_without_ipv6_is_refused_with_the_place() -> None:
    told = one(report(plain(no_ipv6="ipv6.disable=1"))["impossible"])
    assert "Take ipv6.disable=1 from the kernel's command line" in told


@pytest.mark.parametrize("setting", ["ipv6.disable_ipv6=1", "net.ipv6.conf.all.disable_ipv6=1"])
def test_ipv6_that_can_be_switched_on_again_is_told_and_nothing_is_refused(setting: str) -> None:
    laptop = plain(no_ipv6=setting, adapters=(Adapter(name="eth0", driver="e1000e", ipv6=False),))
    told = one(said(laptop))
    assert told.startswith(f"know: IPv6 is switched off by {setting}")
    assert not report(laptop)["impossible"]


def test_where_ipv6_is_switched_off_is_found(tmp_path: Path) -> None:
    assert no_ipv6(tmp_path / "none", "") == "ipv6.disable=1"
    for name in ("all", "default"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "disable_ipv6").write_text("0\n")
    assert no_ipv6(tmp_path, "") == ""
    (tmp_path / "default/disable_ipv6").write_text("1\n")
    assert no_ipv6(tmp_path, "") == "net.ipv6.conf.default.disable_ipv6=1"
    assert no_ipv6(tmp_path, "ro ipv6.disable_ipv6=1") == "ipv6.disable_ipv6=1"
    assert read_adapters(tmp_path / "none") == ()


def test_a_laptop_without_a_wired_adapter_is_told() -> None:
    assert "Plug in a USB or Thunderbolt one" in one(said(plain(adapters=())))


def test_missing_firmware_is_told_with_its_package() -> None:
    drivers = Drivers(wired={VERSION: CABLE}, firmware={"rtl_nic": False, "tigon": True, "bnx2": False})
    told = one(said(plain(drivers=drivers)))
    assert told.startswith("know: There is no firmware for r8169 and r8152 below /lib/firmware")
    assert "Install firmware-realtek (" in told


def test_all_missing_firmware_is_one_sentence() -> None:
    wired = {VERSION: CABLE | {"tg3"}}
    told = one(said(plain(drivers=Drivers(wired=wired, firmware={"rtl_nic": False, "tigon": False}))))
    assert "for r8169, r8152 and tg3 below" in told
    assert "Install firmware-realtek and firmware-misc-nonfree (" in told


def test_a_driver_that_the_targets_kernel_lacks_is_told() -> None:
    """r8168 by DKMS, built for the running kernel and not for the next one (awesometic/realtek-r8125-dkms#17)."""
    built = CABLE | {"r8168"}
    needed = {"nbd", "wireguard"}
    modules = {VERSION: built | needed, "6.16-amd64": CABLE | needed}
    drivers = Drivers(wired=modules, modules=modules, beside={VERSION: frozenset({"r8168"})})
    adapters = (
        Adapter(name="enp3s0", driver="r8168", module="r8168"),
        Adapter(name="enp4s0", driver="built in"),
    )
    told = one(said(plain(drivers=drivers, adapters=adapters, kernels={"installed": ("6.16-amd64", VERSION)})))
    assert told.startswith("mend: enp3s0 works by the driver r8168, which kernel 6.16-amd64 does not have")
    assert "dkms autoinstall -k 6.16-amd64" in told
    there = one(said(plain(drivers=drivers, adapters=adapters)))
    assert there.startswith("know: r8168 was built beside the kernel")


UFW: dict[str, Any] = {
    "ufw": "# ufw.conf\nENABLED=yes\nLOGLEVEL=low\n",
    "ufw_defaults": 'IPV6=yes\nDEFAULT_INPUT_POLICY="DROP"\n',
}
UFW_RULE = "### tuple ### allow udp 61570 ::/0 any ::/0 in\n-A ufw6-user-input -p udp --dport 61570 -j ACCEPT\n"


def test_ufw_is_named_with_its_command() -> None:
    assert one(said(plain(firewall=Firewall(**UFW)))).endswith("Say: ufw allow 61570/udp")
    without = Firewall(**{**UFW, "ufw_defaults": "IPV6=no\n"})
    assert "Set IPV6=yes in /etc/default/ufw" in one(said(plain(firewall=without)))


@pytest.mark.parametrize(
    "more",
    [{"ufw_rules": UFW_RULE}, {"ufw": "ENABLED=no\n"}, {"ufw_defaults": 'IPV6=yes\nDEFAULT_INPUT_POLICY="ACCEPT"\n'}],
)
def test_ufw_that_lets_the_call_through_gets_no_word(more: dict[str, str]) -> None:
    assert said(plain(firewall=Firewall(**{**UFW, **more}))) == []


def test_firewalld_is_named_with_its_command() -> None:
    told = one(said(plain(firewall=Firewall(firewalld_zone="public"))))
    assert "firewall-cmd --permanent --zone=public --add-port=61570/udp && firewall-cmd --reload" in told


def chain(policy: str = "accept", **more: Any) -> dict[str, Any]:
    """Return a chain as `nft --json list ruleset` has it."""
    known = {"family": "inet", "table": "filter", "name": "input", "type": "filter", "hook": "input", "prio": 0}
    return {"chain": {**known, "policy": policy, **more}}


def rule(*expr: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a rule likewise."""
    return {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": list(expr), **more}}


ESTABLISHED = rule(
    {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": None}
)
DISCOVERY = rule(
    {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 61570}},
    {"accept": None},
)


@pytest.mark.parametrize(
    "rules",
    [
        (chain("drop"), ESTABLISHED),
        (chain(), ESTABLISHED, rule({"counter": {"packets": 5, "bytes": 3}}, {"drop": None})),
        (chain(), ESTABLISHED, rule({"reject": {"type": "icmpx", "expr": "admin-prohibited"}})),
        (chain("drop", family="ip6"),),
    ],
)
def test_rules_that_drop_the_call_are_named_with_the_command(rules: tuple[dict[str, Any], ...]) -> None:
    told = one(said(plain(firewall=Firewall(rules=rules))))
    family = rules[0]["chain"]["family"]
    assert told.startswith(f"mend: The firewall's chain input (nft list table {family} filter) drops")
    assert f"nft insert rule {family} filter input udp dport 61570 accept" in told
    assert (
        f"nft insert rule {family} filter input icmpv6 type '{{ nd-neighbor-solicit, nd-neighbor-advert }}' accept"
        in told
    )


def test_rules_of_ip6tables_get_the_command_of_ip6tables() -> None:
    rules = (chain("drop", family="ip6", name="INPUT"), chain("drop", family="ip6", name="OUTPUT", hook="output"))
    told = said(plain(firewall=Firewall(rules=rules)))
    assert "ip6tables -I INPUT -p udp --dport 61570 -j ACCEPT" in told[0]
    assert "ip6tables -I OUTPUT -p udp --sport 61570 -j ACCEPT" in told[1]


@pytest.mark.parametrize(
    "rules",
    [
        (),
        (chain(), ESTABLISHED),
        (chain("drop"), ESTABLISHED, DISCOVERY),
        (chain("drop"), rule({"accept": None})),
        (chain("drop", family="ip"),),
        (chain("drop", hook="forward"),),
        (chain(), rule({"drop": None}, chain="other")),
    ],
)
def test_rules_that_let_the_call_through_get_no_word(rules: tuple[dict[str, Any], ...]) -> None:
    assert said(plain(firewall=Firewall(rules=rules))) == []


def test_the_report_can_be_written_as_json() -> None:
    found = report(plain(firewall=Firewall(rules=(chain("drop"),))))
    assert json.loads(json.dumps(found)) == found


NETPLAN = """\
network:
  version: 2
  # by the installer
  ethernets:
    enp0s31f6:
      dhcp4: true
    any:
      match:
        name: "en*"
      dhcp4: true
  wifis:
    wlp2s0:
      dhcp4: true
"""


@pytest.mark.parametrize(
    ("path", "text", "bound"),
    [
        ("a.nmconnection", "[connection]\nid=x\ntype=ethernet\ninterface-name=enp3s0\n", ["enp3s0"]),
        (
            "a.nmconnection",
            "[connection]\ntype=ethernet\n[ethernet]\nmac-address=52:54:00:00:00:02\n",
            ["52:54:00:00:00:02"],
        ),
        ("a.nmconnection", "[connection]\ntype=ethernet\n", []),
        ("a.nmconnection", "[connection]\ntype=wifi\ninterface-name=wlp2s0\n", []),
        ("a.network", "[Match]\nName=enp3s0\n[Network]\nDHCP=yes\n", ["enp3s0"]),
        ("a.network", "[Match]\nName=en*\n[Network]\nDHCP=yes\n", []),
        (
            "interfaces",
            "auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet dhcp\niface eth0 inet6 auto\n",
            ["eth0"],
        ),
        ("50-cloud-init.yaml", NETPLAN, ["enp0s31f6"]),
    ],
)
def test_profiles_that_are_bound_to_an_adapter_are_found(path: str, text: str, bound: list[str]) -> None:
    assert bindings(path, text) == bound


@pytest.mark.fault("F45")
def test_they_are_told_once_and_disturb_nothing(record_property: Callable[[str, object], None]) -> None:
    profiles = {"/etc/netplan/50.yaml": NETPLAN, "/etc/network/interfaces": "iface eth0 inet dhcp\n"}
    told = one(said(plain(profiles=profiles)))
    record_property("figure", told)
    assert told.startswith("know: ")
    assert "/etc/netplan/50.yaml (to enp0s31f6); /etc/network/interfaces (to eth0)" in told
