"""Run every check, keep going to the end, and close with one countable line: "N passed, N failed"."""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "test"
TAIL_LINES = 60
BUDGET_SECONDS = 80 * 60
"""All steps together; the aim is 40 minutes, the machine that runs us after a submission gives up at 90."""
LONG_SCENARIOS = ("alternative", "attack", "benchmark", "crash", "everyday", "faults", "matrix", "person", "sessions")
ONLY_WHEN_NAMED = ("soak", "faults", *(f"molecule {name}" for name in LONG_SCENARIOS))
"""Steps that would take a run beyond its time on an emulated machine: `./stiefel test alternative` runs them."""

PROGRESS_SECONDS = 30
"""Between two lines that tell how far a step is: who looks on for an hour should see that it goes on."""

SCENARIO_SECONDS = {"matrix": 8 * 3600, "sessions": 8 * 3600}
"""What a scenario may take that takes longer than all the others; its rows are kept, whatever ends it."""

SOAK_DATAGRAMS = 1_000_000
"""Mutated datagrams and requests of a soak run."""

AGENT = "files/ramdisk-agent"
LAB = "molecule/shared"


@dataclass(frozen=True)
class Step:
    """One check: a command, where it runs and how many seconds it may take."""

    name: str
    argv: tuple[str, ...]
    cwd: str = "."
    timeout: float = 300
    cleanup: tuple[str, ...] = ()
    """Run after a time-out, to end what the command left behind."""


@dataclass(frozen=True)
class Result:
    """What became of a step; counts are tests for pytest and 1 for every other command."""

    step: Step
    passed: int
    failed: int
    skipped: int
    seconds: float


def python_folders(*folders: str) -> tuple[str, ...]:
    """Return those of the folders (relative to the project) that hold Python files."""
    return tuple(folder for folder in folders if any((ROOT / folder).rglob("*.py")))


def lint_steps() -> Iterator[Step]:
    """Yield the checks that only read."""
    yield Step("yamllint", ("yamllint", "--strict", "."))
    yield Step("ansible-lint", ("ansible-lint", "--nocolor"), timeout=600)
    yield Step("ruff", ("ruff", "check", "."))
    yield Step("mypy agent", ("mypy", "--strict", *python_folders(f"{AGENT}/src")[:1]))
    yield Step("mypy project", ("mypy", "--strict", *python_folders("tests", f"{LAB}/lab")))
    python = (script for folder in ("roles/*/files", "plugins") for script in ROOT.glob(f"{folder}/**/*.py"))
    scripts = sorted(str(script.relative_to(ROOT)) for script in python)
    yield Step("mypy roles", ("mypy", "--strict", *scripts))
    yield Step("mypy entry", ("mypy", "--strict", *python_folders("entry")))
    yield Step("shellcheck", (sys.executable, "tests/check_shell.py"))


def pytest_steps() -> Iterator[Step]:
    """Yield the test suites that need no virtual machine; each folder brings its own settings."""
    for cwd in (AGENT, LAB, "."):
        if any((ROOT / cwd / "tests").glob("test_*.py")):
            argv = ("pytest", "-q", "-rs", "--tb=short", "--durations=5", "tests")
            yield Step(f"pytest {cwd}", argv, cwd=cwd, timeout=900)


def initrd_steps() -> Iterator[Step]:
    """Yield the builds of targets' initrds by the real tools; their root folders are made once, which takes minutes."""
    yield Step("initrds", ("pytest", "-q", "-rs", "--tb=short", "tests"), cwd="roles/nbd_root", timeout=2400)


def soak_steps() -> Iterator[Step]:
    """Yield what takes a quarter of an hour and finds what a few thousand tries do not."""
    fuzz = ("env", f"STIEFEL_FUZZ={SOAK_DATAGRAMS}", "pytest", "-q", "tests/test_fuzz.py")
    yield Step("soak", fuzz, cwd=AGENT, timeout=3600)


def scenario_steps() -> Iterator[Step]:
    """Yield the molecule scenarios, the default one first."""
    scenarios = [file.parent.name for file in ROOT.glob("molecule/*/molecule.yml")]
    for scenario in sorted(scenarios, key=lambda name: (name != "default", name)):
        yield Step(
            f"molecule {scenario}",
            ("molecule", "test", "-s", scenario),
            timeout=SCENARIO_SECONDS.get(scenario, 3900),
            cleanup=("molecule", "destroy", "-s", scenario),
        )


