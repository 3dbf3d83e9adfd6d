# ruff: noqa: E402 - an Ansible plugin is documented before it imports anything
"""What a person sees of a run: a line for each long step, one for what a role changes besides, and one error."""

from __future__ import annotations

DOCUMENTATION = """
name: short
type: stdout
short_description: One line for each step that takes time, and for what a role changes
version_added: 0.1.0
author: the Stiefelsystem authors
description:
  - Shows each step that takes five seconds or more, and for each role what it changed in less, with the seconds. On a
    terminal the step at hand is shown while it runs. What a step says (ansible.builtin.debug) is shown as it is.
  - A step of this machine that knows how long it is shows a bar. It appends lines that begin with a percentage, such as
    C(45 % of 266 MiB), to the file that the environment variable C(STIEFEL_PROGRESS) names.
  - An error is one sentence, once, at the end. What Ansible's default callback would have shown goes to the log that
    C(ANSIBLE_LOG_PATH) names.
  - With C(--check) what would be changed comes at the end, a line for each role with all its steps.
  - With C(-v) or C(--diff) it is Ansible's default callback.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
requirements:
  - set as stdout in configuration
"""

import atexit
import os
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ansible import constants, context
from ansible.plugins.callback.default import CallbackModule as Default

SOON = 2.0
"""Seconds from which on a step is shown while it runs."""
LONG = 5.0
"""Seconds from which on a step is worth a line of its own."""
STILL = 60.0
"""Seconds between signs of life where lines cannot be overwritten: logs, pipes."""
ASKS = ("pause", "ansible.builtin.pause")
"""What waits for a person: its prompt must not be written over."""
PERCENT = re.compile(r"(\d+) %")


class LogOnly:
    """Ansible's display, as its default callback uses it: what it shows goes to the log alone."""

    def __init__(self, display: Any) -> None:
        self._display = display

    def display(self, msg: str, **how: Any) -> None:
        """Write to the log; what is said twice, for screen and log, only once."""
        if not how.get("screen_only"):
            self._display.display(msg, log_only=True)

    def banner(self, msg: str, **_: Any) -> None:
        """Write a heading to the log."""
        self.display(f"\n{msg}")

    def _error(self, *_: Any, **__: Any) -> None:
        """Leave out what the result says anyway."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._display, name)


def progress_file() -> Path:
    """Return the file to which a step of this machine writes how far it is; who runs us may have named one."""
    if not (name := os.environ.get("STIEFEL_PROGRESS")):
        handle, name = tempfile.mkstemp(prefix="stiefel-progress-")
        os.close(handle)
        os.environ["STIEFEL_PROGRESS"] = name
        atexit.register(Path(name).unlink, missing_ok=True)
    return Path(name)


class Progress:
    """What has been written to the file of progress since a step began."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._begin = self._size()

    def _size(self) -> int:
        return self._file.stat().st_size if self._file.exists() else 0

    def last(self) -> str:
        """Return the last line, if it tells a percentage."""
        if self._size() == self._begin:
            return ""
        with self._file.open("rb") as file:
            file.seek(self._begin)
            lines = file.read().decode(errors="replace").splitlines()
        return lines[-1] if lines and PERCENT.match(lines[-1]) else ""


class Step:
    """The step at hand: its name, since when, and how far it or its loop has come."""

    def __init__(self, role: str, name: str, progress: Progress | None = None) -> None:
        self.role, self.name = role, name
        self.detail = ""
        self.seconds = 0.0
        self.since = self.item_since = time.monotonic()
        self.shown = False
        self.changed: list[str] = []
        self._progress = progress

    def line(self) -> str:
        """Return what is shown while it runs."""
        detail = (self._progress.last() if self._progress else "") or self.detail
        if percent := PERCENT.match(detail):
            detail = f"[{'#' * (int(percent[1]) // 5):20}] {detail}"
        return f"{time.monotonic() - self.since:5.0f} s  {self.name}{': ' if detail else ''}{detail}"


