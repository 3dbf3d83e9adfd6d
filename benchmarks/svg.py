"""Bars as a picture (SVG 1.1). Pure: text comes out."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

WIDTH, BAR, LINE, TITLE_LINE = 830, 16, 22, 16
"""Pixels: of the picture, of a bar's height, and from one line to the next, also of one title."""
LEFT, RIGHT = 280, 110
"""Pixels beside the bars: for what they are, and for their figures."""
TITLE_CHARACTERS = 98
"""What is sure to fit into one line of a title: letters of this font are eight pixels wide, most less."""
HALO = 'paint-order="stroke" stroke="white" stroke-width="4"'
OURS, PEER, GOAL = "#2a7f62", "#9aa5b1", "#c0392b"


@dataclass(frozen=True)
class Bar:
    """One bar: what it is, how long, what is written at its end."""

    label: str
    value: float
    text: str
    ours: bool = False


@dataclass(frozen=True)
class Group:
    """Bars of one unit, drawn to one scale, and where the goal is on it."""

    title: str
    bars: tuple[Bar, ...]
    goal: float | None = None

    @property
    def lines(self) -> list[str]:
        """The title, line by line."""
        return textwrap.wrap(self.title, TITLE_CHARACTERS)

    @property
    def title_height(self) -> int:
        """Pixels that the title takes beyond its first line."""
        return (len(self.lines) - 1) * TITLE_LINE


def _group(group: Group, top: int) -> Iterator[str]:
    """Yield a group's elements, from `top` down: the goal between bars and words, for these must be read."""
    room = WIDTH - LEFT - RIGHT
    longest = max([*(bar.value for bar in group.bars), group.goal or 0.0]) or 1.0
    for number, line in enumerate(group.lines):
        yield f'<text x="8" y="{top + 14 + number * TITLE_LINE}" font-weight="bold">{escape(line)}</text>'
    top += group.title_height
    words = []
    for number, bar in enumerate(group.bars, 1):
        y, length = top + number * LINE, bar.value / longest * room
        fill = OURS if bar.ours else PEER
        yield f'<rect x="{LEFT}" y="{y}" width="{max(length, 1):.1f}" height="{BAR}" rx="2" fill="{fill}"/>'
        words.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(bar.label)}</text>')
        words.append(f'<text x="{LEFT + length + 6:.1f}" y="{y + 13}" {HALO}>{escape(bar.text)}</text>')
    if group.goal is not None:
        x, bottom = LEFT + group.goal / longest * room, top + (len(group.bars) + 1) * LINE
        yield f'<line x1="{x:.1f}" y1="{top + LINE - 4}" x2="{x:.1f}" y2="{bottom}" stroke="{GOAL}" stroke-width="2"/>'
    yield from words


def picture(groups: Sequence[Group]) -> str:
    """Return a picture with one group below the other; a red line is the goal of its group."""
    body: list[str] = []
    top = 8
    for group in groups:
        body += _group(group, top)
        top += (len(group.bars) + 2) * LINE + group.title_height
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{top}" viewBox="0 0 {WIDTH} {top}"'
    white = f'<rect width="{WIDTH}" height="{top}" fill="white"/>'
    return "\n".join([f'{head} font-family="sans-serif" font-size="13">', white, *body, "</svg>"]) + "\n"
