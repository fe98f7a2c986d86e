"""What is known of a run over time: bounded, not faster than asked for, and complete at its end."""

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from diagnosis_helpers import needs

needs("observers.history")

from my_pipeline.observers import history
from my_pipeline.observers.history import History
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager


class Slow(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        time.sleep(0.002)
        if item < 0:
            raise ValueError("negative")
        return item


class Held(BaseWorker[int, int]):
    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    def process_item(self, item: int) -> int:
        self.gate.wait()
        return item


def test_samples_lead_from_the_start_to_the_end_of_the_run(
    gate: threading.Event, until: Callable[[Callable[[], object]], None]
) -> None:
    pipeline = PipelineManager(queue_size=5).add_worker(Held, worker_args={"gate": gate})
    with History(pipeline, interval=0.01) as watched:
        pipeline.start(range(50))
        until(lambda: watched.samples[-1].stages[0].received == 1 and watched.samples[-1].stages[0].queued >= 4)
        gate.set()
        pipeline.wait_for_completion()
    first, *between, last = watched.samples
    assert (first.seconds, first.read, first.delivered, first.stages[0].queue_size) == (0, 0, 0, 5)
    assert any((sample.delivered, sample.stages[0].received) == (0, 1) for sample in between)
    assert (last.seconds, last.read, last.delivered) == (pipeline.report.seconds, 50, 50)
    assert (last.stages[0].received, last.stages[0].emitted, last.stages[0].queued) == (50, 50, 0)
    moments = [sample.seconds for sample in watched.samples]
    assert moments == sorted(set(moments))


def test_it_never_samples_faster_than_the_interval() -> None:
    pipeline = PipelineManager().add_worker(Slow)
    with History(pipeline, interval=0.02) as watched:
        list(pipeline.run(range(50)))
    moments = [sample.seconds for sample in watched.samples[1:-1]]
    assert all(later - earlier >= 0.019 for earlier, later in pairwise(moments))


def test_a_long_run_is_thinned_out_and_then_sampled_less_often(
    monkeypatch: pytest.MonkeyPatch, until: Callable[[Callable[[], object]], None]
) -> None:
    monkeypatch.setattr(history, "MOST", 5)
    pipeline = PipelineManager().add_worker(Slow)
    with History(pipeline, interval=0.001) as watched:
        results = pipeline.run(iter(int, 1))
        next(results)
        until(lambda: watched.interval > 0.001)
        assert 3 <= len(watched.samples) < 5
        until(lambda: watched.interval > 0.004)
        results.close()
    assert len(watched.samples) <= 5
    assert watched.samples[0].seconds == 0
    assert watched.samples[-1].delivered == pipeline.report.delivered


def test_leaving_does_not_wait_for_the_next_sample() -> None:
    pipeline = PipelineManager().add_worker(Slow)
    with History(pipeline, interval=1e6) as watched:  # seconds: a test that waited for it would not end.
        list(pipeline.run(range(3)))
    assert [sample.delivered for sample in watched.samples] == [0, 3]


def test_a_run_that_fails_has_its_last_sample_too() -> None:
    pipeline = PipelineManager().add_worker(Slow)
    with pytest.raises(PipelineError), History(pipeline, interval=60) as watched:
        list(pipeline.run([1, 2, -1, 3]))
    assert watched.samples[-1].stages[0].failed == 1


def test_before_the_start_and_after_the_end_one_sample_stands_for_all(
    until: Callable[[Callable[[], object]], None],
) -> None:
    pipeline = PipelineManager().add_worker(Slow)
    with History(pipeline, interval=0.001) as watched:
        for _ in range(3):
            latest = watched.samples[-1]
            until(lambda latest=latest: watched.samples[-1] is not latest)  # type: ignore[misc]
        list(pipeline.run([]))
        for _ in range(3):
            latest = watched.samples[-1]
            until(lambda latest=latest: watched.samples[-1] is not latest)  # type: ignore[misc]
    assert len([sample for sample in watched.samples if not sample.seconds]) == 1
    assert len([sample for sample in watched.samples if sample.seconds == pipeline.report.seconds]) == 1


def test_it_has_one_thread_and_only_while_it_watches() -> None:
    before = threading.active_count()
    watched = History(PipelineManager().add_worker(Slow))
    assert threading.active_count() == before
    with watched:
        assert threading.active_count() == before + 1
    assert threading.active_count() == before
