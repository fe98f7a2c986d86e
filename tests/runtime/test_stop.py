"""R7: a stop wakes whoever waits, at once; an idle pipeline does nothing at all; a drain finishes what is in."""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineManager, robust_put

Until = Callable[[Callable[[], object]], None]
Asleep = Callable[[str], bool]


class Pass(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


class WaitsForTheGate(BaseWorker[int, int]):
    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    def process_item(self, item: int) -> int:
        self.gate.wait()
        return item


def test_r7_a_stop_before_there_are_stages_counts() -> None:
    manager = PipelineManager()
    manager.stop()
    assert list(manager.add_worker(Pass).run(range(10))) == []
    assert manager.report.state == "stopped"


def test_r7_a_drain_before_stages_are_dropped_counts() -> None:
    def source(queue: Any, stop_event: threading.Event) -> None:
        while robust_put(queue, 1, stop_event):
            pass

    manager = PipelineManager().add_worker(Pass).add_worker(Pass, name="last")
    manager.stop(drain=True)
    assert list(manager.keep("last").run(source)) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_r7_a_stop_wakes_whoever_waits_for_room(workers: int, until: Until, asleep: Asleep) -> None:
    manager = PipelineManager(queue_size=1).add_worker(Pass, workers=workers).add_worker(Pass, name="last")
    results = manager.run(itertools.count())
    next(results)  # And no more: everything fills up.
    until(lambda: asleep("pipeline-last-0"))
    until(lambda: asleep("pipeline-source"))
    manager.stop()
    assert list(results) == []
    assert manager.report.state == "stopped"


@pytest.mark.parametrize("workers", [1, 3])
def test_r7_a_stop_wakes_whoever_waits_for_items(
    workers: int, until: Until, asleep: Asleep, gate: threading.Event
) -> None:
    def source() -> Iterator[int]:
        gate.wait()
        yield 1

    manager = PipelineManager().add_worker(Pass, workers=workers).add_worker(Pass, name="last")
    manager.start(source())
    until(lambda: any(asleep(f"pipeline-pass-{number}") for number in range(workers)))
    until(lambda: asleep("pipeline-last-0"))
    manager.stop()
    report = manager.wait_for_completion()
    assert report.state == "stopped", "a source that is blocked in its own next() does not hold the stop up"
    gate.set()
    until(lambda: manager.report.read == manager.report.source_aborted)
    assert manager.report.imbalances() == []


def test_r7_a_stop_waits_for_the_calls_in_flight_and_for_nothing_else(until: Until, gate: threading.Event) -> None:
    manager = PipelineManager().add_worker(WaitsForTheGate, worker_args={"gate": gate})
    manager.start(range(100))
    until(lambda: manager.report.stages[0].received)
    manager.stop()
    assert manager.report.state == "running"
    gate.set()
    report = manager.wait_for_completion()
    assert (report.stages[0].received, report.stages[0].aborted) == (report.read, report.read - report.delivered)
    assert report.read - report.source_aborted == 100


def test_r7_a_stage_sees_the_stop_in_its_stop_event() -> None:
    class Long(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            started.set()
            assert self.stop_event.wait(20)
            return item

    started = threading.Event()
    manager = PipelineManager().add_worker(Long)
    manager.start([1])
    started.wait()
    manager.stop()
    assert manager.wait_for_completion().state == "stopped"


def test_r7_stop_may_be_called_by_anyone_and_any_number_of_times() -> None:
    class Stops(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            manager.stop()
            manager.stop()
            return item

    manager = PipelineManager().add_worker(Stops, workers=2)
    list(manager.run(itertools.count()))
    manager.stop()
    manager.stop(drain=True)
    assert manager.report.state == "stopped"


def test_r7_a_run_that_was_stopped_before_its_start_does_nothing() -> None:
    manager = PipelineManager().add_worker(Pass)
    manager.stop()
    assert list(manager.run(itertools.count())) == []
    assert manager.report.state == "stopped"
    assert manager.report.imbalances() == []


def test_r7_a_stop_after_the_end_changes_nothing() -> None:
    manager = PipelineManager().add_worker(Pass)
    assert list(manager.run(range(3))) == [0, 1, 2]
    manager.stop()
    assert manager.report.state == "completed"


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_r7_a_drain_reads_no_more_and_finishes_what_is_in(serial: bool) -> None:
    manager = PipelineManager(queue_size=5).add_worker(Pass, workers=2).add_worker(Pass, name="last")
    results = []
    for result in manager.run(itertools.count(), serial=serial):
        results.append(result)
        if result == 9:
            manager.stop(drain=True)
    report = manager.report
    assert report.state == "completed"
    assert results == list(range(report.read - report.source_aborted))
    assert (report.undelivered, report.stages[0].aborted, report.stages[1].aborted) == (0, 0, 0)


def test_r7_a_drain_is_not_held_up_by_a_source_that_blocks(until: Until, asleep: Asleep, gate: threading.Event) -> None:
    def source() -> Iterator[int]:
        yield from range(3)
        gate.wait()

    manager = PipelineManager().add_worker(Pass)
    manager.start(source())
    until(lambda: manager.report.delivered == 3)
    until(lambda: asleep("pipeline-source"))
    manager.stop(drain=True)
    report = manager.wait_for_completion()
    assert (report.state, report.delivered) == ("completed", 3)
    gate.set()


@pytest.mark.parametrize("waiting_for", ["items", "room"])
def test_r7_an_idle_pipeline_makes_no_call_at_all(
    waiting_for: str, until: Until, asleep: Asleep, gate: threading.Event
) -> None:
    """No polling: what waits, sleeps until it is woken. A profiler hears of every call that its threads make."""
    calls = 0

    def count(*_: Any) -> None:
        nonlocal calls
        calls += 1

    def source() -> Iterator[int]:
        if waiting_for == "room":
            yield from itertools.count()
        gate.wait()

    manager = PipelineManager(queue_size=1).add_worker(Pass, workers=3).add_worker(Pass, name="last")
    threading.setprofile(count)
    try:
        results = manager.run(source())
        if waiting_for == "room":
            next(results)
        else:
            consumer = threading.Thread(target=list, args=(results,))
            consumer.start()
    finally:
        threading.setprofile(None)
    for name in ("pipeline-source", "pipeline-pass-0", "pipeline-pass-1", "pipeline-pass-2", "pipeline-last-0"):
        until(partial(asleep, name))
    before = -1
    while before != calls:  # Until the last of them has gone to sleep.
        before = calls
        time.sleep(0.05)
    time.sleep(0.15)
    assert calls == before > 0
    gate.set()
    manager.stop()
    if waiting_for == "room":
        results.close()
    else:
        consumer.join()


def test_r7_robust_put_tells_a_source_function_of_the_stop(until: Until, asleep: Asleep) -> None:
    refused = []

    def source(queue: Any, stop_event: threading.Event) -> None:
        for item in itertools.count():
            if not robust_put(queue, item, stop_event):
                refused.append(item)
                return

    manager = PipelineManager(queue_size=1).add_worker(Pass)
    results = manager.run(source)
    next(results)
    until(lambda: asleep("pipeline-source"))
    manager.stop()
    assert list(results) == []
    assert len(refused) == 1


def test_r7_robust_put_also_works_on_a_plain_queue() -> None:
    plain: queue.Queue[int] = queue.Queue(maxsize=1)
    stop_event = threading.Event()
    assert robust_put(plain, 1, stop_event) is True
    outcomes: list[bool] = []
    putter = threading.Thread(target=lambda: outcomes.append(robust_put(plain, 2, stop_event, timeout=0.001)))
    putter.start()
    putter.join(0.02)
    assert putter.is_alive()
    stop_event.set()
    putter.join()
    assert outcomes == [False]
    assert plain.get_nowait() == 1
    assert robust_put(plain, 3, stop_event) is False
