"""What a person sees while the checks run."""

import os
import time
from pathlib import Path

from run import last_line


def test_what_is_told_of_a_long_step_is_the_newest_line_of_its_log_or_of_the_lab(tmp_path: Path) -> None:
    log, progress = tmp_path / "step.log", tmp_path / "step.progress"
    assert last_line(log, progress) == ""
    log.write_text("  \x1b[2m│\x1b[0m TASK [Set it up]\n  \x1b[2m│\x1b[0m   *****\n")
    assert last_line(log, progress) == "TASK [Set it up]"
    progress.write_text("lab: login prompt: 120 s ...\n\n")
    later = time.time_ns() + 10**9
    os.utime(progress, ns=(later, later))
    assert last_line(log, progress) == "lab: login prompt: 120 s ..."
