"""Everything that is to be said about a laptop."""

from __future__ import annotations

from collections.abc import Iterator

from stiefel_preflight import adapters, firewall, kernels, layers, loader, luks, profiles, system, tables
from stiefel_preflight.laptop import Laptop
from stiefel_preflight.report import Found

ROOMS = (
    system.system,
    layers.layers,
    luks.luks,
    layers.swap,
    tables.tables,
    kernels.kernels,
    kernels.command_line,
    system.space,
    loader.loader,
    adapters.adapters,
    adapters.drivers,
    firewall.firewall,
    profiles.profiles,
    system.security,
)
"""One for each question, in the order in which a person reads the answers."""


def judge(laptop: Laptop) -> Iterator[Found]:
    """Yield all findings."""
    for room in ROOMS:
        yield from room(laptop)
