"""What a terminal shows of a run: a live table while it lasts, and the report at its end."""

import io
import logging
import re
from collections.abc import Callable

import pytest
from rich.console import Console, RenderableType

from {{ cookiecutter.package_name }}.observers import progress
from {{ cookiecutter.package_name }}.observers.advice import advise
from {{ cookiecutter.package_name }}.observers.diagnosis import Diagnosis
from {{ cookiecutter.package_name }}.observers.progress import Progress
from {{ cookiecutter.package_name }}.observers.report_table import ReportTable
from {{ cookiecutter.package_name }}.pipeline_core import BaseWorker, PipelineManager

pytestmark = pytest.mark.usefixtures("no_thread_left")

Until = Callable[[Callable[[], object]], None]


class Sift(BaseWorker[int, int]):
    """Drops every second item, and fails on number 7."""

    def process_item(self, item: int) -> int | None:
        if item == 7:
            raise ValueError("seven")
        return None if item % 2 else item


@pytest.fixture
def pipeline() -> PipelineManager:
    return PipelineManager(name="numbers", on_error="skip").add_worker(Sift, name="sift")


def text(shown: RenderableType, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as captured:
        console.print(shown)
    return captured.get()


def test_the_live_table_counts_filtered_and_failed_items_as_done(pipeline: PipelineManager, until: Until) -> None:
    screen = io.StringIO()
    with Progress(pipeline, Console(file=screen, force_terminal=True, width=100), lambda: 40) as live:
        list(pipeline.run(range(40)))
        until(lambda: "40/40" in screen.getvalue())
    assert re.search(r"numbers .*100% 40/40 .*/s", text(live.table(), 100))
    assert re.search(r"sift +40 +20 +·{8} +\d+% +1\n", text(live.table(), 100))
    assert all(len(line.rstrip()) <= 40 for line in text(live.table(), 40).splitlines())


def test_without_a_terminal_there_is_a_log_line_now_and_then(
    pipeline: PipelineManager, until: Until, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "LOG_EVERY", 0.01)
    caplog.set_level(logging.INFO)
    with Progress(pipeline, Console(file=io.StringIO()), lambda: 40):
        list(pipeline.run(range(40)))
        until(lambda: "numbers: 100% 40/40" in caplog.text)


@pytest.mark.parametrize("width", [80, 200])
def test_the_report_says_what_became_of_the_items_and_what_limits_the_run(
    pipeline: PipelineManager, width: int
) -> None:
    diagnosis = Diagnosis(pipeline)
    list(pipeline.run(range(40)))
    reading = diagnosis.reading()
    said = text(ReportTable(reading), width)
    assert re.match(r"numbers: completed after .+, 20\s+delivered,\s+19\s+filtered,\s+1\s+failed", said)
    assert re.search(r"sift +1 +40 +20 +19 +1 ", said)
    assert " ".join(said.split()).endswith(advise(reading))
    assert all(len(line.rstrip()) <= width for line in said.splitlines())
