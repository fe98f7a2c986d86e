"""The source at its edges: what it has in hand at a drain or a failure, and how a source function is told."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from my_pipeline.pipeline_core import SENTINEL, BaseWorker, FailedItem, PipelineError, PipelineManager, robust_put

from jitter import jitter

Until = Callable[[Callable[[], object]], None]


class Pass(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item

    def process_batch(self, items: list[Any]) -> list[Any]:
        return items


def test_r7_a_drain_lets_in_what_the_source_has_in_hand(
    gate: threading.Event, until: Until, asleep: Callable[[str], bool]
) -> None:
    class Waits(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            gate.wait()
            return item

    manager = PipelineManager(queue_size=1).add_worker(Waits)
    manager.start(range(10))
    until(lambda: manager.report.read == 3 and asleep("pipeline-source"))
    manager.stop(drain=True)
    gate.set()
    report = manager.wait_for_completion(20)
    assert (report.read, report.source_aborted, report.delivered) == (3, 0, 3)


def test_r7_a_drain_ends_the_run_while_the_source_blocks(gate: threading.Event, until: Until) -> None:
    def source() -> Iterator[int]:
        yield 1
        gate.wait()

    manager = PipelineManager().add_worker(Pass)
    manager.start(source())
    until(lambda: manager.report.delivered == 1)
    manager.stop(drain=True)
    assert manager.wait_for_completion(20).delivered == 1
    assert not gate.is_set()


def test_r7_a_source_function_knows_what_came_in_before_a_drain(until: Until) -> None:
    put: list[int] = []

    def source(queue: Any, stop_event: threading.Event) -> None:
        number = 0
        while robust_put(queue, number, stop_event):
            number += 1
        put.append(number)

    manager = PipelineManager(queue_size=1).add_worker(Pass)
    manager.start(source)
    until(lambda: manager.report.delivered > 3)
    manager.stop(drain=True)
    report = manager.wait_for_completion(20)
    until(lambda: put)
    assert put == [report.delivered]
    assert report.source_aborted <= 1


def test_r3_an_item_that_the_source_cannot_make_has_failed_and_nothing_is_read_behind_it() -> None:
    manager = PipelineManager().add_worker(Pass)
    with pytest.raises(PipelineError, match="no JSON"):
        list(manager.run([1, FailedItem("x", ValueError("no JSON")), 3]))
    report = manager.report
    assert (report.read, report.source_failed, report.source_aborted) == (2, 1, 0)


def test_after_the_end_of_the_run_no_item_fails_any_more(gate: threading.Event, until: Until) -> None:
    def source() -> Iterator[Any]:
        yield 1
        gate.wait()
        yield FailedItem("x", ValueError("too late"))

    letters: list[object] = []
    manager = PipelineManager(on_error="skip", on_dead_letter=letters.append).add_worker(Pass)
    results = manager.run(source())
    assert next(results) == 1
    (thread,) = [thread for thread in threading.enumerate() if thread.name == "pipeline-source"]
    results.close()
    final = manager.report
    gate.set()
    thread.join(20)
    assert not letters
    assert manager.report == final
    assert manager.report.imbalances() == []


def test_after_the_sentinel_nobody_waits_for_the_source_function(gate: threading.Event) -> None:
    def source(queue: Any, stop_event: threading.Event) -> None:
        robust_put(queue, 1, stop_event)
        robust_put(queue, SENTINEL, stop_event)
        gate.wait()

    assert list(PipelineManager().add_worker(Pass).run(source)) == [1]
    assert not gate.is_set()


class FailsAtTwo(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        if item == 2:
            raise ValueError(item)
        return item


def test_r1_whoever_fails_takes_no_earlier_item_from_anybody() -> None:
    """Also where two others go on, and fail, while the first item's worker is late; the window is full."""
    for seed in range(30):
        manager = PipelineManager(queue_size=1).add_worker(FailsAtTwo, workers=3)
        with jitter(seed, late=0.01):
            results = manager.run(range(5))
            assert [next(results), next(results)] == [0, 1]
            with pytest.raises(PipelineError, match="item 2"):
                next(results)


def test_r2_in_the_plain_loop_a_source_function_runs_ahead_by_a_queue() -> None:
    def source(queue: Any, stop_event: threading.Event) -> None:
        while robust_put(queue, 1, stop_event):
            pass

    manager = PipelineManager(queue_size=4).add_worker(Pass)
    results = manager.run(source, serial=True)
    for _ in range(5):
        next(results)
        time.sleep(0.01)  # It could read much.
        assert manager.report.read <= manager.report.delivered + 1 + 4 + 2  # The queue, and one in hand on either side.
    results.close()


class ThreeByHand:
    """Its iterator has no `__iter__`, which a for loop does not ask for."""

    def __init__(self) -> None:
        self.given = 0

    def __iter__(self) -> Any:
        return type("Bare", (), {"__next__": lambda bare: self.next()})()

    def next(self) -> int:
        self.given += 1
        if self.given > 3:
            raise StopIteration
        return self.given


@pytest.mark.parametrize("serial", [False, True])
def test_r1_whatever_a_for_loop_reads_is_a_source(serial: bool) -> None:
    assert list(PipelineManager().add_worker(Pass).run(ThreeByHand(), serial=serial)) == [1, 2, 3]


@pytest.mark.parametrize("serial", [False, True])
def test_r1_in_an_iterable_the_sentinel_is_an_item_like_any(serial: bool) -> None:
    assert list(PipelineManager().add_worker(Pass).run([1, SENTINEL, 2], serial=serial)) == [1, SENTINEL, 2]


def test_the_sentinel_has_a_name() -> None:
    assert repr(SENTINEL) == "SENTINEL"
