"""The report of a run for a terminal: a table with a row a stage, and what limits the run."""

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..pipeline_core import PipelineReport, StageReport
from .units import duration, rate

RARE = ("filtered", "failed", "aborted", "retried")  # Columns that are there if any stage has such items.


def report_table(report: PipelineReport) -> Group:
    speed = f", {rate(report.delivered / report.seconds)}/s" if report.seconds and report.delivered else ""
    counts = f"{report.delivered} delivered{speed}, {report.failed} failed"
    lines: list[RenderableType] = [Text(f"{report.name}: {report.state} after {report.seconds:.2f} s, {counts}")]
    counted = ["received", "processed", *(fate for fate in RARE if any(getattr(s, fate) for s in report.stages))]
    in_order = any(stage.waiting_for_order >= 0.005 for stage in report.stages)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    waits = ["input", "output", *(["order"] if in_order else [])]
    headings = ["workers", *counted, "busy", *(f"waits: {wait}" for wait in waits), "CPU", "p50", "p95", "p99"]
    for heading in ("stage", *headings):
        table.add_column(heading, justify="left" if heading == "stage" else "right", overflow="fold")
    for stage in report.stages:
        counts_of_stage = [f"{getattr(stage, count)}" for count in ("workers", *counted)]
        shares = [stage.busy, *(getattr(stage, f"waiting_for_{wait}") for wait in waits), stage.busy * stage.computing]
        times = [duration(seconds) for seconds in (stage.p50, stage.p95, stage.p99)]
        table.add_row(stage.name, *counts_of_stage, *(f"{share:.0%}" for share in shares), *times)
    lines.append(table)
    if report.delivered:
        lines.append(Text(str(report.verdict)))
    return Group(*lines)


def bar(stage: StageReport, width: int = 8) -> str:
    """How full the queue in front of a stage is."""
    full = min(width, round(stage.queued / stage.queue_size * width))
    return "█" * full + "·" * (width - full)
