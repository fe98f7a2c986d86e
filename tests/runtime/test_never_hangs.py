"""R6: whatever raises, wherever, and whoever leaves: all threads end, and the caller gets the error."""

import contextlib
import gc
import itertools
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager

Until = Callable[[Callable[[], object]], None]


class Strange(BaseException):
    """Something that no `except Exception` catches."""


class Faulty(BaseWorker[int, Any]):
    """Raises in the place that it is told, at item 5 where the place has an item."""

    def __init__(self, place: str, error: type[BaseException]) -> None:
        self.place = place
        self.error = error

    def fail_in(self, place: str, item: int = 5) -> None:
        if place == self.place and item == 5:
            raise self.error

    def setup(self) -> None:
        self.fail_in("setup")

    def process_item(self, item: int) -> Any:
        self.fail_in("process_item", item)
        return self.generate(item)

    def generate(self, item: int) -> Iterator[int]:
        self.fail_in("generator, before its first output", item)
        yield item
        self.fail_in("generator, behind its first output", item)

    def process_batch(self, items: list[int]) -> list[int | None]:
        for item in items:
            self.fail_in("process_batch", item)
        return list(items)

    def teardown(self) -> None:
        self.fail_in("teardown")


class Pass(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


PLACES = [
    "setup",
    "process_item",
    "generator, before its first output",
    "generator, behind its first output",
    "process_batch",
    "teardown",
]


@pytest.mark.parametrize("error", [ValueError, StopIteration, GeneratorExit, SystemExit, KeyboardInterrupt, Strange])
@pytest.mark.parametrize("shape", ["one worker", "three workers", "unordered", "serial"])
@pytest.mark.parametrize("place", PLACES)
def test_r6_whatever_a_stage_raises_reaches_the_caller(place: str, shape: str, error: type[BaseException]) -> None:
    if error is StopIteration and place.startswith("generator"):
        pytest.skip("Python makes a RuntimeError of it")
    manager = PipelineManager(queue_size=2, ordered=shape != "unordered").add_worker(Pass, name="before")
    manager.add_worker(
        Faulty,
        workers=3 if shape in ("three workers", "unordered") else 1,
        worker_args={"place": place, "error": error},
        batch_size=3 if place == "process_batch" else None,
    )
    manager.add_worker(Pass, name="behind")
    source = range(9) if place == "teardown" else itertools.count()
    with pytest.raises((PipelineError, KeyboardInterrupt)) as caught:
        list(manager.run(source, serial=shape == "serial"))
    if shape == "serial" and error is KeyboardInterrupt:
        assert type(caught.value) is KeyboardInterrupt, "in the main thread it is a Ctrl-C, and goes on as such"
        return
    assert isinstance(caught.value, PipelineError)
    assert type(caught.value.__cause__) is error
    assert caught.value.stage == "faulty"
    assert caught.value.phase == place.replace("generator", "process_item").split(",")[0]


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
def test_r6_one_worker_that_cannot_be_set_up_ends_the_stage(ordered: bool) -> None:
    class OneFails(Pass):
        def setup(self) -> None:
            if not may_be_set_up.acquire(blocking=False):
                raise ValueError("the second one cannot")

    may_be_set_up = threading.Semaphore(1)
    manager = PipelineManager(ordered=ordered).add_worker(OneFails, workers=2)
    with pytest.raises(PipelineError, match="the second one cannot"):
        list(manager.run(itertools.count()))
    assert manager.report.imbalances() == []


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("error", [ValueError, GeneratorExit, SystemExit, KeyboardInterrupt, Strange])
@pytest.mark.parametrize("kind", ["iterator", "function"])
def test_r6_whatever_the_source_raises_reaches_the_caller(kind: str, error: type[BaseException], serial: bool) -> None:
    def iterator() -> Iterator[int]:
        yield 1
        raise error

    def function(queue: Any, stop_event: threading.Event) -> None:
        queue.put(1)
        raise error

    source: Any = iterator() if kind == "iterator" else function
    with pytest.raises((PipelineError, KeyboardInterrupt)) as caught:
        list(PipelineManager().add_worker(Pass).run(source, serial=serial))
    if serial and kind == "iterator" and error is KeyboardInterrupt:
        assert type(caught.value) is KeyboardInterrupt, "in the main thread it is a Ctrl-C, and goes on as such"
        return
    assert isinstance(caught.value, PipelineError)
    assert type(caught.value.__cause__) is error
    assert caught.value.stage == "source"


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, Strange])
@pytest.mark.parametrize("workers", [1, 3])
def test_r6_whatever_a_callback_raises_reaches_the_caller(workers: int, error: type[BaseException]) -> None:
    def callback(letter: object) -> None:
        raise error

    manager = PipelineManager(on_error="skip", on_dead_letter=callback)
    manager.add_worker(Faulty, workers=workers, worker_args={"place": "process_item", "error": ValueError})
    with pytest.raises(PipelineError) as caught:
        list(manager.run(itertools.count()))
    assert type(caught.value.__cause__) is error
    assert caught.value.phase == "on_dead_letter"


