"""The report at the end of a run, in a terminal."""

import io
import re
from dataclasses import replace

import pytest

from diagnosis_helpers import needs

needs("observers.report_table", "rich")

from my_pipeline.observers.report_table import ReportTable, bar
from my_pipeline.pipeline_core import BaseWorker, PipelineManager, PipelineReport
from rich.console import Console


class Drops(BaseWorker[int, int]):
    def process_item(self, item: int) -> int | None:
        return item if item % 4 else None


@pytest.fixture
def report() -> PipelineReport:
    pipeline = PipelineManager(name="numbers").add_worker(Drops, name="a_stage_with_a_long_name", workers=2)
    list(pipeline.run(range(2000)))
    return pipeline.report


def text(report: PipelineReport, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(ReportTable(report))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_it_says_what_became_of_the_items_and_what_limits_the_run(report: PipelineReport) -> None:
    said = text(report, 200)
    assert re.match(r"numbers: completed after .+, 1500 delivered, 0 failed, .+/s\n", said)
    assert re.search(r"a_stage_with_a_long_name +2 +2,000 +1,500 +500 ", said)
    assert "failed " not in said.split("\n", 1)[1]
    assert str(report.verdict).split()[0] in said


@pytest.mark.parametrize("width", [40, 80, 100, 140])
def test_it_fits_the_terminal_with_every_number(width: int, report: PipelineReport) -> None:
    lines = text(report, width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    if width < 80:
        return  # Some headings are cut.
    assert all(
        any(word in line for line in lines) for word in ("received", "filtered", "busy", "input", "p99", "1,500")
    )


def test_a_run_that_has_not_begun_has_a_report_too() -> None:
    pipeline = PipelineManager(name="numbers").add_worker(Drops)
    assert "numbers: new after 0 s, 0 delivered, 0 failed" in text(pipeline.report, 100)


def test_a_bar_shows_how_full_a_queue_is() -> None:
    pipeline = PipelineManager(queue_size=8).add_worker(Drops)
    (stage,) = pipeline.report.stages
    assert bar(stage) == "········"
    assert bar(replace(stage, queued=4)) == "████····"
    assert bar(replace(stage, queued=8)) == "████████"
