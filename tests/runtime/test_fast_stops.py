"""R7: a stop is fast, whatever there is to drop, and whoever asks for it.

Time cannot be measured on a machine that is busy with other things, so these tests count function calls: from the stop to
the end of the run there are few, however many items, sub-tasks or outputs are dropped.
"""

import itertools
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from my_pipeline.pipeline_core import (
    BaseWorker,
    PipelineManager,
    PipelineReport,
    StageReport,
    SubTaskPoolWorker,
    robust_put,
)

from watch import Gated

Until = Callable[[Callable[[], object]], None]
StoppedWhen = Callable[[Callable[[StageReport], bool], PipelineManager, threading.Event], PipelineReport]
both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
one_worker_and_several = pytest.mark.parametrize("workers", [1, 3])
MANY = 50_000
FEW = 20_000  # Calls of functions that the end of a run may take in all its threads, those of the calls in flight included.


class Pass(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item


class WaitsForBatches(Gated):
    def process_batch(self, items: list[Any]) -> list[Any]:
        self.begun.set()
        self.gate.wait()
        return items


class WaitsAndFails(Gated):
    """Its batches fail, and so do their items alone."""

    def process_batch(self, items: list[Any]) -> list[Any]:
        if len(items) == 1:
            self.begun.set()
            self.gate.wait()
        raise ValueError("no")


class WaitsAtTheFirst(Gated):
    """The first item waits, and those behind it are done and wait for their turn."""

    def process_item(self, item: Any) -> Any:
        if item == 0:
            self.gate.wait()
        elif item == MANY - 1:
            self.begun.set()
        return item


class Splits(SubTaskPoolWorker[Any, Any, Any, Any]):
    """Many sub-tasks an item."""

    def __init__(self, begun: threading.Event, gate: threading.Event) -> None:
        super().__init__(sub_workers=2, window=16)
        self.begun, self.gate, self.splits = begun, gate, itertools.count(1)

    def split(self, item: Any) -> Any:
        return range(MANY)

    def process_sub_task(self, sub: Any) -> Any:
        self.begun.set()
        self.gate.wait()
        return sub


class SaysThatItLeaves(Pass):
    """Its teardown tells that the stop has reached it, and so all stages before it."""

    def __init__(self, left: threading.Event) -> None:
        self.left = left

    def teardown(self) -> None:
        self.left.set()


def with_two_more(manager: PipelineManager) -> threading.Event:
    """Two stages behind the others, and an event that is set when a stop has reached the second one."""
    left = threading.Event()
    manager.add_worker(Pass, name="last but one").add_worker(SaysThatItLeaves, worker_args={"left": left})
    return left


class CountsCalls:
    """Counts the calls of functions in the threads that a run starts, from the stop on."""

    def __init__(self) -> None:
        self.number = 0
        self.counting = False

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if self.counting and event in ("call", "c_call"):
            self.number += 1


@pytest.fixture
def calls() -> Iterator[CountsCalls]:
    counter = CountsCalls()
    threading.setprofile(counter)
    yield counter
    threading.setprofile(None)


def stands_still(manager: PipelineManager) -> bool:
    """Nothing has moved in several looks, some time apart."""

    def look() -> Any:
        return [(stage.received, stage.emitted, stage.queued) for stage in manager.report.stages]

    first = look()
    for _ in range(20):
        time.sleep(0.01)
        if look() != first:
            return False
    return True


def stopped(manager: PipelineManager, left: threading.Event, gate: threading.Event) -> PipelineReport:
    """Stop, and open the gate for the calls in flight once the stop has reached the last stage."""
    manager.stop()
    assert left.wait(60)
    gate.set()
    report = manager.wait_for_completion(60)
    assert (report.state, report.imbalances()) == ("stopped", [])
    return report


@pytest.fixture
def stopped_when(calls: CountsCalls, gate: threading.Event, until: Until) -> StoppedWhen:
    """Run with many items, and stop when all stand still and the condition holds for the first stage: in few calls."""

    def run(
        condition: Callable[[StageReport], bool], manager: PipelineManager, begun: threading.Event
    ) -> PipelineReport:
        left = with_two_more(manager)
        manager.start(range(MANY))
        assert begun.wait(60)
        until(lambda: condition(manager.report.stages[0]) and stands_still(manager))
        calls.counting = True
        report = stopped(manager, left, gate)
        calls.counting = False
        assert calls.number < FEW
        return report

    return run


CASES: dict[str, tuple[Any, dict[str, Any], dict[str, Any]]] = {
    "items in a queue": (Gated, {}, {}),
    "a batch in the making": (WaitsForBatches, {"batch_size": 100}, {}),
    "a failed batch, each item of which is tried alone": (WaitsAndFails, {"batch_size": MANY}, {"on_error": "skip"}),
    "sub-tasks": (Splits, {}, {}),
}


@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger or a coverage tool counts here, too")
@one_worker_and_several
@pytest.mark.parametrize("case", CASES)
def test_r7_the_end_of_a_run_makes_few_calls_however_much_it_drops(
    case: str, workers: int, gate: threading.Event, stopped_when: StoppedWhen
) -> None:
    worker_class, arguments, options = CASES[case]
    begun = threading.Event()
    manager = PipelineManager(queue_size=MANY, **options)
    manager.add_worker(Pass, workers=workers)
    manager.add_worker(
        worker_class, name="waits", workers=workers, worker_args={"begun": begun, "gate": gate}, **arguments
    )
    report = stopped_when(lambda first: first.processed == MANY, manager, begun)
    assert sum(stage.aborted for stage in report.stages) > 10


@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger or a coverage tool counts here, too")
@pytest.mark.parametrize("timeout", [None, 1000.0], ids=["items share places", "each item has a place of its own"])
def test_r7_results_that_wait_for_their_turn_are_dropped_at_once(
    timeout: float | None, gate: threading.Event, stopped_when: StoppedWhen
) -> None:
    begun = threading.Event()
    manager = PipelineManager(queue_size=MANY)
    manager.add_worker(WaitsAtTheFirst, workers=2, timeout=timeout, worker_args={"begun": begun, "gate": gate})
    report = stopped_when(lambda first: first.received == MANY, manager, begun)
    assert report.delivered == 0


def test_r7_no_sub_task_begins_after_the_stop(gate: threading.Event) -> None:
    begun, counted = threading.Event(), itertools.count()

    class Counts(Splits):
        def process_sub_task(self, sub: Any) -> Any:
            next(counted)
            return super().process_sub_task(sub)

    manager = PipelineManager().add_worker(Counts, worker_args={"begun": begun, "gate": gate})
    left = with_two_more(manager)
    manager.start(range(16))
    assert begun.wait(60)
    assert stopped(manager, left, gate).stages[0].processed == 0
    assert next(counted) <= 2


# Whoever sets the stop event stops the run.


class Stops(BaseWorker[int, int]):
    """Sets its own stop event in the place that it is told."""

    def __init__(self, place: str) -> None:
        self.place = place

    def at(self, place: str) -> None:
        if place == self.place:
            self.stop_event.set()

    def setup(self) -> None:
        self.at("setup")

    def process_item(self, item: int) -> Any:
        if item == 5:
            self.at("process_item")
        return item

    def process_batch(self, items: list[int]) -> list[int | None]:
        if 5 in items:
            self.at("process_batch")
        return list(items)


class YieldsAndStops(Stops):
    def process_item(self, item: int) -> Generator[int, None, None]:
        yield item
        if item == 5:
            self.at("a generator")
        yield item


class PoolStops(SubTaskPoolWorker[int, int, int, int]):
    def __init__(self, place: str) -> None:
        super().__init__(sub_workers=2)
        self.place = place

    def at(self, place: str, item: int) -> None:
        if place == self.place and item == 5:
            self.stop_event.set()

    def split(self, item: int) -> list[int]:
        self.at("split", item)
        return [item]

    def process_sub_task(self, sub: int) -> int:
        self.at("process_sub_task", sub)
        return sub

    def merge(self, item: int, results: list[int]) -> int:
        self.at("merge", item)
        return item


PLACES = {
    "setup": Stops,
    "process_item": Stops,
    "process_batch": Stops,
    "a generator": YieldsAndStops,
    "split": PoolStops,
    "process_sub_task": PoolStops,
    "merge": PoolStops,
    "the source": Stops,
    "a source function": Stops,
    "the last item": Stops,
}


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("place", PLACES)
def test_r7_a_worker_or_a_source_that_sets_the_stop_event_has_stopped_the_run(
    place: str, workers: int, serial: bool
) -> None:
    """And the run does not say that it has completed."""

    def source() -> Iterator[int]:
        for item in range(6) if place == "the last item" else itertools.count():
            if place == "the source" and item == 5:
                manager.stop_event.set()
            yield item

    def source_function(queue: Any, stop_event: threading.Event) -> None:
        for item in itertools.count():
            if item == 5:
                stop_event.set()
            if not robust_put(queue, item, stop_event):
                return

    manager = (
        PipelineManager()
        .add_worker(Pass)
        .add_worker(
            PLACES[place],
            name="stops",
            workers=workers,
            batch_size=2 if place == "process_batch" else None,
            worker_args={"place": "process_item" if place == "the last item" else place},
        )
    )
    results = list(manager.run(source_function if place == "a source function" else source(), serial=serial))
    assert results == sorted(results)
    assert set(results) <= set(range(6))
    report = manager.report
    assert (report.state, report.error, report.imbalances()) == ("stopped", None, [])
