"""Who may import whom in the lab: a machine does not know what is done to it, a guest's program knows nothing of us."""

import ast
import re
from pathlib import Path

import pytest
from lab import __main__ as command_line
from lab.trials.command import all_trials

LAB = Path(__file__).parents[1] / "lab"
ROOMS = sorted(str(file.relative_to(LAB)) for file in LAB.rglob("*.py"))


def imported(room):
    """Yield what a file imports, as paths from lab/ without suffix ("machines/qmp"); other packages by their name."""
    folders = Path(room).parts[:-1]
    for node in ast.walk(ast.parse((LAB / room).read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = folders[: len(folders) - node.level + 1] if node.level else ()
            yield "/".join((*above, *(node.module or "").split("."))).rstrip("/")


def forbidden(room):
    """Return what a file imports and must not."""
    wing = room.split("/")[0]
    for found in imported(room):
        ours = found.split("/")[0] in {"lab", "machines", "trials"} or found.split(".")[0] == "lab"
        if wing == "machines" and ours and not found.startswith("machines"):
            yield found
        if room.startswith("trials/guest/") and ours:
            yield found


@pytest.mark.parametrize("room", ROOMS)
def test_machines_do_not_import_trials_nor_a_guests_program_the_lab(room):
    assert not list(forbidden(room))


def test_the_command_line_names_no_trial():
    modules = {file.stem for file in (LAB / "trials").glob("*.py")} - {"command", "__init__"}
    known = {found for found in imported("__main__.py") if found.split("/")[-1] in modules}
    assert not known


def test_every_trial_is_listed_with_its_help():
    listed = command_line.parser().format_help()
    trials = list(all_trials())
    assert {"session", "attack", "ghost", "everyday"} <= {trial.name for trial in trials}
    for trial in trials:
        assert re.search(rf"^    {trial.name}\b", listed, re.MULTILINE)
        assert trial.help, f"{trial.name} has no docstring"
