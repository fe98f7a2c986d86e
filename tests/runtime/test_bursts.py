"""Quick items that lie there are worked off in one go: what must hold in the middle of that."""

import threading
import time
from collections.abc import Generator, Iterator
from itertools import count, islice

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager

QUIET = 0.05  # seconds in which nothing moves any more


class Burst(BaseWorker[int, int]):
    """Item 0 comes through alone, when the queue behind it is full; 30 is in the middle of those that follow at once."""

    def __init__(self, full: threading.Event, at_30: threading.Event, go_on: threading.Event, seen: list[int]) -> None:
        self.full, self.at_30, self.go_on, self.seen = full, at_30, go_on, seen

    def process_item(self, item: int) -> int:
        self.seen.append(item)
        if item == 0:
            assert self.full.wait(20)
        if item == 29:
            time.sleep(QUIET)  # Whoever waits for results has those before it.
        if item == 30:
            self.at_30.set()
            assert self.go_on.wait(20)
        return item


class BurstWithAnError(Burst):
    def process_item(self, item: int) -> int:
        if item == 20:
            raise ValueError("in the middle")
        return super().process_item(item)


class Events:
    def __init__(self) -> None:
        self.full, self.at_30, self.go_on = threading.Event(), threading.Event(), threading.Event()
        self.seen: list[int] = []

    def source(self, stop: int) -> Iterator[int]:
        for item in range(stop):
            if item == 100:  # Behind 0 lie 99, at least.
                self.full.set()
            yield item


@pytest.fixture
def events() -> Iterator[Events]:
    events = Events()
    yield events
    events.full.set()
    events.go_on.set()


def test_r7_a_stop_ends_it_with_the_call_in_flight(events: Events) -> None:
    manager = PipelineManager().add_worker(Burst, worker_args=vars(events))
    manager.start(events.source(1000))
    assert events.at_30.wait(20)
    manager.stop()
    events.go_on.set()
    manager.wait_for_completion(20)
    assert events.seen == list(range(31))
    assert manager.report.imbalances() == []


def test_an_item_does_not_wait_for_a_slow_one_behind_it(events: Events) -> None:
    manager = PipelineManager().add_worker(Burst, worker_args=vars(events))
    results = manager.run(events.source(1000))
    assert list(islice(results, 30)) == list(range(30))
    assert events.at_30.wait(20)
    events.go_on.set()
    assert list(results) == list(range(30, 1000))


def test_r1_an_error_in_it_costs_nothing_before_and_lets_nothing_behind(events: Events) -> None:
    manager = PipelineManager().add_worker(BurstWithAnError, worker_args=vars(events))
    results = manager.run(events.source(1000))
    assert list(islice(results, 20)) == list(range(20))
    with pytest.raises(PipelineError, match=r"item 20: 20: ValueError: in the middle"):
        next(results)
    assert manager.report.imbalances() == []


def test_r5_an_item_skipped_in_it_costs_only_itself(events: Events) -> None:
    events.go_on.set()
    manager = PipelineManager(on_error="skip").add_worker(BurstWithAnError, worker_args=vars(events))
    assert list(manager.run(events.source(1000))) == [item for item in range(1000) if item != 20]
    assert manager.report.dead_letters[0].index == 20


class Sometimes(BaseWorker[int, int]):
    """Most items give one output at once; some yield several, which take room that was there for others."""

    def process_item(self, item: int) -> int | Generator[int, None, None]:
        return (item for _ in range(5)) if item % 10 == 5 else item


class Quick(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


@pytest.mark.parametrize("worker", [Quick, Sometimes])
@pytest.mark.parametrize("queue_size", [1, 2, 9, 50])
def test_r2_it_takes_no_room_that_is_not_there(queue_size: int, worker: type[BaseWorker[int, int]]) -> None:
    manager = PipelineManager(queue_size=queue_size).add_worker(worker)
    results = manager.run(count())
    for taken, _ in enumerate(results, 1):
        if taken % 40 == 0:
            before = None
            while before != manager.report.read:
                before = manager.report.read
                threading.Event().wait(QUIET)
            assert manager.report.stages[0].emitted - taken <= queue_size
        if taken == 200:
            break
    results.close()
    assert manager.report.imbalances() == []
