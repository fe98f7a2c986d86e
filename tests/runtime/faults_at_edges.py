"""Faults of sources, sizes and neighbours, and what is kept alive."""

import gc
import itertools
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from my_pipeline.pipeline_core import SENTINEL, BaseWorker, FailedItem, PipelineError, SubTaskPoolWorker, robust_put

from fault_table import ERRORS, Counted, Same, Slow, fails, fault, gives, named, pipeline, settled
from watch import CORE_LOG, eventually


def enter_sources_that_raise() -> None:
    for kind, error in ERRORS.items():

        def generator(error: type[BaseException] = error) -> Iterator[int]:
            yield from range(3)
            raise error("injected")

        class Next:
            def __init__(self, error: type[BaseException] = error) -> None:
                self.numbers, self.error = iter(range(3)), error

            def __iter__(self) -> "Next":
                return self

            def __next__(self) -> int:
                for number in self.numbers:
                    return number
                raise self.error("injected")

        class Iter:
            def __init__(self, error: type[BaseException] = error) -> None:
                self.error = error

            def __iter__(self) -> Iterator[int]:
                raise self.error("injected")

        def function(queue: Any, stop_event: threading.Event, error: type[BaseException] = error) -> None:
            for number in range(3):
                robust_put(queue, number, stop_event)
            raise error("injected")

        sources: dict[str, Callable[[], Any]] = {"generator": generator, "__next__": Next, "__iter__": Iter}
        sources["function"] = lambda function=function: function
        for what, make in sources.items():

            def call(make: Any = make, error: type[BaseException] = error, what: str = what) -> None:
                expected = [] if what == "__iter__" else [0, 1, 2]
                for serial in (False, True):
                    if serial and error is KeyboardInterrupt and what != "function":
                        with pytest.raises(KeyboardInterrupt):  # R8: it is the main thread's own Ctrl-C.
                            list(pipeline(Same).run(make(), serial=True))
                        continue
                    manager = pipeline((Same, {"workers": 2}), Same)
                    fails(manager, make(), "read", error, stage="source", results=expected, serial=serial)

            named(f"source: {what} raises {kind}")(call)


enter_sources_that_raise()


@fault
def the_finally_of_a_source_raises() -> None:
    def source() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            raise ValueError("injected")

    for serial in (False, True):
        manager = pipeline(Same)
        for item in manager.run(source(), serial=serial):
            if item == 3:
                manager.stop()
                break
        gc.collect()
        assert eventually(lambda manager=manager: manager.report.state in ("stopped", "failed"))
        settled(manager)


@fault
def a_put_after_the_sentinel() -> None:
    raised = []

    def feed(queue: Any, stop_event: threading.Event) -> None:
        queue.put(1)
        queue.put(SENTINEL)
        try:
            queue.put(2)
        except Exception as error:  # ValueError, or what any put raises once the run is over.
            raised.append(error)
            raise

    manager = pipeline(Same)
    results = []
    with suppress(PipelineError):  # The run may be over before it raises.
        for result in manager.run(feed):
            results.append(result)
    assert results == [1]
    assert eventually(lambda: raised)
    assert manager.report.error is None or manager.report.error.stage == "source"
    settled(manager)


