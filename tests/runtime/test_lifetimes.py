"""R6: no item and no exception outlives its use. The collector is off, so that a reference cycle keeps what it holds."""

import gc
import itertools
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager, SubTaskPoolWorker, robust_put

from watch import eventually

pytestmark = pytest.mark.usefixtures("freed_at_once", "no_collector")


class Thing:
    """An item that is watched, with a number."""

    alive: ClassVar["weakref.WeakSet[Any]"] = weakref.WeakSet()

    def __init__(self, number: int) -> None:
        self.number = number
        self.alive.add(self)


class Refused(Exception):
    """An exception that is watched."""

    def __init__(self, thing: Thing) -> None:
        super().__init__(thing)
        Thing.alive.add(self)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    Thing.alive.clear()
    gc.disable()
    yield
    gc.enable()


def things(count: int | None = None) -> Iterator[Thing]:
    return map(Thing, itertools.count() if count is None else range(count))


def nothing_is_kept() -> bool:
    return eventually(lambda: not Thing.alive)


class Pass(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item


class Yields(BaseWorker[Thing, Thing]):
    def process_item(self, item: Thing) -> Generator[Thing, None, None]:
        yield item
        yield Thing(-1)


class Drops(BaseWorker[Thing, Thing]):
    def process_item(self, item: Thing) -> Thing | None:
        return item if item.number % 3 else None


class Batches(BaseWorker[Thing, Thing]):
    """A batch that holds every fourth item fails; each of its items alone does not."""

    def process_batch(self, items: list[Thing]) -> list[Thing | None]:
        if len(items) > 1 and any(item.number % 4 == 0 for item in items):
            raise Refused(items[0])
        return list(items)


class FailsAtFirst(BaseWorker[Thing, Thing]):
    """Every item fails in its first two attempts."""

    def setup(self) -> None:
        self.attempts = 0
        event, wait = self.stop_event, self.stop_event.wait
        event.wait = lambda timeout=None: wait(timeout and 0)  # type: ignore[method-assign]  # No pause.

    def process_item(self, item: Thing) -> Thing:
        self.attempts += 1
        if self.attempts % 3:
            raise Refused(item)
        return item


class YieldsAtLast(FailsAtFirst):
    def process_item(self, item: Thing) -> Generator[Thing, None, None]:  # type: ignore[override]
        yield super().process_item(item)


class Pool(SubTaskPoolWorker[Thing, Thing, Thing, Thing]):
    def __init__(self) -> None:
        super().__init__(sub_workers=2)

    def process_sub_task(self, sub: Thing) -> Thing:
        return sub


class PoolThatFailsAtFirst(Pool):
    def setup(self) -> None:
        self.attempts = itertools.count(1)
        event, wait = self.stop_event, self.stop_event.wait
        event.wait = lambda timeout=None: wait(timeout and 0)  # type: ignore[method-assign]

    def process_sub_task(self, sub: Thing) -> Thing:
        if next(self.attempts) % 3:
            raise Refused(sub)
        return sub


def pipeline(kind: Any, workers: int = 1, **options: Any) -> PipelineManager:
    arguments: dict[str, Any] = {"batch_size": 3} if kind is Batches else {}
    arguments |= {"retries": 1000} if issubclass(kind, FailsAtFirst | PoolThatFailsAtFirst) else {}
    manager = PipelineManager(queue_size=4, **options).add_worker(Pass)
    return manager.add_worker(kind, name="kind", workers=workers, **arguments).add_worker(Pass, name="last")


KINDS = [Pass, Yields, Drops, Batches, FailsAtFirst, YieldsAtLast, Pool, PoolThatFailsAtFirst]
each_kind = pytest.mark.parametrize("kind", KINDS)
one_worker_and_several = pytest.mark.parametrize("workers", [1, 3])
both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])


@both_modes
@one_worker_and_several
@each_kind
def test_r6_a_run_that_completed_keeps_nothing(kind: Any, workers: int, serial: bool) -> None:
    manager = pipeline(kind, workers)
    for _ in manager.run(things(40), serial=serial):
        pass
    del _
    assert manager.report.state == "completed"
    assert nothing_is_kept()


def stop(manager: PipelineManager, results: Iterator[Any]) -> None:
    manager.stop()
    for _ in results:
        pass


def leave(manager: PipelineManager, results: Iterator[Any]) -> None:
    results.close()  # type: ignore[attr-defined]


def drain(manager: PipelineManager, results: Iterator[Any]) -> None:
    manager.stop(drain=True)
    for _ in results:
        pass


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("end", [stop, leave, drain])
@each_kind
def test_r6_a_run_that_was_ended_keeps_nothing(
    kind: Any, end: Callable[[Any, Any], None], workers: int, serial: bool
) -> None:
    manager = pipeline(kind, workers)
    results = manager.run(things(), serial=serial)
    for _ in itertools.islice(results, 10):
        pass
    del _
    end(manager, results)
    assert manager.report.state in ("stopped", "completed")
    assert nothing_is_kept()


def test_r6_a_source_function_that_is_refused_keeps_nothing() -> None:
    def source(queue: Any, stop_event: threading.Event) -> None:
        while robust_put(queue, Thing(0), stop_event):
            pass

    manager = pipeline(Pass)
    results = manager.run(source)
    next(results)
    results.close()
    assert nothing_is_kept()


class Refuses(BaseWorker[Thing, Thing]):
    """Refuses every tenth item."""

    def process_item(self, item: Thing) -> Thing:
        if item.number % 10 == 9:
            raise Refused(item)
        return item


class YieldsAndRefuses(Refuses):
    def process_item(self, item: Thing) -> Generator[Thing, None, None]:  # type: ignore[override]
        yield item
        yield super().process_item(item)


class RefusesBatches(Refuses):
    def process_batch(self, items: list[Thing]) -> list[Thing | None]:
        return [self.process_item(item) for item in items]


class RefusesInPool(Pool):
    def process_sub_task(self, sub: Thing) -> Thing:
        if sub.number % 10 == 9:
            raise Refused(sub)
        return sub


REFUSING = [Refuses, YieldsAndRefuses, RefusesBatches, RefusesInPool]


def held(manager: PipelineManager) -> set[Any]:
    """What the report is there to keep: the items that failed, and their errors."""
    report = manager.report
    failures: list[tuple[Any, Any]] = [(letter.item, letter.error) for letter in report.dead_letters]
    if report.error is not None:
        failures.append((report.error.item, report.error.__cause__))
    batch = {neighbour for item, _ in failures for neighbour in Thing.alive if is_near(neighbour, item)}
    return {part for failure in failures for part in failure} | batch


def is_near(neighbour: Any, item: Any) -> bool:
    """Whether it was in a batch with the item: the frames of the error, which its traceback shows, know it."""
    return isinstance(neighbour, Thing) and abs(neighbour.number - item.number) < 3


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("kind", REFUSING)
def test_r6_a_run_with_failures_keeps_those_alone(kind: Any, on_error: Any, workers: int, serial: bool) -> None:
    manager = PipelineManager(queue_size=4, on_error=on_error).add_worker(Pass)
    manager.add_worker(kind, name="kind", workers=workers, batch_size=3 if kind is RefusesBatches else None)
    with suppress(PipelineError):
        for _ in manager.run(things(60), serial=serial):
            pass
    _ = None
    if on_error == "skip":
        assert manager.report.skipped == 6
    assert eventually(lambda: {*Thing.alive} <= held(manager)), {*Thing.alive} - held(manager)
