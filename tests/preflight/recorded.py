"""Laptops out of text: what lsblk, fstab, crypttab and the others said on real machines, names and numbers replaced."""

from collections.abc import Iterable, Mapping
from typing import Any

from stiefel_agent.config import AutokexecConfig
from stiefel_agent.laptop import command_line
from stiefel_agent.machine import storage
from stiefel_preflight.judge import judge
from stiefel_preflight.laptop import Adapter, Kernels, Laptop, Luks
from stiefel_preflight.report import as_json

Tree = dict[str, Any]
CABLE = frozenset({"r8169", "r8152", "e1000e", "igc", "tg3", "nbd"})


def device(path: str, kind: str, fstype: str = "", uuid: str = "", *children: Tree, **more: object) -> Tree:
    """Return one entry of lsblk's JSON."""
    return {"path": path, "type": kind, "fstype": fstype, "uuid": uuid, "children": list(children), **more}


def disk(path: str, *children: Tree, **more: Any) -> Tree:
    """Return a whole disk."""
    return device(path, "disk", more.pop("fstype", ""), more.pop("uuid", ""), *children, **more)


def laptop(
    *tree: Tree,
    root: str,
    links: Mapping[str, str] | None = None,
    groups: Mapping[str, str] | None = None,
    cmdline: str = "root=UUID=1 ro quiet",
    luks: Mapping[str, Mapping[str, Any]] | None = None,
    kernels: Mapping[str, Any] | None = None,
    **fields: Any,
) -> Laptop:
    """Return a laptop; `links` are names of devices, `luks` the metadata of their headers."""
    line = command_line.target_line(cmdline, AutokexecConfig(), CABLE)
    return Laptop(
        storage=storage.parse(list(tree), links, groups),
        root=root,
        luks={path: Luks(metadata=metadata) for path, metadata in (luks or {}).items()},
        kernels=Kernels(line=line, running_line=cmdline, **(kernels or {})),
        **{"adapters": (Adapter(name="enp3s0", driver="r8169"),), **fields},
    )


def plain(**fields: Any) -> Laptop:
    """Return the laptop of a plain installation; there is nothing to say about it."""
    tree = disk(
        "/dev/nvme0n1", device("/dev/nvme0n1p1", "part", "vfat", "AB"), device("/dev/nvme0n1p2", "part", "ext4", "1")
    )
    return laptop(tree, **{"root": "/dev/nvme0n1p2", **fields})


def report(found: Laptop) -> dict[str, list[Any]]:
    """Return what is said: facts, impossible, mend, know."""
    return as_json(judge(found))


def said(found: Laptop) -> list[str]:
    """Return every finding but the facts, each after the word for its kind."""
    told = report(found)
    return [f"{kind}: {text}" for kind in ("impossible", "mend", "know") for text in told[kind]]


def facts(found: Laptop) -> dict[str, str]:
    """Return the facts by title."""
    return dict(report(found)["facts"])


def one(texts: Iterable[str]) -> str:
    """Return the only text."""
    (text,) = texts
    return text
