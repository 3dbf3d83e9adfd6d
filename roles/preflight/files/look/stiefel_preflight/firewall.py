"""Firewalls: a desktop's call must be heard. A person's firewall is theirs, so the command is said and not run.

A packet that any chain drops is gone (nft(8), "verdict statements"), so no rule of ours elsewhere could let it in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from stiefel_agent.protocol.meeting import PORT

from stiefel_preflight.laptop import Firewall, Laptop
from stiefel_preflight.report import Found, fact, mend

_WHY = "a desktop's call would not be heard"
_NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert }"


def firewall(laptop: Laptop) -> Iterator[Found]:
    """Name the firewall that is in force, and what it must let through."""
    said = laptop.firewall
    if _setting(said.ufw, "ENABLED").lower() == "yes":
        yield fact("firewall", "ufw")
        yield from _ufw(said)
    elif said.firewalld_zone:
        yield fact("firewall", "firewalld")
        yield mend(
            f"firewalld lets nothing but what its zone {said.firewalld_zone} allows reach this laptop, so {_WHY}. Say: "
            f"firewall-cmd --permanent --zone={said.firewalld_zone} --add-port={PORT}/udp && firewall-cmd --reload"
        )
    else:
        yield from _rules(said)


def _setting(text: str, name: str) -> str:
    """Return a value of a file of NAME=value lines."""
    found = re.findall(rf"^\s*{name}=[\"']?(.*?)[\"']?\s*$", text, re.MULTILINE)
    return found[-1] if found else ""


def _ufw(said: Firewall) -> Iterator[Found]:
    if _setting(said.ufw_defaults, "IPV6").lower() == "no":
        yield mend(
            f"ufw drops all of IPv6, and laptop and desktop speak nothing else on the cable: {_WHY}. Set IPV6=yes in "
            f"/etc/default/ufw, then say: ufw allow {PORT}/udp && ufw reload"
        )
    elif _setting(said.ufw_defaults, "DEFAULT_INPUT_POLICY").upper() != "ACCEPT" and str(PORT) not in said.ufw_rules:
        yield mend(f"ufw lets nothing in that was not asked for, so {_WHY}. Say: ufw allow {PORT}/udp")


def _rules(said: Firewall) -> Iterator[Found]:
    """Judge the kernel's own rules, whoever made them: each chain that sees IPv6 and drops by default."""
    for chain in closed_chains(said.rules):
        family, table, name = (chain[key] for key in ("family", "table", "name"))
        yield fact("firewall", f"nftables: {family} {table} {name}")
        way = "sport" if chain["hook"] == "output" else "dport"
        if (table, name) in (("filter", "INPUT"), ("filter", "OUTPUT")):
            made = f"ip6tables -I {name} -p udp --{way} {PORT} -j ACCEPT; ip6tables -I {name} -p icmpv6 -j ACCEPT"
            keep = "and save it where your rules are kept (netfilter-persistent save)"
        else:
            start = f"nft insert rule {family} {table} {name}"
            made = f"{start} udp {way} {PORT} accept; {start} {_NEIGHBOURS} accept".replace("{ ", "'{ ").replace(
                " }", " }'"
            )
            keep = "and write the same into /etc/nftables.conf or where your rules are kept"
        yield mend(
            f"The firewall's chain {name} (nft list table {family} {table}) drops what it does not know, so {_WHY}. "
            f"Say: {made}; {keep}."
        )


def closed_chains(rules: tuple[Mapping[str, Any], ...]) -> Iterator[Mapping[str, Any]]:
    """Yield the chains that see a desktop's call and drop it, as far as can be told without playing it through.

    `rules` is the list in `nft --json list ruleset` (libnftables-json(5)). A chain drops by its policy, or by a last
    rule without a condition; a rule in its table that names our port lets us through.
    """
    chains = [one["chain"] for one in rules if "chain" in one]
    for chain in chains:
        if chain.get("hook") not in ("input", "output") or chain["family"] not in ("inet", "ip6"):
            continue
        table = [one["rule"] for one in rules if "rule" in one and _same(one["rule"], chain)]
        own = [rule for rule in table if rule["chain"] == chain["name"]]
        closed = chain.get("policy") == "drop" or (own and _ends(own[-1]))
        if closed and not re.search(rf"\b{PORT}\b", json.dumps(table)) and not any(map(_lets_all_through, own)):
            yield chain


def _same(rule: Mapping[str, Any], chain: Mapping[str, Any]) -> bool:
    return (rule["family"], rule["table"]) == (chain["family"], chain["table"])


def _ends(rule: Mapping[str, Any]) -> bool:
    """Return whether a rule drops everything that comes to it."""
    verdicts = [statement for statement in rule["expr"] if "counter" not in statement and "log" not in statement]
    return len(verdicts) == 1 and not {"drop", "reject"}.isdisjoint(verdicts[0])


def _lets_all_through(rule: Mapping[str, Any]) -> bool:
    """Return whether a rule accepts whatever comes to it."""
    statements = [statement for statement in rule["expr"] if "counter" not in statement]
    return len(statements) == 1 and "accept" in statements[0]