@fault
def a_source_function_fed_by_many_threads() -> None:
    def feed(queue: Any, stop_event: threading.Event) -> None:
        def put(first: int) -> None:
            for number in range(first, 1000, 4):
                robust_put(queue, number, stop_event)

        threads = [threading.Thread(target=put, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for serial in (False, True):
        manager = pipeline((Same, {"workers": 3}), queue_size=3)
        assert sorted(manager.run(feed, serial=serial)) == list(range(1000))
        settled(manager, "completed")


@fault
def a_source_function_that_ignores_the_stop() -> None:
    def feed(queue: Any, stop_event: threading.Event) -> None:
        for number in itertools.count():
            queue.put(number)

    manager = pipeline(Same, queue_size=1)
    iterator = manager.run(feed)
    next(iterator)
    iterator.close()
    assert eventually(lambda: manager.report.imbalances() == [])


@fault
def a_source_that_is_none() -> None:
    for source in (None, 5, object()):
        with pytest.raises(TypeError, match="source"):
            pipeline(Same).run(source)  # type: ignore[arg-type]


@fault
def failed_items_of_the_source() -> None:
    items = [0, FailedItem("x", ValueError("line 2")), 2, FailedItem("y", ValueError("line 4")), 4]
    for serial in (False, True):
        error = fails(pipeline(Same), items, "read", stage="source", results=[0], serial=serial)
        assert (error.item, error.index) == ("x", 1)
        manager = pipeline((Same, {"workers": 2}), on_error="skip")
        gives(manager, items, [0, 2, 4], serial=serial)
        assert [letter.item for letter in manager.report.dead_letters] == ["x", "y"]


@fault
def an_empty_source() -> None:
    sources: list[Any] = [[], iter(()), lambda queue, stop_event: None, lambda queue, stop_event: queue.put(SENTINEL)]
    for source in sources:
        gives(pipeline((Same, {"workers": 3}), Same), source, [])


@fault
def none_among_the_items() -> None:
    gives(pipeline(Same, (Same, {"workers": 2})), [1, None, 2], [1, 2])


@fault
def queue_size_one_everywhere() -> None:
    for workers in (1, 2, 5):
        for _ in range(5):
            stages = [(Same, {"workers": workers})] * 4
            gives(pipeline(*stages, queue_size=1), range(200), range(200))


@fault
def sixty_four_workers() -> None:
    gives(pipeline((Slow, {"workers": 64}), Same, queue_size=3), range(500), range(500))


@fault
def more_workers_than_items() -> None:
    gives(pipeline((Same, {"workers": 20}), (Slow, {"workers": 20})), range(3), range(3))


@fault
def a_slow_source() -> None:
    source = Counted(pause=0.01)
    manager = pipeline((Same, {"workers": 3}), Same)
    iterator = manager.run(source)
    assert [next(iterator) for _ in range(5)] == list(range(5))
    iterator.close()
    assert source.let_go()
    settled(manager, "stopped")


@fault
def a_slow_consumer() -> None:
    source = Counted()
    manager = pipeline(Same, (Same, {"workers": 3}), queue_size=4)
    iterator = manager.run(source)
    for expected in range(20):
        assert next(iterator) == expected
        time.sleep(0.005)
        assert source.read - expected <= 4 * 3 + 4 + 4 + 3 + 2, "R2"
    iterator.close()
    settled(manager, "stopped")


@fault
def two_managers_at_once() -> None:
    first, second = pipeline((Same, {"workers": 2})), pipeline((Same, {"workers": 2}))
    pairs = zip(first.run(range(200)), second.run(range(10**6)), strict=False)
    assert list(pairs) == [(number, number) for number in range(200)]
    del pairs
    gc.collect()
    settled(first, "completed")
    assert eventually(lambda: second.report.state == "stopped")
    settled(second)


@fault
def one_pipeline_is_the_source_of_another() -> None:
    inner = pipeline((Slow, {"workers": 2}))
    outer = pipeline((Slow, {"workers": 2}))
    iterator = outer.run(inner.run(itertools.count()))
    assert [next(iterator) for _ in range(20)] == list(range(20))
    iterator.close()
    assert eventually(lambda: inner.report.state == "stopped")
    settled(inner)
    settled(outer, "stopped")


@fault
def a_pipeline_inside_of_process_item() -> None:
    class Nested(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            return sum(pipeline((Same, {"workers": 2}), queue_size=1).run(range(item % 10)))

    gives(pipeline((Nested, {"workers": 3})), range(60), [sum(range(n % 10)) for n in range(60)])


@fault
def a_pipeline_that_fails_inside_of_process_item() -> None:
    class Inner(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            raise ValueError("injected")

    class Nested(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            return sum(pipeline(Inner, name="inner").run(range(item)))

    error = fails(pipeline((Nested, {"workers": 3})), range(9), "process_item", PipelineError, results=[0])
    assert isinstance(error.__cause__, PipelineError)
    assert isinstance(error.__cause__.__cause__, ValueError)


class Thing:
    """An item that can be watched."""


class Wraps(BaseWorker[Thing, Thing]):
    """Makes another of it, so that neither may be kept."""

    def process_item(self, item: Thing) -> Thing:
        return Thing()


class WrapsMany(BaseWorker[Thing, Thing]):
    def process_item(self, item: Thing) -> Generator[Thing, None, None]:
        yield Thing()


class WrapsBatch(BaseWorker[Thing, Thing]):
    def process_batch(self, items: list[Thing]) -> list[Thing]:
        return [Thing() for _ in items]


class WrapsInPool(SubTaskPoolWorker[Thing, Thing, Thing, Thing]):
    def process_sub_task(self, sub: Thing) -> Thing:
        return Thing()


def freed_by_whoever_lets_go() -> None:
    """Skip without a GIL: there CPython frees an object when the thread that made it runs again (PEP 703)."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("without a GIL an object is freed when the thread that made it runs again")


def keeps_nothing(stage: Any, *, serial: bool = False, ordered: bool = True) -> None:
    """No item and no result is alive after its delivery, while the source waits for its next."""
    if not serial:
        freed_by_whoever_lets_go()
    delivered = threading.Semaphore(0)
    alive: list[Any] = []
    kept: list[str] = []

    def source() -> Iterator[Thing]:
        for number in range(3):
            thing = Thing()
            alive.append(weakref.ref(thing))
            yield thing
            del thing
            delivered.acquire()
            if not eventually(lambda: not any(ref() for ref in alive), 2):
                kept.append(f"item {number}")

    manager = pipeline(stage, stage, ordered=ordered)
    for result in manager.run(source(), serial=serial):
        alive.append(weakref.ref(result))
        del result
        delivered.release()
    assert not kept, f"R6: kept alive after delivery: {kept} {stage}"
    settled(manager, "completed")


@fault
def no_item_is_kept_alive() -> None:
    keeps_nothing(Same)
    keeps_nothing(Wraps)
    for ordered in (True, False):
        keeps_nothing((Wraps, {"workers": 3}), ordered=ordered)
        keeps_nothing((WrapsMany, {"workers": 3}), ordered=ordered)


@fault
def no_item_is_kept_alive_by_generators_batches_and_pools() -> None:
    keeps_nothing(WrapsMany)
    for workers in (1, 2):
        keeps_nothing((WrapsBatch, {"workers": workers, "batch_size": 3, "batch_timeout": 0.01}))
        keeps_nothing((WrapsInPool, {"workers": workers}))


@fault
def no_item_is_kept_alive_in_serial_mode() -> None:
    for stage in (Wraps, WrapsMany, WrapsInPool):
        keeps_nothing(stage, serial=True)


@fault
def no_item_is_kept_alive_in_the_background() -> None:
    freed_by_whoever_lets_go()
    alive: list[Any] = []
    release = threading.Event()

    def source() -> Iterator[Thing]:
        for _ in range(3):
            thing = Thing()
            alive.append(weakref.ref(thing))
            yield thing
            del thing
        release.wait()

    manager = pipeline((Same, {"workers": 2}))
    manager.start(source())
    gone = eventually(lambda: len(alive) == 3 and not any(ref() for ref in alive), 5)
    release.set()
    manager.wait_for_completion(30)
    assert gone, "R6: start() keeps a dropped result alive"


@contextmanager
def unlogged() -> Iterator[None]:
    """What pytest keeps of the log would keep an error, and what that knows."""
    CORE_LOG.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        CORE_LOG.setLevel(logging.NOTSET)


@fault
def managers_and_workers_are_collected() -> None:
    class Watched(Same):
        def __init__(self, at: object = None) -> None:
            watched.append(weakref.ref(self))
            self.at = at

        def process_item(self, item: Any) -> Any:
            if item == self.at:
                raise ValueError("injected")
            return item

    class WatchedPool(WrapsInPool):
        def __init__(self) -> None:
            super().__init__()
            watched.append(weakref.ref(self))

    for mode in ("exhaust", "leave", "fail"):
        watched: list[weakref.ref[Any]] = []
        arguments = {"at": 10 if mode == "fail" else None}
        manager = pipeline((Watched, {"workers": 2, "worker_args": arguments}), WatchedPool)
        watched.append(weakref.ref(manager))
        iterator = manager.run(itertools.count() if mode == "leave" else range(20))
        with suppress(PipelineError), unlogged():
            for _ in iterator:
                if mode == "leave":
                    break
        iterator.close()
        assert len(watched) == 4
        del iterator, manager
        gc.collect()
        assert eventually(lambda watched=watched: gc.collect() or not any(ref() for ref in watched)), mode