@pytest.mark.parametrize("leave", ["close", "drop", "raise"])
@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_r6_a_consumer_that_leaves_stops_everything_and_the_source_is_let_go_of(leave: str, serial: bool) -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    items = source()  # Held here, too, so that it does not end just because nobody knows it any more.
    manager = PipelineManager(queue_size=2).add_worker(Pass, workers=2)
    results: Any = manager.run(items, serial=serial)
    next(results)
    if leave == "close":
        results.close()
    elif leave == "drop":
        del results
        gc.collect()
    else:
        with pytest.raises(ZeroDivisionError), contextlib.closing(results):
            raise ZeroDivisionError
    assert closed.wait(20)
    assert manager.report.state == "stopped"
    assert manager.report.imbalances() == []


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("workers", [1, 3])
def test_r6_a_generator_of_a_stage_is_let_go_of_when_the_run_ends(workers: int, serial: bool) -> None:
    closed, held = threading.Event(), []

    class Endless(BaseWorker[int, int]):
        def process_item(self, item: int) -> Generator[int, None, None]:
            held.append(self.count())
            return held[-1]

        def count(self) -> Generator[int, None, None]:
            try:
                yield from itertools.count()
            finally:
                closed.set()

    results: Any = PipelineManager(queue_size=2).add_worker(Endless, workers=workers).run([1], serial=serial)
    next(results)
    results.close()
    assert closed.is_set()


def test_r6_a_stage_that_dies_wakes_the_stages_that_wait_for_it(until: Until, asleep: Callable[[str], bool]) -> None:
    die = threading.Event()

    class Dies(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            die.wait()
            raise Strange

    manager = PipelineManager(queue_size=1)
    manager.add_worker(Pass, name="blocked").add_worker(Dies).add_worker(Pass, name="starving")
    manager.start(itertools.count())
    until(lambda: asleep("pipeline-blocked-0"))
    until(lambda: asleep("pipeline-source"))
    until(lambda: asleep("pipeline-starving-0"))
    die.set()
    with pytest.raises(PipelineError, match="Strange"):
        manager.wait_for_completion()


class Item:
    """Something that a test can see die."""

    def __init__(self, number: int = 0) -> None:
        self.number = number


class PassItem(BaseWorker[Item, Item]):
    def process_item(self, item: Item) -> Item:
        return item


class FailsTogether(BaseWorker[Item, Item]):
    def process_batch(self, items: list[Item]) -> list[Item]:
        if len(items) > 1:
            raise ValueError("only one at a time")
        return items


@pytest.mark.usefixtures("freed_at_once")
def test_r6_a_batch_that_failed_keeps_nothing_alive() -> None:
    alive: weakref.WeakSet[Item] = weakref.WeakSet()

    def source() -> Iterator[Item]:
        for _ in range(20):
            item = Item()
            alive.add(item)
            yield item

    gc.disable()
    try:
        assert sum(1 for _ in PipelineManager().add_worker(FailsTogether, batch_size=4).run(source())) == 20
        assert not alive
    finally:
        gc.enable()


@pytest.mark.usefixtures("freed_at_once")
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("dropped", [False, True], ids=["run", "start"])
def test_r6_no_item_is_kept_alive_after_its_delivery(
    workers: int, dropped: bool, until: Until, gate: threading.Event
) -> None:
    alive: weakref.WeakSet[Item] = weakref.WeakSet()

    def source() -> Iterator[Item]:
        for _ in range(5):
            item = Item()
            alive.add(item)
            yield item
            del item
        gate.wait()

    manager = PipelineManager().add_worker(PassItem, workers=workers).add_worker(PassItem, name="again")
    if dropped:
        manager.start(source())
        until(lambda: manager.report.stages[-1].emitted == 5)
        until(lambda: not alive)
    else:
        results = manager.run(source())
        for _ in range(5):
            next(results)
        until(lambda: not alive)
    gate.set()
    if dropped:
        manager.wait_for_completion()
    else:
        assert list(results) == []


class FirstIsSlow(BaseWorker[Item, Item]):
    """Gives a new item for each, and for the first one when those behind it wait for their turn."""

    def __init__(self, behind: threading.Semaphore) -> None:
        self.behind = behind

    def process_item(self, item: Item) -> Item:
        if item.number == 0:
            for _ in range(3):
                assert self.behind.acquire(timeout=10)
        self.behind.release()
        return Item(item.number)

    def process_batch(self, items: list[Item]) -> list[Item | None]:
        return [Item(item.number) for item in items]


@pytest.mark.usefixtures("freed_at_once")
@pytest.mark.parametrize(
    ("workers", "batch_size", "serial"),
    [(1, None, False), (3, None, False), (1, 10, False), (3, 10, False), (1, None, True), (1, 10, True)],
)
def test_r6_no_item_is_kept_alive_while_those_behind_it_wait(
    workers: int, batch_size: int | None, serial: bool, until: Until
) -> None:
    behind = threading.Semaphore(0 if workers > 1 else 3)
    manager = PipelineManager(queue_size=8)
    manager.add_worker(FirstIsSlow, workers=workers, batch_size=batch_size, worker_args={"behind": behind})
    results = manager.run((Item(number) for number in range(100)), serial=serial)
    delivered = [weakref.ref(next(results)) for _ in range(2)]
    if serial:  # The plain loop has its last item in a variable until it takes the next.
        delivered.pop()
    until(lambda: not any(item() for item in delivered))
    results.close()