class Pulse(threading.Thread):
    """Shows that the step at hand lives: every second on a terminal, else once a minute.

    It writes with os.write and holds no lock: Ansible forks its workers meanwhile.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.step: Step | None = None
        self.terminal = sys.stdout.isatty()

    def run(self) -> None:
        """Show it until the process ends."""
        told = 0.0
        while True:
            time.sleep(1 if self.terminal else 5)
            step, now = self.step, time.monotonic()
            if step is None or now - step.since < SOON:
                continue
            if self.terminal:
                os.write(1, f"\r\x1b[K{step.line()[: self._width()]}".encode())
            elif now - max(step.since, told) >= STILL:
                told = now
                os.write(1, f"{step.line()}, not finished yet\n".encode())

    @staticmethod
    def _width() -> int:
        return (shutil.get_terminal_size().columns or 80) - 1

    def clear(self) -> None:
        """Take the line away that shows the step at hand."""
        if self.terminal:
            os.write(1, b"\r\x1b[K")


def sentences(result: dict[str, Any]) -> Iterator[str]:
    """Yield what a failed result says of itself, of each failed item in a loop."""
    failed = [item for item in result.get("results", []) if item.get("failed")]
    for item in failed or [result]:
        msg = str(item.get("msg") or "").strip()
        said = item.get("stderr_lines") or item.get("stdout_lines") or []
        if said and (not msg or "non-zero return code" in msg):
            msg = said[-1].strip()
        if "\n" in msg and (complaint := re.search(r"\bE: (.+)", msg)):  # apt's; the log has all of it
            msg = complaint[1].strip()
        yield msg or "no reason was given"


def speaker(host: str, text: str) -> str:
    """Return what stands before a text to say which machine it is about, if that is not this one."""
    if host == "localhost":
        return ""
    return f"{host}:\n" if "\n" in text else f"{host}: "


class Account:
    """What the steps of a run changed, in lines: one for each that took long, one for a role's quick ones before it."""

    word = "changed"

    def __init__(self, show: Callable[[str, str | None], None]) -> None:
        self._show = show
        self._quick: list[Step] = []

    def add(self, step: Step) -> None:
        """Take in a step that has ended."""
        if step.shown:
            return
        if step.seconds >= LONG:
            self.catch_up()
            self._line(step.name, [step])
        elif step.changed:
            if self._quick and self._quick[0].role != step.role:
                self.catch_up()
            self._quick.append(step)

    def add_item(self, step: Step, item: Step) -> None:
        """Take in an item of a step's loop that has ended."""
        if item.seconds >= LONG:
            step.shown = True
            self.add(item)

    def catch_up(self) -> None:
        """Show the quick steps of one role, before anything else is said."""
        quick, self._quick = self._quick, []
        if quick:
            role = f"{quick[0].role}: " if quick[0].role and quick[1:] else ""
            more = f", and {len(quick) - 1} more" if quick[1:] else ""
            self._line(f"{role}{quick[0].name}{more}", quick)

    def close(self) -> None:
        """Show what is left at the end."""
        self.catch_up()

    def _line(self, name: str, steps: list[Step]) -> None:
        changed = dict.fromkeys(host for step in steps for host in step.changed)
        where = ", ".join(host for host in changed if host != "localhost")
        head = self._head(sum(step.seconds for step in steps), self.word if changed else "")
        self._show(f"{head} {name}{f' ({where})' if where else ''}", constants.COLOR_CHANGED if changed else None)

    def _head(self, seconds: float, word: str) -> str:
        return f"{seconds:5.0f} s  {word:8}"


class Forecast(Account):
    """What the steps of a run with --check would change: a line for each role, at the end."""

    word = "would change"

    def add(self, step: Step) -> None:
        """Keep a step that would change something."""
        self._quick += [step] if step.changed else []

    def add_item(self, step: Step, item: Step) -> None:
        """Wait for the whole step."""

    def catch_up(self) -> None:
        """Wait for the end."""

    def close(self) -> None:
        """Show each role's steps together, however the roles took turns."""
        roles: dict[str, list[Step]] = {}
        for step in self._quick:
            roles.setdefault(step.role, []).append(step)
        for role, steps in roles.items():
            names = "; ".join(dict.fromkeys(step.name for step in steps))
            self._line(f"{role}: {names}" if role else names, steps)

    def _head(self, seconds: float, word: str) -> str:
        """Leave the seconds out: they would be taken for those of the change, and are those of the look."""
        return word


