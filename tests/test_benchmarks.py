"""`./stiefel bench`: what it makes of samples, before and after anything is measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import ROOT

from benchmarks import __main__ as bench
from benchmarks import bundle, controller, machines, page
from benchmarks.figures import Goal, Of, Round, shown, summary
from benchmarks.ground import LeftOut
from benchmarks.rows import OUTAGES, ROWS, Row, chosen
from benchmarks.svg import Bar, Group, picture

SVG = "{http://www.w3.org/2000/svg}"


TEN = Goal(10)


def row(name: str, goal: Goal = TEN, peer: str = "its peer", rounds: tuple[Round, ...] = ()) -> Row:
    def measure(quick: bool) -> Iterator[Round]:
        yield from rounds
        raise LeftOut("no cable here")

    return Row(name, "something", "MB", peer, goal, measure, rounds=len(rounds) or 1)


def result(*rounds: Round) -> dict[str, Any]:
    machine = {"processor": "a cpu", "processors": 2, "memory_mb": 2000, "kernel": "6.12", "python": "3.13"}
    return {"rounds": [{"ours": one.ours, "peer": one.peer, "load": 0.5} for one in rounds], "machine": machine}


def test_a_ratio_is_the_median_of_each_round_s_own() -> None:
    # The machine was three times slower in the second round: for both sides.
    found = summary([Round(10, 20), Round(30, 60), Round(11, 20)])
    assert (found.ours, found.low, found.high, found.peer, found.ratio) == (11, 10, 30, 20, 0.5)


@pytest.mark.parametrize(
    ("goal", "reached"),
    [
        (Goal(12), True), (Goal(9), False), (Goal(12, at_least=True), False), (Goal(9, at_least=True), True),
        (Goal(0.5, Of.RATIO), True), (Goal(0.4, Of.RATIO), False), (Goal(0.6, Of.RATIO, at_least=True), False),
    ],
)  # fmt: skip
def test_a_goal_is_reached_by_value_or_by_ratio(goal: Goal, reached: bool) -> None:
    assert goal.reached(summary([Round(10, 20)])) is reached


def test_without_a_peer_no_ratio_reaches_its_goal() -> None:
    assert Goal(1.0, Of.RATIO).reached(summary([Round(10)])) is None


def test_figures_have_three_digits_that_count() -> None:
    assert [shown(value) for value in (1234.5, 48.72, 0.123)] == ["1234", "48.7", "0.12"]


def test_bars_of_a_group_are_drawn_to_one_scale() -> None:
    bars = (Bar("ours", 25, "25 <MB>", ours=True), Bar("theirs", 100, "100 MB"))
    root = ElementTree.fromstring(picture([Group("size & more", bars, goal=50)]))
    widths = [float(rect.attrib["width"]) for rect in root.iter(f"{SVG}rect")][1:]  # the first is the paper
    assert widths[1] == 4 * widths[0]
    (line,) = root.iter(f"{SVG}line")
    left = float(next(rect for rect in root.iter(f"{SVG}rect") if rect.get("x")).attrib["x"])
    assert float(line.attrib["x1"]) - left == pytest.approx(2 * widths[0])
    assert [text.text for text in root.iter(f"{SVG}text")][:3] == ["size & more", "ours", "25 <MB>"]


def test_every_row_s_words_fit_into_the_picture() -> None:
    """Letters of 13 pixels are 7.6 wide in the middle, and 8.2 where they are bold (DejaVu Sans, rsvg-convert)."""
    known = {row.name: result(Round(1, 2 if row.peer else None)) for row in ROWS}
    root = ElementTree.fromstring(page.drawn(ROWS, known))
    for text in root.iter(f"{SVG}text"):
        assert text.text
        width = len(text.text) * (8.2 if text.get("font-weight") else 7.6)
        left = float(text.attrib["x"]) - (width if text.get("text-anchor") == "end" else 0)
        assert 0 <= left < left + width <= float(root.attrib["width"]), text.text


def test_groups_stand_below_each_other_inside_the_picture() -> None:
    root = ElementTree.fromstring(picture([Group("one", (Bar("ours", 1, "1"),)), Group("two", (Bar("ours", 0, "0"),))]))
    tops = [float(text.attrib["y"]) for text in root.iter(f"{SVG}text")]
    assert tops == sorted(tops)
    assert tops[-1] < float(root.attrib["height"])


def test_the_page_says_what_was_measured_and_what_was_not_and_keeps_what_a_person_wrote() -> None:
    rows = [row("P1"), row("P2"), row("P3", Goal(0.4, Of.RATIO))]
    results = {
        "P1": result(Round(9, 20)),
        "P2": {"left_out": "no cable here"},
        "P3": result(Round(10, 20), Round(8, 20)),
    }
    before = f"# Head\n{page.BEGIN}old figures\n{page.END}tail\n"
    text = page.written(before, rows, results)
    assert text.startswith("# Head\n")
    assert text.endswith("tail\n")
    assert "old figures" not in text
    one, two, three = (line for line in text.splitlines() if line.startswith("| P"))
    assert "9.00 MB | its peer: 20.0 MB, ratio 0.45 | ≤ 10 MB | reached, once at load" in one
    assert "no cable here" in two
    assert "(8.00 to 10.0)" in three
    assert "**not reached**, 2 rounds" in three
    assert page.written(text, rows, results) == text
    elsewhere = {"P2": result(Round(3, 20)) | {"machine": results["P1"]["machine"] | {"processor": "a VIA C3"}}}
    assert page.written(text, rows, elsewhere).count("ratio") == 3
    both = page.written(text, rows, elsewhere | results)
    assert "on a VIA C3" not in both
    assert "on a VIA C3" in page.written(text, rows, elsewhere | {"P1": results["P1"]})


def test_a_page_without_a_place_for_figures_is_refused() -> None:
    with pytest.raises(ValueError, match="figures"):
        page.written("# Head\n", [], {})


def test_the_page_of_the_tree_has_its_place_and_shows_every_row() -> None:
    text = (ROOT / "docs/benchmarks.md").read_text()
    page.written(text, ROWS, {})
    assert [one.name for one in ROWS if f"| {one.name} |" not in text] == []


def test_rows_are_chosen_by_how_their_names_begin() -> None:
    assert {one.name for one in chosen(["P12-8", "P6"])} == {"P6", "P6-memory", "P12-8"}
    assert [one.name for one in chosen(["P1"])] == ["P1"]
    longest = {"P3", "P4", "P4-plain", "P5", "P10", *(f"outage-{kind}-200" for kind in OUTAGES)}
    assert {one.name for one in ROWS if one not in chosen([])} == longest
    assert {one.name for one in chosen(["outage-cable"])} == {"outage-cable-5", "outage-cable-40"}
    assert [one.name for one in chosen(["outage-cable-200"])] == ["outage-cable-200"]
    with pytest.raises(ValueError, match="no row P99"):
        chosen(["P99"])


def test_no_two_rows_have_one_name() -> None:
    assert len({one.name for one in ROWS}) == len(ROWS)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tree of its own for what a run writes, and one row."""
    file = tmp_path / "benchmarks.md"
    file.write_text(f"{page.BEGIN}{page.END}")
    names = {"RESULTS": "build/results.json", "KEPT": "benchmarks.json", "PAGE": file.name, "PICTURE": "p.svg"}
    for name, value in ({"OUTPUT": "build"} | names).items():
        monkeypatch.setattr(bench, name, tmp_path / value)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, rows: list[Row], *words: str) -> int:
    monkeypatch.setattr(bench, "ROWS", rows)
    monkeypatch.setattr(bench, "chosen", lambda _: rows)
    monkeypatch.setattr("sys.argv", ["bench", *words])
    return bench.main()


