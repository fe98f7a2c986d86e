"""The report at the end of a run, in a terminal."""

import io
import re
import time

import pytest

from diagnosis_helpers import needs

needs("observers.report_table", "rich")

from my_pipeline.observers.advice import advise
from my_pipeline.observers.diagnosis import Diagnosis
from my_pipeline.observers.reading import Reading
from my_pipeline.observers.report_table import ReportTable, bar
from my_pipeline.pipeline_core import BaseWorker, PipelineManager
from rich.console import Console


class Drops(BaseWorker[int, int]):
    def process_item(self, item: int) -> int | None:
        return item if item % 4 else None


class Slow(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        time.sleep(0.001)
        return item


@pytest.fixture
def reading() -> Reading:
    pipeline = PipelineManager(name="numbers").add_worker(Drops, name="a_stage_with_a_long_name", workers=2)
    diagnosis = Diagnosis(pipeline)
    list(pipeline.run(range(2000)))
    return diagnosis.reading()


def text(reading: Reading, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(ReportTable(reading))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_it_says_what_became_of_the_items_and_what_limits_the_run(reading: Reading) -> None:
    said = text(reading, 200)
    assert re.match(r"numbers: completed after .+, 1,500 delivered, 0 failed, .+ items/s\n", said)
    assert re.search(r"a_stage_with_a_long_name +2 +2,000 +1,500 +500 ", said)
    assert "failed " not in said.split("\n", 1)[1]
    assert " ".join(said.split()).endswith(advise(reading))


@pytest.mark.parametrize("width", [40, 80, 100, 140])
def test_it_fits_the_terminal_with_every_number(width: int, reading: Reading) -> None:
    lines = text(reading, width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    words = "a_stage_with_a_l", "received", "filtered", "busy", "input", "p50", "p99", "2,000", "1,500"
    assert all(any(word in line for line in lines) for word in words)
    assert "…" not in "".join(lines)


def test_a_run_that_has_not_begun_has_a_report_too() -> None:
    pipeline = PipelineManager(name="numbers").add_worker(Drops)
    assert "numbers: new after 0 s, 0 delivered, 0 failed" in text(Diagnosis(pipeline).reading(), 100)


def test_a_bar_shows_a_share() -> None:
    assert [bar(share) for share in (0.0, 0.5, 1.0, 1.5)] == ["········", "████····", "████████", "████████"]


def test_items_that_a_stop_has_aborted_do_not_make_a_run_look_faster() -> None:
    pipeline = PipelineManager(queue_size=500).add_worker(Slow)
    diagnosis = Diagnosis(pipeline)
    results = pipeline.run(range(600))
    for _ in range(20):
        next(results)
    results.close()
    reading = diagnosis.reading()
    assert reading.stages[0].aborted > 100
    assert reading.items_per_second < 1000, "as fast as it sleeps"
