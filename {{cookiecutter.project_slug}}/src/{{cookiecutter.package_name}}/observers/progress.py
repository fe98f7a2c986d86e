"""Progress while a run goes on: a live table in a terminal or a notebook, and a log line at intervals elsewhere."""

import logging
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from threading import Event, Thread
from typing import NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..pipeline_core import PipelineManager, PipelineReport
from .columns import LEAST
from .reading import finished, shares_between
from .report_table import bar
from .units import duration, rate

logger = logging.getLogger(__package__)

REFRESHES = 4  # a second, of the live table
LOG_EVERY = 10.0  # seconds between two log lines
RECENT = 5.0  # seconds over which rates and busy shares are taken
SOMETIMES = {"rate": "waiting_for_rate", "passed": "passed", "replaced": "replaced"}  # Where there is something to see.
NARROW = 70  # Columns of a terminal: a narrower one does not show what matters least.

Total = Callable[[], int | None]


class Glance(NamedTuple):
    """How far a run is: its report now and some seconds ago, items done, items a second since then, and the time left."""

    before: PipelineReport
    now: PipelineReport
    done: int
    speed: float
    left: str


class Progress:
    """Shows how far a run is. A thread of its own reads the manager's report.

    The count of items done never goes backwards. After a stage that yields several outputs for an item it is an estimate:
    where that was too high, the count stands still until the run has caught up. The time left is shown when it is known.

    `total` returns how many items there will be, or None; it is called once, when something is shown first. Logs that go
    through `console` meanwhile, and what is printed, appear above the table. `live=False`: log lines, in a terminal too.
    """

    def __init__(
        self, pipeline: PipelineManager, console: Console, total: Total = lambda: None, *, live: bool = True
    ) -> None:
        self._pipeline, self._console, self._count = pipeline, console, total
        self._seen = deque([(pipeline.report, 0)])  # Reports of the last seconds, each with the items done.
        self._over = Event()
        self._thread = Thread(target=self._watch, name="progress", daemon=True)
        self._live: Live | None = None
        if live and (console.is_terminal or console.is_jupyter):
            printed = sys.stdout is sys.stderr or (sys.stdout is not None and sys.stdout.isatty())
            self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=printed)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        if self._live is not None:
            with suppress(OSError):  # The terminal is gone.
                self._live.stop()

    def _watch(self) -> None:
        while not self._over.wait(1 / REFRESHES if self._live is not None else LOG_EVERY):
            with suppress(OSError):
                if self._live is not None:
                    self._live.update(self.table(), refresh=True)
                else:
                    glance = self._glance()
                    numbers, failed = self._numbers(glance), glance.now.failed
                    logger.info("%s: %s, %d failed", self._pipeline.name, numbers, failed)

    @cached_property
    def _total(self) -> int | None:
        with suppress(OSError):
            return self._count()
        return None

    def table(self) -> RenderableType:
        """The whole run, and a row a stage, as of now."""
        glance, width = self._glance(), self._console.width
        narrow = width < NARROW
        headings = ["", "in", "queue", "busy"] if narrow else ["", "in", "out", "queue", "busy", "failed"]
        for heading, number in SOMETIMES.items():
            if not narrow and any(getattr(stage, number) >= LEAST for stage in glance.now.stages):
                headings.append(heading)
        table = Table.grid(padding=(0, 2, 0, 0))
        for heading in headings:
            table.add_column(justify="right" if heading else "left", overflow="ellipsis", no_wrap=True)
        table.add_row(*headings, style="dim")
        for before, stage in zip(glance.before.stages, glance.now.stages, strict=True):
            shares = shares_between(before, stage)
            cells: dict[str, RenderableType] = {
                "": Text(stage.name),
                "in": f"{stage.received:,}",
                "out": f"{stage.emitted:,}",
                "queue": bar(stage.queued / stage.queue_size),
                "busy": f"{shares['busy']:.0%}",
                "rate": f"{shares['waiting_for_rate']:.0%}",
                "passed": f"{stage.passed:,}",
                "replaced": f"{stage.replaced:,}",
                "failed": Text(f"{stage.failed:,}", style="red" if stage.failed else "dim"),
            }
            table.add_row(*(cells[heading] for heading in headings))
        numbers = self._numbers(glance, narrow)
        if self._total and not narrow:
            numbers = f"{bar(glance.done / self._total, min(30, width - 50))} {numbers}"
        name = Text(self._pipeline.name, style="bold")
        name.truncate(max(8, width - len(numbers) - 1), overflow="ellipsis")
        return Group(Text.assemble(name, " ", numbers, no_wrap=True, overflow="ellipsis"), table)

    def _numbers(self, glance: Glance, narrow: bool = False) -> str:
        """How far the whole run is."""
        done = f"{glance.done:,}"
        if not self._total:
            done += " items"
        elif narrow:
            done = f"{glance.done / self._total:.0%} {done}"
        else:
            done = f"{glance.done / self._total:.0%} {done}/{self._total:,}"
        return f"{done} {rate(glance.speed)}/s {glance.left}".rstrip()

    def _glance(self) -> Glance:
        report, highest = self._pipeline.report, self._seen[-1][1]
        found = finished(report)
        done = max(found, highest)
        self._seen.append((report, done))
        while len(self._seen) > 2 and report.seconds - self._seen[1][0].seconds > RECENT:
            self._seen.popleft()
        before, done_before = self._seen[0]
        speed = (done - done_before) / max(report.seconds - before.seconds, 1e-9)
        remaining = (self._total or 0) - done
        known = self._total and speed and found >= highest and remaining >= 0
        return Glance(before, report, done, speed, f"{duration(remaining / speed)} left" if known else "")