def test_a_run_keeps_every_sample_and_those_of_rows_that_it_did_not_measure(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, [row("P1", rounds=(Round(1, 2), Round(3, 4)))])
    run(monkeypatch, [row("P2", rounds=(Round(5),))])
    known = json.loads((tree / "build/results.json").read_text())
    assert [(one["ours"], one["peer"]) for one in known["P1"]["rounds"]] == [(1, 2), (3, 4)]
    assert known["P2"]["machine"]["processors"]
    assert known["P2"]["rounds"][0]["load"] >= 0


def test_what_another_machine_has_measured_stays(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row("P1", rounds=(Round(1, 2),)), row("P2", rounds=(Round(5, 6),))]
    monkeypatch.setattr(bench, "chosen", lambda words: rows[: len(words)] or rows[1:])
    monkeypatch.setattr(bench, "ROWS", rows)
    for words in (["P1"], [], ["P1"]):
        monkeypatch.setattr("sys.argv", ["bench", *words])
        bench.main()
        (tree / "build/results.json").unlink()
        rows[0] = row("P1")  # from now on it cannot be measured
    text = (tree / "benchmarks.md").read_text()
    assert "1.00 MB" in text
    assert "5.00 MB" in text
    assert "P1" in (tree / "p.svg").read_text()


def test_what_cannot_be_measured_here_is_told_and_stops_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, [row("P1"), row("P2", rounds=(Round(5),))]) == 0
    assert "no cable here" in (tree / "benchmarks.md").read_text()
    assert "5.00 MB" in (tree / "benchmarks.md").read_text()


