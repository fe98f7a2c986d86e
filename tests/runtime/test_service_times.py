"""What a reading says of the time of calls, by a clock that moves only when a call says so."""

import random
import threading
import time
from collections.abc import Generator, Sequence
from functools import partial
from typing import Any

import pytest

from diagnosis_helpers import needs

needs("observers.service_times")

from my_pipeline.observers.diagnosis import Diagnosis
from my_pipeline.observers.reading import StageReading
from my_pipeline.observers.service_times import Calls, ServiceTimes
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

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


def measured(clock: Clock, seconds: Sequence[float], items: int, worker: Any = Takes, **options: Any) -> StageReading:
    manager = PipelineManager(on_error="skip")
    manager.add_worker(worker, worker_args={"clock": clock, "seconds": seconds}, **options)
    diagnosis = Diagnosis(manager)
    for _ in manager.run(range(items), serial="batch_size" not in options):
        pass
    return diagnosis.reading().stages[0]


@pytest.mark.parametrize(
    ("seconds", "within"),
    [
        ((1e-6,), 0.25),
        ((2e-6, 2e-5), 0.2),
        ((1e-6, 1e-6, 1e-6, 1e-3), 0.2),
        ((5e-4,), 0.1),
        ((1e-5,) * 99 + (1e-2,), 0.6),
    ],
    ids=["quick", "by turns", "one of 4 is slow", "slow", "one of 100 is slow"],
)
def test_what_is_measured_of_some_calls_holds_for_all(clock: Clock, seconds: tuple[float, ...], within: float) -> None:
    """Only some of many quick calls are measured, by lot: the bounds are five times what chance makes of that."""
    stage = measured(clock, seconds, 100_000)
    times = stage.times.durations
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
    assert sum(number for _, number in stage.times.durations) == 1000
    seconds.sort()
    for found, share in ((stage.p50, 0.5), (stage.p95, 0.95), (stage.p99, 0.99)):
        assert found == pytest.approx(seconds[round(share * 1000) - 1], rel=0.05)


def test_without_a_call_a_quantile_is_0() -> None:
    times = ServiceTimes()
    assert (times.calls, times.durations, times.quantile(0.99)) == (0, [], 0)


def test_a_batch_counts_as_its_items(clock: Clock) -> None:
    stage = measured(clock, (0.02,), 4, batch_size=4)
    ((seconds, number),) = stage.times.durations
    assert (seconds, number) == (pytest.approx(0.02, rel=0.05), 4)


class Raises(Takes):
    def process_item(self, item: int) -> Any:
        super().process_item(item)
        raise ValueError("no")


class Yields(Takes):
    def process_item(self, item: int) -> Generator[int, None, None]:
        for _ in range(3):
            self.clock.passes(0.02)
            yield item


def test_a_call_that_raises_is_measured(clock: Clock) -> None:
    ((seconds, number),) = measured(clock, (0.01,), 2, Raises).times.durations
    assert (seconds, number) == (pytest.approx(0.01, rel=0.05), 2)


def test_of_a_generator_each_output_is_measured(clock: Clock) -> None:
    stage = measured(clock, (), 2000, Yields)
    ((seconds, number),) = [(seconds, number) for seconds, number in stage.times.durations if seconds > 1e-6]
    assert (seconds, number) == (pytest.approx(0.02, rel=0.05), pytest.approx(6000, rel=0.3))


@pytest.mark.parametrize("every", [False, True], ids=["sampled", "every call"])
def test_no_call_is_lost_where_many_threads_add_some(every: bool) -> None:
    """Also without a GIL."""
    calls, threads = Calls(), []
    for _ in range(8):
        add = partial(calls.add, 0.0, 0.01, 1 if every else 5, 1)
        threads.append(threading.Thread(target=lambda add=add: [add() for _ in range(2000)]))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = calls.times()
    assert times.calls == 16_000 * (1 if every else 5)
    assert times.call_seconds == pytest.approx(160)


LOCKED = [(0.0, 0.01 * (number + 1)) for number in range(8)] + [(0.01 * number, 0.08) for number in range(92)]
BARGED = [(0.01 * number, 0.01) for number in range(90)] + [(0.0, 0.01 * number) for number in range(90, 100)]
ALIKE = [(0.08 * (number // 8), 0.08) for number in range(100)]
TURNS = [(0.01 * number, 0.08) for number in range(100)]  # As where threads have started one after the other.


@pytest.mark.parametrize(
    ("calls", "found"),
    [
        pytest.param(LOCKED, True, id="a fair lock"),
        pytest.param(BARGED, True, id="a lock that is not fair"),
        pytest.param([(0.01 * number, 0.01) for number in range(100)], False, id="one worker"),
        pytest.param(ALIKE, False, id="all as long, several at a time"),
        pytest.param(TURNS, False, id="all as long, by turns"),
        pytest.param(LOCKED[:15], False, id="too few"),
        pytest.param([], False, id="none"),
    ],
)
def test_calls_that_end_one_at_a_time_though_most_take_longer_wait_for_one_another(
    calls: list[tuple[float, float]], found: bool
) -> None:
    said = ServiceTimes(early=tuple(calls)).contention
    assert said == ("one ended every 10 ms, and the quickest took 10 ms" if found else "")


def test_calls_that_take_at_random_end_at_random() -> None:
    for seed in range(50):
        chance = random.Random(seed)
        free, calls = [0.0] * 8, []
        for _ in range(200):
            start = min(free)
            seconds = chance.lognormvariate(-4, 0.45)
            free[free.index(start)] = start + seconds
            calls.append((start, seconds))
        assert ServiceTimes(early=tuple(calls)).contention == ""
