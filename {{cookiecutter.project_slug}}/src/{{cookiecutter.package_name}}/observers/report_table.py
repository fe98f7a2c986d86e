"""The report of a run for a terminal: a table with a row a stage, and what limits the run."""

from rich import box
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from ..pipeline_core import PipelineReport, StageReport
from .units import duration, rate

RARE = ("filtered", "failed", "aborted", "retried")  # Columns that are there if any stage has such items.

Column = tuple[str, list[str]]  # A heading, and a text for each stage.


class ReportTable:
    """Renders a report: one table where it fits, else one for the counts and one for the times."""

    def __init__(self, report: PipelineReport) -> None:
        self.report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        report = self.report
        speed = f", {rate(report.delivered / report.seconds)}/s" if report.seconds and report.delivered else ""
        counted = f"{report.delivered} delivered, {report.failed} failed{speed}"
        yield Text(f"{report.name}: {report.state} after {duration(report.seconds)}, {counted}")
        names = [stage.name for stage in report.stages]
        counts, times = self._counts(), self._times()
        together = _table(names, counts + times)
        if console.measure(together, options=options.update(width=1000)).minimum <= options.max_width:
            yield together
        else:
            yield _table(names, counts)
            yield _table(names, times)
        if report.delivered:
            yield Text(str(report.verdict))

    def _counts(self) -> list[Column]:
        stages = self.report.stages
        there = [fate for fate in RARE if any(getattr(stage, fate) for stage in stages)]
        return [
            (count, [f"{getattr(stage, count):,}" for stage in stages])
            for count in ("workers", "received", "processed", *there)
        ]

    def _times(self) -> list[Column]:
        stages = self.report.stages
        waits = ["input", "output"] + ["order"] * any(stage.waiting_for_order >= 0.005 for stage in stages)
        return [
            ("busy", [f"{stage.busy:.0%}" for stage in stages]),
            *((f"waits:\n{wait}", [f"{getattr(s, f'waiting_for_{wait}'):.0%}" for s in stages]) for wait in waits),
            ("CPU", [f"{stage.busy * stage.computing:.0%}" for stage in stages]),
            *((share, [duration(getattr(stage, share)) for stage in stages]) for share in ("p50", "p95", "p99")),
        ]


def _table(names: list[str], columns: list[Column]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    longest = max(map(len, names), default=0)
    table.add_column("stage", overflow="fold", min_width=min(longest, 16), vertical="bottom")
    for heading, _ in columns:
        table.add_column(heading, justify="right", no_wrap=True, vertical="bottom")
    for name, *texts in zip(names, *(texts for _, texts in columns), strict=True):
        table.add_row(name, *texts)
    return table


def bar(stage: StageReport, width: int = 8) -> str:
    """How full the queue in front of a stage is."""
    full = min(width, round(stage.queued / stage.queue_size * width))
    return "█" * full + "·" * (width - full)
