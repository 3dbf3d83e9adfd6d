"""Results -> the table and the picture of docs/benchmarks.md. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .figures import Round, Summary, shown, summary
from .rows import Row
from .svg import Bar, Group, picture

BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
"""What stands between them in the page is written by `./stiefel bench`, all else by a person."""
Results = Mapping[str, Mapping[str, Any]]
"""What was measured, by row: {"rounds": [{"ours", "peer", "load"}], "machine": {...}} or {"left_out": why}."""


def rounds_of(result: Mapping[str, Any]) -> list[Round]:
    """Return the rounds of a row's result."""
    return [Round(one["ours"], one["peer"]) for one in result.get("rounds", ())]


def _verdict(row: Row, found: Summary) -> str:
    return {True: "reached", False: "**not reached**", None: ""}[row.goal.reached(found)]


def _line(row: Row, result: Mapping[str, Any], usual: str = "") -> str:
    goal = row.goal.text(row.unit)
    rounds = rounds_of(result)
    if not rounds:
        return f"| {row.name} | {row.what} | | {row.peer} | {goal} | {result.get('left_out', 'not measured yet')} |"
    found = summary(rounds)
    ours = f"{shown(found.ours)} {row.unit}"
    if found.rounds > 1:
        ours += f" ({shown(found.low)} to {shown(found.high)})"
    peer = f"{row.peer}: {shown(found.peer)} {row.unit}, ratio {shown(found.ratio or 0)}" if found.peer else row.peer
    loads = [one["load"] for one in result["rounds"]]
    times = "once" if found.rounds == 1 else f"{found.rounds} rounds"
    verdict = f"{_verdict(row, found)}, {times} at load {min(loads):.1f} to {max(loads):.1f}"
    if usual and (processor := result["machine"]["processor"]) != usual:
        verdict += f" on {processor}"
    return f"| {row.name} | {row.what} | {ours} | {peer} | {goal} | {verdict} |"


def machines(results: Results) -> str:
    """Return a line on the machine that the figures are from: that of the last result, where they differ."""
    if not (last := _last_machine(results)):
        return "Nothing has been measured yet."
    return (
        f"Measured on {last['processor']}, {last['processors']} processors, {last['memory_mb'] / 1000:.0f} GB, "
        f"Linux {last['kernel']}, Python {last['python']}."
    )


def _last_machine(results: Results) -> Mapping[str, Any]:
    return next((result["machine"] for result in reversed(list(results.values())) if "machine" in result), {})


def table(rows: Sequence[Row], results: Results, old: str = "") -> str:
    """Return the part of the page that is written by itself, between BEGIN and END.

    A row of which there is no result stays as it is in the old table.
    """
    head = "| row | what | median (from, to) | against | goal | |\n|---|---|---|---|---|---|\n"
    stays = {line.split(" | ")[0].removeprefix("| "): line for line in old.splitlines()}
    named = ((row, results.get(row.name)) for row in rows)
    usual = _last_machine(results).get("processor", "")
    lines = "".join(
        f"{stays[row.name] if result is None and row.name in stays else _line(row, result or {}, usual)}\n"
        for row, result in named
    )
    return f"{BEGIN}{machines(results)}\n\n{head}{lines}{END}"


def written(page: str, rows: Sequence[Row], results: Results) -> str:
    """Return the page with its figures renewed. Raises ValueError if it has no place for them."""
    before, begin, rest = page.partition(BEGIN)
    old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"docs/benchmarks.md has no {BEGIN.strip()} ... {END.strip()}")
    return before + table(rows, results, old) + after


def _group(row: Row, found: Summary) -> Group:
    bars = [Bar("ours", found.ours, f"{shown(found.ours)} {row.unit}", ours=True)]
    if found.peer:
        bars.append(Bar(row.peer, found.peer, f"{shown(found.peer)} {row.unit}"))
    limit = row.goal.limit if row.goal.of.value == "value" else row.goal.limit * (found.peer or 0)
    return Group(f"{row.name}: {row.what}", tuple(bars), limit or None)


def drawn(rows: Sequence[Row], results: Results) -> str:
    """Return the picture of all rows that were measured."""
    measured = [(row, rounds_of(results.get(row.name, {}))) for row in rows]
    return picture([_group(row, summary(rounds)) for row, rounds in measured if rounds])