class CallbackModule(Default):  # type: ignore[misc]
    """Ansible's default callback, which writes the log, and a short one for the screen."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "sft.stiefelsystem.short"

    _display: Any

    def __init__(self) -> None:
        super().__init__()
        self._screen: Any = self._display
        self._short = not (self._screen.verbosity or context.CLIARGS.get("diff"))
        self._account = (Forecast if context.CLIARGS.get("check") else Account)(self._show)
        self._step = Step("", "")
        self._pulse = Pulse()
        self._errors: dict[str, str] = {}
        self._changes = 0
        self._began = time.monotonic()
        if self._short:
            self._display = LogOnly(self._screen)
            self._progress = progress_file()
            self._pulse.start()

    def _say(self, text: str, color: str | None = None, stderr: bool = False) -> None:
        """Show a text, after the steps before it."""
        self._account.catch_up()
        self._show(text, color, stderr)

    def _show(self, text: str, color: str | None = None, stderr: bool = False) -> None:
        if self._short:
            self._pulse.clear()
            self._screen.display(text, color=color, stderr=stderr)

    def _end_step(self) -> None:
        """Close the step at hand: all its hosts have answered."""
        step, self._step = self._step, Step("", "")
        self._pulse.step = None
        self._changes += bool(step.changed)
        step.seconds = time.monotonic() - step.since
        self._account.add(step)

    def _task_start(self, task: Any, prefix: str | None = None) -> None:
        self._end_step()
        super()._task_start(task, prefix=prefix)
        role, _, name = task.get_name().rpartition(" : ")
        progress = Progress(self._progress) if self._short else None
        self._step = Step(role.strip().rpartition(".")[2], name.strip(), progress)
        if task.action not in ASKS:
            self._pulse.step = self._step

    def v2_runner_on_ok(self, result: Any) -> None:
        """Note whether a host was changed, and show what the step says."""
        super().v2_runner_on_ok(result)
        if result.result.get("changed"):
            self._step.changed.append(result.host.get_name())
        if result.task.action in ("debug", "ansible.builtin.debug") and "msg" in result.result:
            said = result.result["msg"]
            text = "\n".join(map(str, said)) if isinstance(said, list) else str(said)
            self._say(f"{speaker(result.host.get_name(), text)}{text}")

    def v2_runner_item_on_ok(self, result: Any) -> None:
        """Show how far a loop has come."""
        super().v2_runner_item_on_ok(result)
        step, now = self._step, time.monotonic()
        step.detail = str(self._get_item_label(result.result) or "")
        item = Step(step.role, f"{step.name}: {step.detail}")
        item.seconds = now - step.item_since
        item.changed = [result.host.get_name()] if result.result.get("changed") else []
        self._account.add_item(step, item)
        step.item_since = now

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Keep what went wrong: a rescue may say it better."""
        super().v2_runner_on_failed(result, ignore_errors=ignore_errors)
        if not ignore_errors:
            self._errors[result.host.get_name()] = " ".join(dict.fromkeys(sentences(result.result)))

    def v2_runner_on_unreachable(self, result: Any) -> None:
        """Keep which machine did not answer."""
        super().v2_runner_on_unreachable(result)
        self._errors[result.host.get_name()] = f"it cannot be reached: {next(sentences(result.result))}"

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Show what went wrong, once, or that all is done."""
        self._end_step()
        super().v2_playbook_on_stats(stats)
        self._account.close()
        failed = {host: self._errors.get(host, "it failed") for host in (*stats.failures, *stats.dark)}
        for host, error in failed.items():
            self._say(f"stiefel: {speaker(host, error)}{error}", constants.COLOR_ERROR, stderr=True)
        if failed and constants.DEFAULT_LOG_PATH:
            self._say(f"stiefel: the whole run is in {constants.DEFAULT_LOG_PATH}", stderr=True)
        elif not failed:
            steps = f"{self._changes} steps {self._account.word} something"
            done = steps if self._changes else "nothing had to be changed"
            self._say(f"Done in {time.monotonic() - self._began:.0f} s: {done}.")
