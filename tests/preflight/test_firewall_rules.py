"""Real firewalls in network namespaces: who is judged closed is deaf, and the command that is said opens its ear."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from recorded import plain, said
from stiefel_preflight.laptop import Firewall

SOURCE = ROOT / "files/ramdisk-agent/src"
FIREWALLS = {
    "ufw's rules, by hand": """table inet fw {
 chain input {
  type filter hook input priority 0; policy drop;
  iif lo accept
  ct state established,related accept
  icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, mld-listener-query, echo-request } accept
  ip6 daddr ff02::fb udp dport 5353 accept
 }
}""",
    "established only": """table inet filter {
 chain input {
  type filter hook input priority 0; policy drop;
  ct state { established, related } accept
  tcp dport 22 accept
 }
}""",
    "a last rule that rejects": """table inet filter {
 chain input {
  type filter hook input priority 0; policy accept;
  ct state established,related accept
  counter reject
 }
}""",
    "all of IPv6, in and out": """table ip6 fw {
 chain input { type filter hook input priority 0; policy drop; iif lo accept; }
 chain output { type filter hook output priority 0; policy drop; oif lo accept; }
}""",
}

# A laptop (here) and a desktop at the two ends of a cable. What a desktop hears of an answer counts, as in a real call.
NAMESPACES = """
mount -t tmpfs tmpfs /run && mount -t sysfs sysfs /sys && mkdir /run/netns && ip netns add desktop
ip link add cable type veth peer name eth0 netns desktop
echo 0 >/proc/sys/net/ipv6/conf/cable/accept_dad
ip netns exec desktop sh -c 'echo 0 >/proc/sys/net/ipv6/conf/eth0/accept_dad; ip link set eth0 up; ip link set lo up'
ip link set cable up; ip link set lo up
nft -f "$1"
eval "$2"
"""
CALL = """
import select, socket, subprocess, sys
from types import ModuleType
for part in ("Cipher.AES", "Hash.SHA256", "Protocol.KDF"):
    sys.modules.setdefault(f"Crypto.{part}", ModuleType(part))
from stiefel_agent.machine import link
from stiefel_agent.protocol.discovery import Datagram

def end(name):
    return link.Wired(name, socket.if_nametoindex(name), "", True, True, None)

if sys.argv[1:] == ["desktop"]:
    with link.DiscoverySocket(listen=False) as wire:
        for _ in range(2):
            wire.beacon(b"beacon", end("eth0"))
            if select.select([wire.fileno()], [], [], 1)[0]:
                print(wire.receive()[0].decode())
                break
else:
    with link.DiscoverySocket(listen=True) as wire:
        wire.follow([end("cable")])
        desktop = subprocess.Popen(["ip", "netns", "exec", "desktop", sys.executable, __file__, "desktop"])
        while desktop.poll() is None:
            if select.select([wire.fileno()], [], [], 0.1)[0] and (heard := wire.receive()):
                wire.send(Datagram(b"answered", heard[1]))
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nft")


def in_namespaces(folder: Path, rules: str, script: str) -> str:
    """Return what a shell script says at a laptop with these rules; `$call` lets the desktop call."""
    (folder / "rules").write_text(rules)
    (folder / "call.py").write_text(CALL)
    done = subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-ec", NAMESPACES, "sh", str(folder / "rules"), script],
        capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE), "call": f"{sys.executable} {folder}/call.py"},
    )  # fmt: skip
    return done.stdout.strip()


def commands(folder: Path, rules: str) -> list[str]:
    """Return what preflight tells the owner of these rules to say."""
    listed = json.loads(in_namespaces(folder, rules, "nft --json list ruleset"))["nftables"]
    told = said(plain(firewall=Firewall(rules=tuple(listed))))
    return [command for text in told for command in re.findall(r"nft insert rule [^;]*", text)]


@pytest.mark.parametrize("name", FIREWALLS)
def test_the_command_that_is_said_lets_a_desktop_call(tmp_path: Path, name: str) -> None:
    rules = FIREWALLS[name]
    assert in_namespaces(tmp_path, rules, "$call") == ""
    opened = commands(tmp_path, rules)
    assert opened
    assert in_namespaces(tmp_path, rules, "\n".join([*opened, "$call"])) == "answered"


OPEN = """table inet filter {
 chain input {
  type filter hook input priority 0; policy accept;
  ip saddr 192.0.2.1 drop
 }
}"""


@pytest.mark.parametrize("rules", ["", OPEN])
def test_an_open_laptop_gets_no_word_and_answers(tmp_path: Path, rules: str) -> None:
    assert commands(tmp_path, rules) == []
    assert in_namespaces(tmp_path, rules, "$call") == "answered"
