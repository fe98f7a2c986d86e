"""Progress while a run goes on: a live table in a terminal or a notebook, and a log line now and then elsewhere."""

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from types import TracebackType
from typing import NamedTuple, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ..pipeline_core import PipelineManager, PipelineReport, StageReport
from .report_table import bar
from .units import duration, rate

logger = logging.getLogger(__package__)

REFRESHES = 4  # a second, of the live table
LOG_EVERY = 10.0  # seconds between two log lines
RECENT = 5.0  # seconds over which rates and busy shares are taken
NARROW = 70  # Columns of a terminal below which a stage's row leaves out what matters least.


class Moment(NamedTuple):
    """The report at one moment, and how many items were done: never fewer than at an earlier moment."""

    report: PipelineReport
    done: int


class Progress:
    """Shows how far the run is. It looks at the manager's report from a thread of its own.

    The count of items done never goes backwards. Where results of a stage wait for their turn it runs ahead, and then
    stands still until the rest has caught up.

    `total` says how many items there will be, or None; it is called in that thread, once. Logs that go through
    `console` meanwhile appear above the table.
    """

    def __init__(
        self, pipeline: PipelineManager, console: Console, total: Callable[[], int | None] = lambda: None
    ) -> None:
        self._pipeline, self._console, self._count = pipeline, console, total
        self._total: int | None = None
        self._seen: deque[Moment] = deque()
        self._over = Event()
        self._thread = Thread(target=self._watch, name="progress", daemon=True)
        self._live: Live | None = None
        if console.is_terminal or console.is_jupyter:
            self._live = Live(console=console, auto_refresh=False, transient=True, redirect_stdout=False)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        if self._live is not None:
            with suppress(OSError):  # The terminal is gone.
                self._live.stop()

    def _watch(self) -> None:
        with suppress(OSError):
            self._total = self._count()
        while not self._over.wait(1 / REFRESHES if self._live is not None else LOG_EVERY):
            if self._live is None:
                logger.info("%s", self._line())
            else:
                with suppress(OSError):
                    self._live.update(self.table(), refresh=True)

    def table(self) -> RenderableType:
        """The whole, and a row a stage, as of now."""
        before, now = self._glance()
        narrow = self._console.width < NARROW
        stages = Table.grid(padding=(0, 2, 0, 0))
        headings = ["", "in", "out", "queue", "busy", "failed"] if not narrow else ["", "in", "queue", "busy"]
        for heading in headings:
            wide = heading == ""
            stages.add_column(heading, justify="left" if wide else "right", overflow="ellipsis", no_wrap=True)
        stages.add_row(*(Text(heading, style="dim") for heading in headings))
        for old, stage in zip(before.report.stages, now.report.stages, strict=True):
            busy = f"{_recently_busy(old, stage, before.report.seconds, now.report.seconds):.0%}"
            row: list[RenderableType] = [
                Text(stage.name),
                f"{stage.received:,}",
                f"{stage.emitted:,}",
                bar(stage),
                busy,
            ]
            failed = Text(f"{stage.failed:,}", style="red" if stage.failed else "dim")
            stages.add_row(*(row[:2] + row[3:] if narrow else [*row, failed]))
        return Group(self._headline(before, now), stages)

    def _headline(self, before: Moment, now: Moment) -> RenderableType:
        done, speed = now.done, _rate(before, now)
        line = Table.grid(padding=(0, 1, 0, 0))
        parts: list[RenderableType] = [Text(self._pipeline.name, style="bold", overflow="ellipsis", no_wrap=True)]
        if self._total:
            width = max(8, min(30, self._console.width - 50))
            parts += [ProgressBar(total=self._total, completed=done, width=width)]
            parts += [Text(f"{done / self._total:.0%}"), Text(f"{done:,}/{self._total:,}")]
        else:
            parts.append(Text(f"{done:,} items"))
        parts.append(Text(f"{rate(speed)}/s"))
        if self._total and speed:
            parts.append(Text(f"{duration((self._total - done) / speed)} left"))
        for _ in parts:
            line.add_column(no_wrap=True)
        line.add_row(*parts)
        return line

    def _line(self) -> str:
        before, now = self._glance()
        done, speed = now.done, _rate(before, now)
        of = f" of {self._total:,}" if self._total else ""
        left = f", {duration((self._total - done) / speed)} left" if self._total and speed else ""
        return f"{self._pipeline.name}: {done:,}{of} items, {rate(speed)}/s{left}, {now.report.failed} failed"

    def _glance(self) -> tuple[Moment, Moment]:
        """A moment some seconds ago, or the first one, and now."""
        report = self._pipeline.report
        now = Moment(report, max(finished(report), self._seen[-1].done if self._seen else 0))
        self._seen.append(now)
        while len(self._seen) > 2 and report.seconds - self._seen[1].report.seconds > RECENT:
            self._seen.popleft()
        return self._seen[0], now


def finished(report: PipelineReport) -> int:
    """How many of the items read are done with, whatever became of them.

    Behind a stage that yields several outputs for an item, so many together stand for that item.
    """
    inside, outputs = 0.0, 1.0
    for stage in report.stages:
        done = stage.processed + stage.filtered + stage.failed + stage.aborted
        inside += (stage.queued + stage.received - done) / outputs
        outputs *= max(1.0, stage.emitted / max(1, stage.processed))
    return max(0, int(report.read - inside))


def _rate(before: Moment, now: Moment) -> float:
    """Items done a second."""
    if before is now:
        return now.done / now.report.seconds if now.report.seconds else 0.0
    return (now.done - before.done) / max(now.report.seconds - before.report.seconds, 1e-9)


def _recently_busy(old: StageReport, stage: StageReport, then: float, now: float) -> float:
    if now <= then:
        return stage.busy
    return min(1.0, max(0.0, (stage.busy * now - old.busy * then) / (now - then)))