def test_a_quick_run_keeps_nothing(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, [row("P1", rounds=(Round(1, 2),))], "--quick")
    assert not (tree / "build").exists()


def test_a_laptop_s_own_time_is_not_the_controller_s() -> None:
    assert controller.noted("0m0.010s 0m0.020s\n1m2.500s 0m0.250s\n") == pytest.approx(62.78)


def test_machines_run_once_for_all_parts_that_they_measure(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []

    def scenario(name: str, report: Path, **variables: str) -> list[dict[str, float]]:
        runs.append(variables["STIEFEL_ENCRYPTION"])
        return [{"load": 2.0, "move": 10.0, "restart": 40.0, "power_on": 30.0}]

    monkeypatch.setattr(machines, "_scenario", scenario)
    machines._rounds.cache_clear()
    assert list(machines.part("move", "restart")(False)) == [Round(10, 40, 2)]
    assert list(machines.part("power_on")(False)) == [Round(30, None, 2)]
    assert runs == ["wireguard"]
    machines._rounds.cache_clear()


def test_machines_that_do_not_come_to_their_end_are_run_once_and_every_row_says_why(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = []

    def scenario(name: str, report: Path, **variables: str) -> Any:
        runs.append(name)
        raise LeftOut("the laptop did not start")

    monkeypatch.setattr(machines, "_scenario", scenario)
    machines._rounds.cache_clear()
    for part in ("move", "power_on"):
        with pytest.raises(LeftOut, match="the laptop did not start"):
            next(machines.part(part)(False))
    machines._rounds.cache_clear()
    assert runs == ["boots"]


def test_a_peak_of_memory_is_the_program_s_own() -> None:
    """In a whole run the bench had grown before it started the program, and ru_maxrss counts that as well."""
    ballast = bytearray(300_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    assert next(bundle.memory(quick=True)).ours < 200


def test_a_round_is_kept_with_the_load_at_its_time() -> None:
    found = bench.measured(row("A", rounds=(Round(1, load=77.0),)), quick=False)
    assert [one["load"] for one in found["rounds"]] == [77.0]


def test_an_install_on_an_emulated_laptop_is_as_long_as_on_one_like_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    took = {"install": "0:03:20.000000", "there": "0:00:40.500000", "here": "0:00:04.050000"}
    monkeypatch.setattr(machines, "_scenario", lambda name, report: took)
    assert [one.ours for one in machines.second_install(False)] == [pytest.approx(20.0)]
