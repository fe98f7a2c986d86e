"""Progress while a run goes on: a live table in a terminal or a notebook, and a log line at intervals elsewhere."""

import logging
import sys
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from threading import Event, Thread
from typing import Self

from rich.console import Console, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..pipeline_core import PipelineManager
from .live_table import Glance, live_table
from .reading import finished

logger = logging.getLogger(__package__)

REFRESHES = 4  # a second, of the live table
LOG_EVERY = 10.0  # seconds between two log lines
RECENT = 5.0  # seconds over which rates and busy shares are taken

Total = Callable[[], int | None]


class NotebookLive:
    """What Live is for a terminal. Rich's own needs ipywidgets in a notebook, and this does not."""

    def start(self) -> None:
        self._shown = import_module("IPython.display").display(Text(), display_id=True)

    def update(self, table: RenderableType, *, refresh: bool) -> None:
        grid = Table.grid()  # A notebook can show one, and not any renderable.
        grid.add_row(table)
        self._shown.update(grid)

    def stop(self) -> None:
        self._shown.update(Text())


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
        self._live: Live | NotebookLive | None = None
        if live and console.is_jupyter:
            self._live = NotebookLive()
        elif live and console.is_terminal:
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
                    numbers = " ".join(glance.numbers())
                    logger.info("%s: %s, %d failed", self._pipeline.name, numbers, glance.now.failed)

    @cached_property
    def _total(self) -> int | None:
        with suppress(OSError):
            return self._count()
        return None

    def table(self) -> RenderableType:
        """The whole run, and a row a stage, as of now."""
        return live_table(self._pipeline.name, self._glance(), self._console)

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
        return Glance(before, report, done, speed, self._total, remaining / speed if known else None)
