"""`stiefel-agent status`, once or again and again."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

from stiefel_agent.face.report import Report, Traffic, document, text

SAMPLE_SECONDS = 0.5
"""Between the two looks that a rate takes."""
WATCH_SECONDS = 1.0
_TOP = "\x1b[H\x1b[J"
"""console_codes(4): home, and clear what is below."""


def show(look: Callable[[], Report], *, as_json: bool, watch: bool) -> None:
    """Print how a machine stands; with `watch` every second, until somebody ends it. With JSON a line each time."""
    before, at = look(), time.monotonic()
    if not watch and before.traffic is None:
        _print(before, None, as_json=as_json, top=False)
        return
    while True:
        time.sleep(WATCH_SECONDS if watch else SAMPLE_SECONDS)
        report, now = look(), time.monotonic()
        rates = _rates(before, report, now - at)
        _print(report, rates, as_json=as_json, top=watch and sys.stdout.isatty())
        if not watch:
            return
        before, at = report, now


def _rates(before: Report, after: Report, seconds: float) -> Traffic | None:
    return after.traffic.per_second(before.traffic, seconds) if before.traffic and after.traffic else None


def _print(report: Report, rates: Traffic | None, *, as_json: bool, top: bool) -> None:
    said = json.dumps(document(report, rates)) if as_json else text(report, rates)
    print(_TOP + said if top and not as_json else said, flush=True)
