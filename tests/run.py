"""Run every check, keep going to the end, and close with one countable line: "N passed, N failed"."""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "test"
TAIL_LINES = 60
ERROR_LINES = 15
"""Of each failed step, once more at the very end: a long run is often seen through its end alone."""
ERROR = re.compile(r"^E  |\bERROR\b(?!.*(Executed: Failed|Ansible return code|Molecule executed))")
"""pytest's, or Ansible's and molecule's; not what molecule says of each failure."""
BUDGET_SECONDS = 80 * 60
"""All steps together; the aim is 40 minutes, the machine that runs us after a submission gives up at 90."""
LONG_SCENARIOS = (
    "alternative",
    "attack",
    "benchmark",
    "boots",
    "crash",
    "durability",
    "everyday",
    "faults",
    "matrix",
    "person",
    "sessions",
)
ONLY_WHEN_NAMED = ("soak", "soak outages", "faults", *(f"molecule {name}" for name in LONG_SCENARIOS))
"""Steps that would take a run beyond its time on an emulated machine: `./stiefel test alternative` runs them."""

SIDE_BY_SIDE = 2
"""How many steps run at the same time, of those that may: the smallest machine that runs us has two processors."""

BESIDE_EACH_OTHER = ("--numprocesses=4", "--dist=worksteal")
"""How pytest runs tests that wait more than they work, each in namespaces of its own (pytest-xdist)."""

PROGRESS_SECONDS = 30
"""Between two lines that tell how far a step is: who looks on for an hour should see that it goes on."""

SCENARIO_SECONDS = 3900
LONG_SCENARIO_SECONDS = 8 * 3600
"""What a scenario may take that runs only when it is named: on a busy machine the siege was once ended in its midst."""

SOAK_DATAGRAMS, SOAK_OUTAGES = 1_000_000, 100
"""Mutated datagrams and requests of a soak run, and outages in a row."""

AGENT = "files/ramdisk-agent"
LAB = "molecule/shared"


class Turn(IntEnum):
    """When a step runs: after all steps of the turns before."""

    CHECKS = 0
    """Beside other checks."""
    MACHINES = 1
    """Beside each other: a virtual machine that is set up keeps one processor busy, and waits for it."""
    ALONE = 2


@dataclass(frozen=True)
class Step:
    """One check: a command, where it runs and how many seconds it may take."""

    name: str
    argv: tuple[str, ...]
    cwd: str = "."
    timeout: float = 300
    cleanup: tuple[str, ...] = ()
    """Run after a time-out, to end what the command left behind."""
    turn: Turn = Turn.CHECKS


@dataclass(frozen=True)
class Result:
    """What became of a step; counts are tests for pytest and 1 for every other command."""

    step: Step
    passed: int
    failed: int
    skipped: int
    seconds: float
    error: tuple[str, ...] = ()
    """What a failed step said of it."""


