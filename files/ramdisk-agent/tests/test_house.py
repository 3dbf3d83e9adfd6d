"""Who may import whom: the wings of the agent, from its entry down to the errors. docs/architecture.md says why."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "src/stiefel_agent"
MAY_IMPORT = {
    "cli": {"laptop", "client", "server", "target", "face", "machine", "config", "protocol", "errors"},
    "laptop": {"face", "machine", "config", "protocol", "errors"},
    "client": {"face", "machine", "config", "protocol", "errors"},
    "server": {"face", "machine", "config", "protocol", "errors"},
    "target": {"face", "machine", "protocol", "errors"},
    "face": {"machine", "protocol", "errors"},
    "machine": {"protocol", "errors"},
    "config": {"protocol", "errors"},
    "protocol": {"errors"},
    "errors": set(),
}
"""A wing (or a module that is none) and what lies below it."""

PURE = {"socket", "select", "selectors", "subprocess", "time", "asyncio", "threading", "signal", "fcntl"}
"""What the protocol must not need: sockets, clocks, processes."""
TARGET_ROOMS = {"ahead", "attach", "keeper", "release"}
"""What runs in the target's initrd and at its shutdown; initrd_files only lists what they load."""


def wing(module):
    """Return the wing of a module's dotted name: its first word below the package."""
    return module.split(".")[1] if "." in module else ""


def imports(path):
    """Yield the dotted names that a file imports, wherever in it; `from x import y` as x and as x.y."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative imports hide the wing"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms():
    """Return every module of the package by its dotted name."""
    files = [path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py"]
    return {"stiefel_agent." + ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path for path in files}


ROOMS = rooms()


def uses(name):
    """Return the rooms that one room imports."""
    return {found for found in imports(ROOMS[name]) if found in ROOMS}


@pytest.mark.parametrize("name", sorted(ROOMS))
def test_a_room_imports_from_its_own_wing_and_from_below(name):
    forbidden = {used for used in uses(name) if wing(used) not in {wing(name), *MAY_IMPORT[wing(name)]}}
    assert not forbidden, f"{name} may not import {sorted(forbidden)}"


def test_no_room_is_above_itself():
    clear = set()  # each room once: there are more ways through the house than rooms in it

    def below(name, path=()):
        assert name not in path, " -> ".join((*path, name))
        for used in uses(name) - clear:
            below(used, (*path, name))
        clear.add(name)

    for name in ROOMS:
        below(name)


@pytest.mark.parametrize("name", sorted(name for name in ROOMS if wing(name) == "protocol"))
def test_the_protocol_is_pure(name):
    assert not {found for found in imports(ROOMS[name]) if found.split(".")[0] in PURE} - exceptions(name)


def exceptions(name):
    """session.json is read and checked with socket's own parser of addresses; it opens no socket."""
    return {"socket"} if name.endswith(".session") else set()


@pytest.mark.parametrize("room", sorted(TARGET_ROOMS))
def test_the_target_needs_nothing_but_the_standard_library(room):
    seen, waiting = set(), {f"stiefel_agent.target.{room}"}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        waiting |= uses(name) - seen
    assert not [name for name in seen if name.endswith(".crypto") or wing(name) == "config"]