def closing_steps() -> Iterator[Step]:
    """Yield what looks at the things that all the others have left behind."""
    yield Step("faults", (sys.executable, "tests/fault_table.py"), timeout=1800)
    yield Step("secrets", (sys.executable, "tests/check_secrets.py"))


def counts(step: Step, output: str, code: int) -> tuple[int, int, int]:
    """Return passed, failed and skipped; a command that failed counts at least one failure."""
    if "pytest" not in step.argv:
        return (1, 0, 0) if code == 0 else (0, 1, 0)
    closing = output.strip().rpartition("\n")[2]
    number = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|error)", closing)}
    failed = number.get("failed", 0) + number.get("error", 0)
    return number.get("passed", 0), failed if code == 0 else max(failed, 1), number.get("skipped", 0)


def last_line(*files: Path) -> str:
    """Return the last line of the file that was written last, without colours and Ansible's frame: what is done now."""
    written = [file for file in files if file.exists() and file.stat().st_size]
    if not written:
        return ""
    with max(written, key=lambda file: file.stat().st_mtime_ns).open("rb") as file:
        file.seek(-min(4096, os.fstat(file.fileno()).st_size), os.SEEK_END)
        text = re.sub(r"\x1b\[[0-9;]*m", "", file.read().decode(errors="replace"))
    lines = [line.rpartition("| ")[2].strip(" *│") for line in text.splitlines()]
    return next((line for line in reversed(lines) if line), "")


def wait(process: "subprocess.Popen[bytes]", step: Step, seconds: float, files: tuple[Path, ...]) -> int:
    """Return the exit code, and tell what the step is at; one that takes too long is ended with all its children."""
    start, told = time.monotonic(), ""
    while (left := start + seconds - time.monotonic()) > 0:
        try:
            return process.wait(min(left, PROGRESS_SECONDS))
        except subprocess.TimeoutExpired:
            if (now := last_line(*files)) != told:
                print(f"   {time.monotonic() - start:5.0f} s  {now[:120]}", flush=True)
                told = now
    if process.poll() is None:
        print(f"   {step.name} took longer than {seconds:.0f} s: ended. It hangs, or there is no time left.")
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if step.cleanup:
            subprocess.run(step.cleanup, cwd=ROOT, check=False, timeout=120)
        return 124
    return process.returncode


def run(step: Step, deadline: float) -> Result:
    """Run one step with its output in a log, and show the log's end when it fails."""
    print(f"== {step.name}", flush=True)
    log = LOGS / (re.sub(r"\W+", "-", step.name).strip("-") + ".log")
    progress = log.with_suffix(".progress")
    progress.unlink(missing_ok=True)
    start = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            step.argv,
            cwd=ROOT / step.cwd,
            env=os.environ | {"STIEFEL_PROGRESS": str(progress)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code = wait(process, step, min(step.timeout, deadline - start), (log, progress))
    text = log.read_text(errors="replace")
    passed, failed, skipped = counts(step, text, code)
    if failed:
        print("\n".join(f"   | {line}" for line in text.splitlines()[-TAIL_LINES:]))
    report_skips(text)
    seconds = time.monotonic() - start
    verdict = "FAILED" if failed else "ok"
    print(f"   {verdict} in {seconds:.1f} s: {passed} passed, {failed} failed, {skipped} skipped")
    return Result(step, passed, failed, skipped, seconds)


def report_skips(text: str) -> None:
    """Name what was left out: nobody should take a skipped check for a passed one."""
    for line in text.splitlines():
        if line.startswith("SKIPPED"):
            print(f"   {line}")


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
    steps = [*lint_steps(), *pytest_steps(), *soak_steps(), *machines, *closing_steps()]
    chosen = [step for step in steps if is_chosen(step, options.only)]
    if not chosen:
        parser.error(
            f"no step's name contains {' or '.join(options.only)}. There are: {', '.join(s.name for s in steps)}"
        )
    LOGS.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + max([BUDGET_SECONDS, *(step.timeout for step in chosen)])
    results = [run(step, deadline) for step in chosen]
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