@dataclass
class Children:
    """The commands that run now."""

    running: set["subprocess.Popen[bytes]"] = field(default_factory=set)

    def start(self, step: Step, output: Path, progress: Path) -> "subprocess.Popen[bytes]":
        """Start a step's command, in a session of its own."""
        with output.open("wb") as log:
            process = subprocess.Popen(
                step.argv,
                cwd=ROOT / step.cwd,
                env=os.environ | {"STIEFEL_PROGRESS": str(progress)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.running.add(process)
        return process

    def end(self, process: "subprocess.Popen[bytes]") -> None:
        """End a command with all its children."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def end_all(self) -> None:
        """End them all: whoever runs us does not want to wait any more."""
        for process in list(self.running):
            self.end(process)


CHILDREN = Children()


def python_folders(*folders: str) -> tuple[str, ...]:
    """Return those of the folders (relative to the project) that hold Python files."""
    return tuple(folder for folder in folders if any((ROOT / folder).rglob("*.py")))


def mypy(name: str, *paths: str) -> Step:
    """Return a check of types, with a cache that no other one writes at the same time."""
    return Step(f"mypy {name}", ("mypy", "--strict", "--cache-dir", f".mypy_cache/{name}", *paths))


def lint_steps() -> Iterator[Step]:
    """Yield the checks that only read."""
    yield Step("yamllint", ("yamllint", "--strict", "."))
    yield Step("ansible-lint", ("ansible-lint", "--nocolor"), timeout=600)
    yield Step("ruff", ("ruff", "check", "."))
    yield mypy("agent", *python_folders(f"{AGENT}/src"))
    yield mypy("project", *python_folders("tests", f"{LAB}/lab"))
    python = (script for folder in ("roles/*/files", "plugins") for script in ROOT.glob(f"{folder}/**/*.py"))
    # A module and its half on the controller have the same name.
    yield mypy("roles", "--explicit-package-bases", *sorted(str(script.relative_to(ROOT)) for script in python))
    yield mypy("benchmarks", *python_folders("benchmarks"))
    yield mypy("entry", *python_folders("entry"))
    yield Step("shellcheck", (sys.executable, "tests/check_shell.py"))


def pytest_steps() -> Iterator[Step]:
    """Yield the test suites that need no virtual machine, the longest first; each folder brings its own settings."""
    argv = ("pytest", "-q", "-rs", "--tb=short", "--durations=5")
    yield Step("pytest bench", (*argv, *BESIDE_EACH_OTHER, "tests/faults"), cwd=AGENT, timeout=1800)
    yield Step("pytest .", (*argv, "tests"), timeout=900)
    yield Step(f"pytest {AGENT}", (*argv, "tests", "--ignore=tests/faults"), cwd=AGENT, timeout=900)
    yield Step(f"pytest {LAB}", (*argv, "tests"), cwd=LAB, timeout=900)


def initrd_steps() -> Iterator[Step]:
    """Yield the builds of targets' initrds by the real tools; their root folders are made once, which takes minutes."""
    yield Step(
        "initrds",
        ("pytest", "-q", "-rs", "--tb=short", "tests"),
        cwd="roles/nbd_root",
        timeout=2400,
        turn=Turn.MACHINES,
    )


def bench_steps() -> Iterator[Step]:
    """Yield what shows that measuring works; it says nothing of speed."""
    yield Step("benchmarks", (sys.executable, "-m", "benchmarks", "--quick"), timeout=900, turn=Turn.ALONE)


def soak_steps() -> Iterator[Step]:
    """Yield what takes a quarter of an hour and finds what a few thousand tries do not."""
    fuzz = ("env", f"STIEFEL_FUZZ={SOAK_DATAGRAMS}", "pytest", "-q", "tests/test_fuzz.py")
    yield Step("soak", fuzz, cwd=AGENT, timeout=3600, turn=Turn.ALONE)
    outages = ("env", f"STIEFEL_OUTAGES={SOAK_OUTAGES}", "pytest", "-q", "tests/faults/test_outages.py")
    yield Step("soak outages", outages, cwd=AGENT, timeout=3600, turn=Turn.ALONE)


def scenario_steps() -> Iterator[Step]:
    """Yield the molecule scenarios, the default one first."""
    scenarios = [file.parent.name for file in ROOT.glob("molecule/*/molecule.yml")]
    for scenario in sorted(scenarios, key=lambda name: (name != "default", name)):
        yield Step(
            f"molecule {scenario}",
            ("molecule", "test", "-s", scenario),
            timeout=LONG_SCENARIO_SECONDS if scenario in LONG_SCENARIOS else SCENARIO_SECONDS,
            cleanup=("molecule", "destroy", "-s", scenario),
            turn=Turn.ALONE if scenario in LONG_SCENARIOS else Turn.MACHINES,
        )


def ramdisk_step() -> Step:
    """Return the step that makes what several scenarios would else begin to make at the same time, in one place."""
    build = ("ansible-playbook", "--inventory=molecule/shared/inventory", "molecule/shared/build.yml")
    named = ("env", "MOLECULE_SCENARIO_NAME=ramdisk", *build, "--extra-vars=ramdisk_compression=3")
    return Step("ramdisk", named, timeout=1800)


def closing_steps() -> Iterator[Step]:
    """Yield what looks at the things that all the others have left behind."""
    yield Step("faults", (sys.executable, "tests/fault_table.py"), timeout=1800, turn=Turn.ALONE)
    yield Step("secrets", (sys.executable, "tests/check_secrets.py"), turn=Turn.ALONE)


def counts(step: Step, output: str, code: int) -> tuple[int, int, int]:
    """Return passed, failed and skipped; a command that failed counts at least one failure."""
    if "pytest" not in step.argv:
        return (1, 0, 0) if code == 0 else (0, 1, 0)
    closing = output.strip().rpartition("\n")[2]
    number = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|error)", closing)}
    failed = number.get("failed", 0) + number.get("error", 0)
    return number.get("passed", 0), failed if code == 0 else max(failed, 1), number.get("skipped", 0)


def without_colours(text: str) -> str:
    """Return it as a terminal shows it, but for the colours (ECMA-48, SGR)."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def last_error(lines: list[str]) -> list[str]:
    """Return what begins with the last line that tells of an error; without one the end.

    molecule switches the machines off after an error, tells at length of it, and says who failed, but not why.
    """
    errors = [number for number, line in enumerate(lines) if ERROR.search(line)]
    start = errors[-1] if errors else -ERROR_LINES
    return lines[start:][:ERROR_LINES]


def last_line(*files: Path) -> str:
    """Return the last line of the file that was written last, without colours and Ansible's frame: what is done now."""
    written = [file for file in files if file.exists() and file.stat().st_size]
    if not written:
        return ""
    with max(written, key=lambda file: file.stat().st_mtime_ns).open("rb") as file:
        file.seek(-min(4096, os.fstat(file.fileno()).st_size), os.SEEK_END)
        text = without_colours(file.read().decode(errors="replace"))
    lines = [line.rpartition("| ")[2].strip(" *│") for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")


def wait(process: "subprocess.Popen[bytes]", step: Step, seconds: float, files: tuple[Path, ...]) -> str:
    """Wait for a step's end, and tell what it is at; return why it had to be ended, nothing if it ended by itself."""
    start, told = time.monotonic(), ""
    while (left := start + seconds - time.monotonic()) > 0:
        try:
            process.wait(min(left, PROGRESS_SECONDS))
        except subprocess.TimeoutExpired:
            if (now := last_line(*files)) != told:
                print(f"   {time.monotonic() - start:5.0f} s  {step.name}: {now[:120]}", flush=True)
                told = now
        else:
            return ""
    CHILDREN.end(process)
    if step.cleanup:
        subprocess.run(step.cleanup, cwd=ROOT, check=False, timeout=120)
    return f"{step.name} took longer than {seconds:.0f} s: ended. It hangs, or there is no time left."


def run(step: Step, deadline: float) -> Result:
    """Run one step with its output in a log; then show what became of it, and the log's end when it failed."""
    log = LOGS / (re.sub(r"\W+", "-", step.name).strip("-") + ".log")
    progress = log.with_suffix(".progress")
    progress.write_text("")
    start = time.monotonic()
    process = CHILDREN.start(step, log, progress)
    ended = wait(process, step, min(step.timeout, deadline - start), (log, progress))
    CHILDREN.running.discard(process)
    text = log.read_text(errors="replace")
    passed, failed, skipped = counts(step, text, 1 if ended else process.returncode)
    seconds = time.monotonic() - start
    verdict = "FAILED" if failed else "ok"
    lines = [f"== {step.name}", *([f"   {ended}"] if ended else [])]
    written = without_colours(text).splitlines() if failed else []
    lines += [f"   | {line}" for line in written[-TAIL_LINES:]]
    # Nobody should take a skipped check for a passed one.
    lines += [f"   {line}" for line in text.splitlines() if line.startswith("SKIPPED")]
    lines.append(f"   {verdict} in {seconds:.1f} s: {passed} passed, {failed} failed, {skipped} skipped")
    print("\n".join(lines), flush=True)
    return Result(step, passed, failed, skipped, seconds, tuple(last_error(written)))


def run_all(steps: list[Step], deadline: float) -> list[Result]:
    """Run the steps turn by turn, as many side by side as may be; return the results in order."""
    done: dict[Step, Result] = {}
    for turn in Turn:
        pool = ThreadPoolExecutor(1 if turn is Turn.ALONE else SIDE_BY_SIDE)
        try:
            begun = {step: pool.submit(run, step, deadline) for step in steps if step.turn is turn}
            done |= {step: future.result() for step, future in begun.items()}
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            CHILDREN.end_all()
    return [done[step] for step in steps]


def is_chosen(step: Step, words: list[str]) -> bool:
    """Say whether a step runs: every one that a word names, or without words every one but the longest."""
    if words:
        return any(word in step.name for word in words)
    return step.name not in ONLY_WHEN_NAMED


def main() -> int:
    """Run all steps, or with --fast those without virtual machines; return 1 when anything failed."""
    parser = argparse.ArgumentParser(prog="./stiefel test", description=__doc__)
    parser.add_argument("--fast", action="store_true", help="leave out the virtual machines and the initrds")
    parser.add_argument("only", nargs="*", help="run only the steps whose name contains one of these words")
    options = parser.parse_args()
    machines = () if options.fast else (*initrd_steps(), *scenario_steps())
    steps = [*pytest_steps(), *lint_steps(), *bench_steps(), *soak_steps(), *machines, *closing_steps()]
    chosen = [step for step in steps if is_chosen(step, options.only)]
    if not chosen:
        parser.error(
            f"no step's name contains {' or '.join(options.only)}. There are: {', '.join(s.name for s in steps)}"
        )
    if sum(step.turn is Turn.MACHINES and step.name.startswith("molecule") for step in chosen) > 1:
        chosen.insert(0, ramdisk_step())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by a signal"))  # as by Ctrl-C: no child is left
    LOGS.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + max([BUDGET_SECONDS, *(step.timeout for step in chosen)])
    results = run_all(chosen, deadline)
    for result in results:
        if result.failed:
            print(f"== {result.step.name} failed:", *result.error, sep="\n   | ")
    for result in results:
        print(f"{'FAILED' if result.failed else 'ok':>7} {result.seconds:7.1f} s  {result.step.name}")
    if options.fast:
        print("Left out by --fast: the virtual machines (molecule) and the initrds.")
    elif not options.only:
        print(f"Left out for their time: {', '.join(ONLY_WHEN_NAMED)}. Run them by name, as in: ./stiefel test attack")
    failed = sum(result.failed for result in results)
    print(f"{sum(result.passed for result in results)} passed, {failed} failed")
    return 1 if failed or not results else 0


if __name__ == "__main__":
    sys.exit(main())
