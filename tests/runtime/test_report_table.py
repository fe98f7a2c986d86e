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


class Stuck(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        time.sleep(0.1 if item == 7 else 0)
        return item


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
    assert re.match(r"numbers: completed after .+, 1,500 delivered, 500 filtered, 0 failed, .+ items/s\n", said)
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


def some_of_everything(width: int) -> str:
    """Items that pass, a worker that is replaced, and a stage that waits for its rate."""
    pipeline = PipelineManager(on_error="skip")
    pipeline.add_worker(Slow, name="some", when=lambda item: item % 4 == 0)
    pipeline.add_worker(Stuck, name="stuck", timeout=0.05).add_worker(Slow, name="asks", rate_limit=200, workers=2)
    diagnosis = Diagnosis(pipeline)
    list(pipeline.run(range(40)))
    return text(diagnosis.reading(), width)


def test_columns_for_what_is_seldom_come_where_there_is_something_to_see(reading: Reading) -> None:
    plain, said = text(reading, 200), some_of_everything(200)
    assert not any(word in plain for word in ("passed", "replaced", "rate"))
    headings = said.splitlines()[2].split()
    counted = ["stage", "workers", "received", "processed", "passed", "failed", "replaced", "busy"]
    assert [heading for heading in headings if heading != "order"][:11] == [*counted, "input", "output", "rate"]
    assert re.search(r"some +1 +40 +10 +30 +0 +0 ", said)
    assert re.search(r"stuck +1 +40 +39 +0 +1 +1 ", said)
    words = " ".join(said.split())
    assert (
        "stuck replaced 1 worker whose calls took longer than its timeout; what was left behind may still run" in words
    )


@pytest.mark.parametrize("width", [40, 80])
def test_columns_for_what_is_seldom_fit_too(width: int) -> None:
    lines = some_of_everything(width).splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    assert all(any(word in line for line in lines) for word in ("passed", "replaced", "rate", "30", "40"))
    assert "…" not in "".join(lines)
