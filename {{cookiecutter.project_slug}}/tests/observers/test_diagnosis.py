"""What is read of a run: the time of its calls, and which part limits it, why, and what to change."""

import threading
import time
from contextlib import AbstractContextManager, nullcontext

import pytest

from {{ cookiecutter.package_name }}.observers.advice import advise
from {{ cookiecutter.package_name }}.observers.diagnosis import Diagnosis
from {{ cookiecutter.package_name }}.observers.reading import Reading
from {{ cookiecutter.package_name }}.observers.verdict import Change, judge
from {{ cookiecutter.package_name }}.pipeline_core import BaseWorker, PipelineManager

pytestmark = pytest.mark.usefixtures("no_thread_left")


class Waits(BaseWorker[int, int]):
    """Waits, one call at a time if the calls share a lock."""

    def __init__(self, seconds: float, lock: AbstractContextManager[object] = nullcontext()) -> None:  # noqa: B008
        self.seconds, self.lock = seconds, lock

    def process_item(self, item: int) -> int:
        with self.lock:
            time.sleep(self.seconds)
        return item


def run(pipeline: PipelineManager, items: int, options: dict[str, str] | None = None) -> Reading:
    diagnosis = Diagnosis(pipeline, options)
    list(pipeline.run(range(items)))
    return diagnosis.reading()


def test_a_stage_that_waits_is_advised_more_workers_and_they_bring_most_of_what_was_foretold() -> None:
    def build(workers: int) -> PipelineManager:
        return PipelineManager().add_worker(Waits, name="fetch", workers=workers, worker_args={"seconds": 0.02})

    reading = run(build(1), 20, {"workers": "--workers {part}={then}"})
    verdict = judge(reading)
    (change,) = verdict.changes
    assert (verdict.part, verdict.reason, change) == ("fetch", "waits", Change("fetch", "workers", 1, change.then))
    assert verdict.guess
    assert 4 <= change.then <= 8  # Fewer where the machine is busy.
    assert f"--workers fetch={change.then}" in advise(reading)
    assert "a guess" in advise(reading)
    half_of_it = (verdict.items_per_second + verdict.expected) / 2
    assert any(run(build(change.then), 160).items_per_second > half_of_it for _ in range(3))


def test_behind_a_lock_of_its_own_no_stage_is_advised_more_workers() -> None:
    pipeline = PipelineManager()
    pipeline.add_worker(Waits, name="store", workers=4, worker_args={"seconds": 0.01, "lock": threading.Lock()})
    reading = run(pipeline, 60)
    assert (judge(reading).reason, judge(reading).changes) == ("contention", ())
    assert "a lock, a limiter or a server seems to hold them up" in advise(reading)


def test_shares_add_up_and_quantiles_are_those_of_the_calls() -> None:
    pipeline = PipelineManager().add_worker(Waits, name="first", worker_args={"seconds": 0.01})
    reading = run(pipeline.add_worker(Waits, name="second", worker_args={"seconds": 0.0}), 20)
    for stage in reading.stages:
        shares = stage.busy, stage.waiting_for_input, stage.waiting_for_output, stage.waiting_for_order
        assert sum(shares) == pytest.approx(1)
    stage = reading.stages[0]
    assert stage.times.calls == 20
    assert 0.0095 <= stage.p50 <= stage.p95 <= stage.p99
