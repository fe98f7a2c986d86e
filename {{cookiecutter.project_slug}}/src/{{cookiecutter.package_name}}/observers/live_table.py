"""How far a run is, as a table for a terminal of any size."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..pipeline_core import PipelineReport, StageReport
from .columns import LEAST, Columns
from .reading import shares_between
from .report_table import BETWEEN, bar
from .units import duration, rate

FIRST = ("busy", "queue", "in", "failed", "out", "rate", "replaced", "passed")  # What a narrow terminal shows first.
NAME = 8  # Columns of the terminal that a name may have, or half of all if that is more: a longer one is folded.


class Glance(NamedTuple):
    """How far a run is: its report now and some seconds ago, items done, items a second since then, and what is known of
    its end: how many items there will be, and the seconds left."""

    before: PipelineReport
    now: PipelineReport
    done: int
    speed: float
    total: int | None
    left: float | None

    def numbers(self) -> list[str]:
        """How far the whole run is."""
        done = f"{self.done:,} items"
        if self.total:
            done = f"{self.done / self.total:.0%} {self.done:,}/{self.total:,}"
        left = "" if self.left is None else f"{duration(self.left)} left"
        return [part for part in (done, f"{rate(self.speed)}/s", left) if part]


def live_table(name: str, glance: Glance, console: Console) -> RenderableType:
    """The whole run, and a row a stage. Where there are more stages than lines, the busiest ones, and how many are not shown."""
    width, height = console.size
    heading = _heading(name, glance, width)
    stages = glance.now.stages
    shares = [shares_between(*pair) for pair in zip(glance.before.stages, stages, strict=True)]
    names = [Text(stage.name, overflow="fold") for stage in stages]
    longest = max(text.cell_len for text in names)
    columns = _fitting(_columns(stages, shares), width - min(longest, max(NAME, width // 2)))
    name_width = min(longest, width - sum(map(_width, columns.items())))

    def lines(text: Text, width: int) -> int:
        return len(text.wrap(console, width, overflow="fold"))

    rows, hidden = list(range(len(stages))), []
    room = height - 2 - lines(heading, width)  # One for the headings, and one for the cursor.
    tall = [lines(text, name_width) for text in names]
    if sum(tall) > room:
        rows.sort(key=lambda row: shares[row]["busy"], reverse=True)
        fit = sum(used <= room - 2 for used in accumulate(tall[row] for row in rows))
        busy = f"at most {shares[rows[fit]]['busy']:.0%} busy"
        hidden = [Text(_joined([f"and {len(rows) - fit} more,", busy], width), style="dim")]
        rows = sorted(rows[:fit])
    table = Table.grid(padding=(0, BETWEEN, 0, 0))
    table.add_column(width=name_width)
    for _ in columns:
        table.add_column(justify="right", no_wrap=True)
    table.add_row("", *columns, style="dim")
    for row in rows:
        red = {"failed"} if stages[row].failed else set()
        table.add_row(names[row], *(Text(texts[row], "red" if head in red else "") for head, texts in columns.items()))
    return Group(heading, table, *hidden)


def _columns(stages: Sequence[StageReport], shares: Sequence[dict[str, float]]) -> Columns:
    """All that there is to see."""
    columns = {
        "in": [f"{stage.received:,}" for stage in stages],
        "out": [f"{stage.emitted:,}" for stage in stages],
        "queue": [bar(stage.queued / stage.queue_size) for stage in stages],
        "busy": [f"{share['busy']:.0%}" for share in shares],
        "failed": [f"{stage.failed:,}" for stage in stages],
    }
    if any(share["waiting_for_rate"] >= LEAST for share in shares):
        columns["rate"] = [f"{share['waiting_for_rate']:.0%}" for share in shares]
    for name in ("passed", "replaced"):
        if any(getattr(stage, name) for stage in stages):
            columns[name] = [f"{getattr(stage, name):,}" for stage in stages]
    return columns


def _width(column: tuple[str, list[str]]) -> int:
    heading, texts = column
    return BETWEEN + max(map(len, (heading, *texts)))


def _fitting(columns: Columns, room: int) -> Columns:
    """Those for which there is room."""
    shown = set()
    for heading in (heading for heading in FIRST if heading in columns):
        needed = _width((heading, columns[heading]))
        if needed <= room:
            room -= needed
            shown.add(heading)
    return {heading: texts for heading, texts in columns.items() if heading in shown}


def _heading(name: str, glance: Glance, width: int) -> Text:
    """One line with a bar where there is room, and otherwise as many as it takes."""
    parts = [name, *glance.numbers()]
    room = width - sum(map(len, parts)) - len(parts) - 1
    if glance.total and room >= 5:
        parts.insert(1, bar(glance.done / glance.total, min(30, room)))
    text = Text(_joined(parts, width), overflow="fold")
    text.stylize("bold", 0, len(name))
    return text


def _joined(parts: Sequence[str], width: int) -> str:
    """The parts in lines of that width, none of them cut in two."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + 1 + len(part) <= width:
            lines[-1] += f" {part}"
        else:
            lines.append(part)
    return "\n".join(lines)
