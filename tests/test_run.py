"""`./stiefel test`: what runs beside what, and what a person sees of it."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
import run
from run import Turn, last_line

SECONDS = 60.0
MEETS = """
import sys, time
from pathlib import Path
own, other = map(Path, sys.argv[1:])
own.touch()
while not other.exists():
    time.sleep(0.01)
print(f"met {other.name}")
"""
"""A program: ends when another one runs at the same time."""


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(run, "LOGS", tmp_path)
    return tmp_path


def python(name: str, program: str, *arguments: object, turn: Turn = Turn.CHECKS, timeout: float = SECONDS) -> run.Step:
    argv = (sys.executable, "-c", program, *(str(one) for one in arguments))
    return run.Step(name, argv, turn=turn, timeout=timeout)


def run_all(*steps: run.Step) -> list[run.Result]:
    return run.run_all(list(steps), time.monotonic() + SECONDS)


@pytest.mark.parametrize("turn", [Turn.CHECKS, Turn.MACHINES])
def test_steps_run_side_by_side_and_are_shown_one_by_one(
    turn: Turn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    meet = f"{MEETS}\nsys.exit(1)"  # what fails shows what it said
    results = run_all(python("first", meet, one, two, turn=turn), python("second", meet, two, one, turn=turn))
    assert [(result.step.name, result.failed) for result in results] == [("first", 1), ("second", 1)]
    blocks = capsys.readouterr().out.split("== ")[1:]
    assert {block.splitlines()[0]: block.splitlines()[1] for block in blocks} == {
        "first": "   | met two",
        "second": "   | met one",
    }


def test_a_turn_comes_when_all_steps_of_the_one_before_are_done(tmp_path: Path) -> None:
    note = "import sys, time; time.sleep(float(sys.argv[3])); open(sys.argv[1], 'a').write(sys.argv[2])"
    notes = tmp_path / "notes"
    alone, machine, slow, quick = (
        python("alone", note, notes, "a", 0, turn=Turn.ALONE),
        python("machine", note, notes, "m", 0.5, turn=Turn.MACHINES),
        python("slow", note, notes, "s", 0.5),
        python("quick", note, notes, "q", 0),
    )
    results = run_all(alone, machine, slow, quick)
    assert notes.read_text() == "qsma"
    assert [result.step for result in results] == [alone, machine, slow, quick]


def test_several_scenarios_find_their_ramdisk_s_root_folder_made(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []

    def note(steps: list[run.Step], _: float) -> list[run.Result]:
        ran.extend(step.name for step in steps)
        return []

    monkeypatch.setattr(run, "run_all", note)
    for words in (["molecule default"], ["molecule default", "encrypted"]):
        monkeypatch.setattr(sys, "argv", ["run.py", *words])
        run.main()
    assert ran == ["molecule default", "ramdisk", "molecule default", "molecule encrypted"]


def test_a_step_that_hangs_is_ended_and_counts_as_failed(capsys: pytest.CaptureFixture[str]) -> None:
    hangs = python("hangs", "import time; time.sleep(3600)", timeout=0.2)
    (result,) = run_all(hangs)
    assert result.failed == 1
    assert "hangs took longer than 0 s: ended" in capsys.readouterr().out


def test_a_run_ends_with_what_failed_and_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = ["ok", "\x1b[31mERROR\x1b[0m not idempotent", *["switched off"] * 99, "ERROR Molecule executed"]
    says = f"print(*{said}, sep='\\n'); raise SystemExit(1)"
    monkeypatch.setattr(run, "lint_steps", lambda: [python("molecule lab", says), python("fine", "pass")])
    monkeypatch.setattr(sys, "argv", ["run.py", "molecule lab", "fine"])
    assert run.main() == 1
    first, *more, _, _, count = capsys.readouterr().out.rpartition("== ")[2].splitlines()
    assert first == "molecule lab failed:"
    assert more[0] == "   | ERROR not idempotent"
    assert set(more[1:]) == {"   | switched off"}
    assert count == "1 passed, 1 failed"


def test_whoever_interrupts_the_run_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []

    def interrupted(step: run.Step, deadline: float) -> run.Result:
        process = run.CHILDREN.start(step, run.LOGS / "log", run.LOGS / "progress")
        started.append(process)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_all(python("endless", "import time; time.sleep(3600)", turn=Turn.ALONE))
    assert not [process for process in run.CHILDREN.running if process.poll() is None]
    assert started


def test_whoever_ends_the_run_by_a_signal_leaves_nothing_running(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = python("endless", "import time; time.sleep(3600)")
    monkeypatch.setattr(run, "lint_steps", lambda: [endless])
    monkeypatch.setattr(sys, "argv", ["run.py", "endless"])
    begun = run.CHILDREN.start

    def begin(*what: object) -> object:
        process = begun(*what)  # type: ignore[arg-type]
        os.kill(os.getpid(), signal.SIGTERM)
        return process

    monkeypatch.setattr(run.CHILDREN, "start", begin)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit, match="ended by a signal"):
            run.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not [process for process in run.CHILDREN.running if process.poll() is None]


def test_what_is_told_of_a_long_step_is_the_newest_line_of_its_log_or_of_the_lab(tmp_path: Path) -> None:
    log, progress = tmp_path / "step.log", tmp_path / "step.progress"
    assert last_line(log, progress) == ""
    log.write_text("  \x1b[2m│\x1b[0m TASK [Set it up]\n  \x1b[2m│\x1b[0m   *****\n")
    assert last_line(log, progress) == "TASK [Set it up]"
    progress.write_text("lab: login prompt: 120 s ...\n\n")
    later = time.time_ns() + 10**9
    os.utime(progress, ns=(later, later))
    assert last_line(log, progress) == "lab: login prompt: 120 s ..."
