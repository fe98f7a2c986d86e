"""What a report says of the time of calls, by a clock that moves only when a call says so."""

import random
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineManager, StageReport

from watch import replace_in_core


class Clock:
    """Seconds since the start."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def half(self) -> float:
        return self.now / 2

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Of all the time that passes, half is CPU time."""
    clock = Clock()
    replace_in_core(monkeypatch, time.perf_counter, clock)
    replace_in_core(monkeypatch, time.thread_time, clock.half)
    return clock


class Takes(BaseWorker[int, int]):
    """Each call takes the next of these seconds; item 13 fails."""

    def __init__(self, clock: Clock, seconds: Sequence[float]) -> None:
        self.clock, self.seconds = clock, seconds

    def process_item(self, item: int) -> Any:
        self.clock.passes(self.seconds[item % len(self.seconds)])
        return item

    def process_batch(self, items: list[int]) -> list[int | None]:
        for item in items:
            self.process_item(item)
        return list(items)


def measured(clock: Clock, seconds: Sequence[float], items: int, worker: Any = Takes, **options: Any) -> StageReport:
    manager = PipelineManager(on_error="skip")
    manager.add_worker(worker, worker_args={"clock": clock, "seconds": seconds}, **options)
    for _ in manager.run(range(items), serial="batch_size" not in options):
        pass
    return manager.report.stages[0]


@pytest.mark.parametrize(
    ("seconds", "within"),
    [
        ((1e-6,), 0.1),
        ((2e-6, 2e-5), 0.2),
        ((1e-6, 1e-6, 1e-6, 1e-3), 0.2),
        ((5e-4,), 0.1),
        ((1e-5,) * 99 + (1e-2,), 0.6),
    ],
    ids=["quick", "by turns", "one of 4 is slow", "slow", "one of 100 is slow"],
)
def test_what_is_measured_of_some_calls_holds_for_all(clock: Clock, seconds: tuple[float, ...], within: float) -> None:
    """Only some of many quick calls are measured, by lot: the last bounds are five times what chance makes of that."""
    stage = measured(clock, seconds, 100_000)
    times = stage.service_times
    assert sum(each * number for each, number in times) == pytest.approx(clock.now, rel=within + 0.05)
    assert sum(number for _, number in times) == pytest.approx(100_000, rel=0.2)
    slow = sum(number for each, number in times if each > 0.9 * max(seconds))
    assert slow == pytest.approx(100_000 * seconds.count(max(seconds)) / len(seconds), rel=within)
    assert stage.computing == pytest.approx(0.5)
    assert stage.busy == pytest.approx(1, abs=within)


def test_a_quantile_is_right_within_5_percent(clock: Clock) -> None:
    chance = random.Random(3)
    seconds = [1e-3 * 1000 ** chance.random() for _ in range(1000)]
    stage = measured(clock, seconds, 1000)
    assert sum(number for _, number in stage.service_times) == 1000
    seconds.sort()
    for found, share in ((stage.p50, 0.5), (stage.p95, 0.95), (stage.p99, 0.99)):
        assert found == pytest.approx(seconds[round(share * 1000) - 1], rel=0.05)


def test_without_a_call_a_quantile_is_0() -> None:
    stage = PipelineManager().add_worker(Takes, worker_args={"clock": Clock(), "seconds": ()}).report.stages[0]
    assert (stage.service_times, stage.p50, stage.p99) == ((), 0, 0)


def test_a_batch_counts_as_its_items(clock: Clock) -> None:
    stage = measured(clock, (0.02,), 4, batch_size=4)
    ((seconds, number),) = stage.service_times
    assert (seconds, number) == (pytest.approx(0.02, rel=0.05), 4)


class Raises(Takes):
    def process_item(self, item: int) -> Any:
        super().process_item(item)
        raise ValueError("no")


class Yields(Takes):
    def process_item(self, item: int) -> Iterator[int]:
        for _ in range(3):
            self.clock.passes(0.02)
            yield item


def test_a_call_that_raises_is_measured(clock: Clock) -> None:
    ((seconds, number),) = measured(clock, (0.01,), 2, Raises).service_times
    assert (seconds, number) == (pytest.approx(0.01, rel=0.05), 2)


def test_of_a_generator_each_output_is_measured(clock: Clock) -> None:
    stage = measured(clock, (), 2000, Yields)
    ((seconds, number),) = [(seconds, number) for seconds, number in stage.service_times if seconds > 1e-6]
    assert (seconds, number) == (pytest.approx(0.02, rel=0.05), pytest.approx(6000, rel=0.3))
