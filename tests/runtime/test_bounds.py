"""R2: what is read and not yet delivered stays under a bound, so an endless source works.

The bound is one item in the hand of the source and, for each stage, its queue, an item (or a batch) in the hand of each
worker and, with several workers in order, as many results as its queue holds that wait for an earlier one; and then
the results that wait for the consumer.
"""

import itertools
import threading
import time
from collections.abc import Callable, Generator, Iterator

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

QUEUE_SIZE = 3
Until = Callable[[Callable[[], object]], None]
Asleep = Callable[[str], bool]


class Pass(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


class PassBatch(BaseWorker[int, int]):
    def process_batch(self, items: list[int]) -> list[int | None]:
        return list(items)


class FirstWaits(BaseWorker[int, int]):
    """Does not let go of item 0 before the gate opens."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    def process_item(self, item: int) -> int:
        if item == 0:
            self.gate.wait()
        return item


class CountingSource:
    """0, 1, 2, … without end, and how many of them were read."""

    def __init__(self) -> None:
        self.read = 0

    def __iter__(self) -> Iterator[int]:
        for item in itertools.count():
            self.read += 1
            yield item


@pytest.fixture
def until_source_waits(until: Until, asleep: Asleep) -> Callable[[CountingSource], None]:
    """Returns when every queue is full: the source waits for room, and goes on waiting."""

    def wait(source: CountingSource) -> None:
        last, times = -1, 0

        def settled() -> bool:
            nonlocal last, times
            same = source.read == last and asleep("pipeline-source")
            last, times = source.read, times + 1 if same else 0
            return times > 3

        until(settled)

    return wait


def bound(*in_hands: int, ordered_stages: int) -> int:
    return 1 + sum(QUEUE_SIZE + in_hand for in_hand in in_hands) + ordered_stages * QUEUE_SIZE + QUEUE_SIZE


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@pytest.mark.parametrize("workers", [1, 4])
def test_r2_a_slow_consumer_holds_the_source_up(
    workers: int, ordered: bool, until_source_waits: Callable[[CountingSource], None]
) -> None:
    source = CountingSource()
    manager = PipelineManager(queue_size=QUEUE_SIZE, ordered=ordered)
    manager.add_worker(Pass, workers=workers).add_worker(PassBatch, batch_size=5)
    results = manager.run(source)
    next(results)
    until_source_waits(source)
    ordered_stages = 1 if ordered and workers > 1 else 0
    assert source.read - 1 <= bound(workers, 5, ordered_stages=ordered_stages)
    results.close()


@pytest.mark.parametrize("workers", [1, 4])
def test_r2_one_slow_item_holds_the_source_up(
    workers: int, until_source_waits: Callable[[CountingSource], None], gate: threading.Event
) -> None:
    source = CountingSource()
    manager = PipelineManager(queue_size=QUEUE_SIZE)
    manager.add_worker(Pass).add_worker(FirstWaits, workers=workers, worker_args={"gate": gate})
    manager.start(source)
    until_source_waits(source)
    assert source.read <= bound(1, workers, ordered_stages=int(workers > 1))
    assert manager.report.delivered == 0
    manager.stop()
    gate.set()
    manager.wait_for_completion()


def test_r2_a_generator_without_end_does_not_pile_up_behind_a_slow_item(
    until: Until, asleep: Asleep, gate: threading.Event
) -> None:
    yielded: list[int] = []
    threads: list[str] = []

    class Endless(BaseWorker[int, int]):
        def process_item(self, item: int) -> Generator[int, None, None]:
            if item == 0:
                gate.wait()
                return
            threads.append(threading.current_thread().name)
            for output in itertools.count():
                yielded.append(output)
                yield output

    manager = PipelineManager(queue_size=QUEUE_SIZE).add_worker(Endless, workers=2)
    manager.start(range(2))
    until(lambda: threads and asleep(threads[0]))
    assert len(yielded) <= QUEUE_SIZE + 1
    manager.stop()
    gate.set()
    manager.wait_for_completion()


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_r2_an_endless_source_works(serial: bool) -> None:
    results = PipelineManager().add_worker(Pass, workers=2).run(itertools.count(), serial=serial)
    assert list(itertools.islice(results, 500)) == list(range(500))
    results.close()


def test_r2_serial_reads_an_item_only_when_it_is_wanted() -> None:
    source = CountingSource()
    results = PipelineManager().add_worker(Pass).add_worker(Pass, name="again").run(source, serial=True)
    assert (next(results), source.read) == (0, 1)
    assert (next(results), source.read) == (1, 2)
    results.close()


@pytest.mark.parametrize("tuned", [None, QUEUE_SIZE])
def test_r2_what_is_kept_of_a_pipeline_has_the_same_bound(tuned: int | None, until: Until) -> None:
    """Behind the last stage that is kept, results wait in the manager's queue, and not in one for a dropped stage."""
    manager = PipelineManager(queue_size=QUEUE_SIZE if tuned is None else 1000)
    manager.add_worker(Pass).add_worker(Pass, name="dropped", queue_size=1000)
    manager.tune(queue_size=tuned).keep("pass", "pass")
    results = manager.run(itertools.count())
    assert next(results) == 0

    def nothing_moves() -> bool:
        before = manager.report.read
        time.sleep(0.05)
        return manager.report.read == before

    until(nothing_moves)
    assert manager.report.read - 1 <= 1 + QUEUE_SIZE + (QUEUE_SIZE + 1) + 1
    results.close()
