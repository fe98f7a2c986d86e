"""R6: no item and no exception outlives its use. The collector is off, so that a reference cycle keeps what it holds."""

import asyncio
import gc
import itertools
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
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


class AsyncPass(BaseWorker[Thing, Thing]):
    async def process_item(self, item: Thing) -> Thing:
        await asyncio.sleep(0)
        return item


class AsyncYields(BaseWorker[Thing, Thing]):
    async def process_item(self, item: Thing) -> AsyncGenerator[Thing, None]:
        yield item
        await asyncio.sleep(0)
        yield Thing(-1)


class AsyncFailsAtFirst(BaseWorker[Thing, Thing]):
    """Every item fails in its first attempts."""

    def setup(self) -> None:
        self.attempts = 0

    async def process_item(self, item: Thing) -> Thing:
        await asyncio.sleep(0)
        self.attempts += 1
        if self.attempts % 3:
            raise Refused(item)
        return item


class GivesAtTheEnd(BaseWorker[Thing, Thing]):
    def process_item(self, item: Thing) -> Thing:
        return item

    def finish(self) -> Iterator[Thing]:
        yield from things(10)


class AsyncGivesAtTheEnd(AsyncPass):
    async def finish(self) -> AsyncGenerator[Thing, None]:
        for thing in things(10):
            yield thing


OPTIONS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "time limit": {"timeout": 1000},
    "when": {"when": lambda item: item.number % 2},
    "rate": {"rate_limit": 1e6},
}


def pipeline(kind: Any, workers: int = 1, **options: Any) -> PipelineManager:
    arguments: dict[str, Any] = {"batch_size": 3} if kind is Batches else {}
    if issubclass(kind, FailsAtFirst | PoolThatFailsAtFirst | AsyncFailsAtFirst):
        arguments |= {"retries": 1000, "backoff": 0}
    arguments |= options.pop("of_kind", {})
    manager = PipelineManager(queue_size=4, **options).add_worker(Pass)
    return manager.add_worker(kind, name="kind", workers=workers, **arguments).add_worker(Pass, name="last")


KINDS = [Pass, Yields, Drops, Batches, FailsAtFirst, YieldsAtLast, Pool, PoolThatFailsAtFirst]
KINDS += [AsyncPass, AsyncYields, AsyncFailsAtFirst, GivesAtTheEnd, AsyncGivesAtTheEnd]
each_kind = pytest.mark.parametrize("kind", KINDS)
one_worker_and_several = pytest.mark.parametrize("workers", [1, 3])
both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("options", OPTIONS)
@each_kind
def test_r6_a_run_that_completed_keeps_nothing(kind: Any, options: str, workers: int, serial: bool) -> None:
    manager = pipeline(kind, workers, of_kind=OPTIONS[options])
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
@pytest.mark.parametrize("options", OPTIONS)
@each_kind
def test_r6_a_run_that_was_ended_keeps_nothing(
    kind: Any, options: str, end: Callable[[Any, Any], None], workers: int, serial: bool
) -> None:
    manager = pipeline(kind, workers, of_kind=OPTIONS[options])
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


class AsyncRefuses(Refuses):
    async def process_item(self, item: Thing) -> Thing:  # type: ignore[override]
        await asyncio.sleep(0)
        return Refuses.process_item(self, item)


class AsyncYieldsAndRefuses(Refuses):
    async def process_item(self, item: Thing) -> AsyncGenerator[Thing, None]:  # type: ignore[override]
        yield item
        yield Refuses.process_item(self, item)


class RefusesInPool(Pool):
    def process_sub_task(self, sub: Thing) -> Thing:
        if sub.number % 10 == 9:
            raise Refused(sub)
        return sub


REFUSING = [Refuses, YieldsAndRefuses, RefusesBatches, RefusesInPool, AsyncRefuses, AsyncYieldsAndRefuses]


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
@pytest.mark.parametrize("timeout", [None, 1000])
@pytest.mark.parametrize("kind", REFUSING)
def test_r6_a_run_with_failures_keeps_those_alone(
    kind: Any, timeout: float | None, on_error: Any, workers: int, serial: bool
) -> None:
    manager = PipelineManager(queue_size=4, on_error=on_error).add_worker(Pass)
    batch_size = 3 if kind is RefusesBatches else None
    manager.add_worker(kind, name="kind", workers=workers, batch_size=batch_size, timeout=timeout)
    with suppress(PipelineError):
        for _ in manager.run(things(60), serial=serial):
            pass
    _ = None
    if on_error == "skip":
        assert manager.report.skipped == 6
    assert eventually(lambda: {*Thing.alive} <= held(manager)), {*Thing.alive} - held(manager)


class RefusesTogether(BaseWorker[Thing, Thing]):
    """Refuses each item when three of them have come."""

    def __init__(self, barrier: threading.Barrier) -> None:
        self.barrier = barrier

    def process_item(self, item: Thing) -> Thing:
        self.barrier.wait(60)
        raise Refused(item)


class YieldsTogether(RefusesTogether):
    def process_item(self, item: Thing) -> Iterator[Thing]:  # type: ignore[override]
        yield super().process_item(item)


class YieldsBeforeTogether(RefusesTogether):
    def process_item(self, item: Thing) -> Iterator[Thing]:  # type: ignore[override]
        yield item
        yield super().process_item(item)


class AsyncRefusesTogether(RefusesTogether):
    def setup(self) -> None:
        self.came: list[int] = []

    async def process_item(self, item: Thing) -> Thing:  # type: ignore[override]
        self.came.append(item.number)
        while len(self.came) < 3:
            await asyncio.sleep(0.001)
        raise Refused(item)


class AsyncYieldsBeforeTogether(AsyncRefusesTogether):
    async def process_item(self, item: Thing) -> AsyncGenerator[Thing, None]:  # type: ignore[override]
        yield item
        yield await AsyncRefusesTogether.process_item(self, item)


class PoolRefusesTogether(SubTaskPoolWorker[Thing, Thing, Thing, Thing]):
    def __init__(self, barrier: threading.Barrier) -> None:
        super().__init__(sub_workers=3)
        self.barrier = barrier

    def process_sub_task(self, sub: Thing) -> Thing:
        self.barrier.wait(60)
        raise Refused(sub)


class SplitsAndRefusesTogether(PoolRefusesTogether):
    def split(self, item: Thing) -> list[Thing]:
        return [item]


@pytest.mark.parametrize("timeout", [None, 1000])
@pytest.mark.parametrize(
    "kind",
    [
        RefusesTogether,
        YieldsTogether,
        YieldsBeforeTogether,
        AsyncRefusesTogether,
        AsyncYieldsBeforeTogether,
        PoolRefusesTogether,
        SplitsAndRefusesTogether,
    ],
)
def test_r5_what_a_failure_keeps_is_not_the_others_that_came_with_it(kind: Any, timeout: float | None) -> None:
    """The traceback of the one that is told refers to frames of its thread, and these to what they worked on next."""
    if kind is SplitsAndRefusesTogether and timeout:
        pytest.skip("threads of a pool that splits items have no time limit")
    manager = PipelineManager(queue_size=4)
    workers = 1 if issubclass(kind, PoolRefusesTogether) else 3
    manager.add_worker(kind, workers=workers, worker_args={"barrier": threading.Barrier(3)}, timeout=timeout)
    with pytest.raises(PipelineError):
        list(manager.run(things(3)))
    assert eventually(lambda: {*Thing.alive} <= held(manager)), {*Thing.alive} - held(manager)


class ComesLate(BaseWorker[Thing, Thing]):
    """The first call for every tenth item waits for the gate, which opens when the run is over."""

    def __init__(self, gate: threading.Event, left: list[None], waited: set[int], expands: bool) -> None:
        self.gate, self.left, self.waited, self.expands = gate, left, waited, expands

    def process_item(self, item: Thing) -> Any:
        return self.outputs(item) if self.expands else self.work(item)

    def work(self, item: Thing) -> Thing:
        if item.number % 10 == 9 and item.number not in self.waited:
            self.waited.add(item.number)
            self.gate.wait(600)
        return item

    def outputs(self, item: Thing) -> Iterator[Thing]:
        yield item
        yield self.work(item)

    def teardown(self) -> None:
        self.left.append(None)


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("expands", [False, True])
@one_worker_and_several
def test_r6_a_call_that_returned_after_its_time_limit_keeps_nothing(
    workers: int, expands: bool, retries: int, gate: threading.Event
) -> None:
    left: list[None] = []
    arguments = {"gate": gate, "left": left, "waited": set(), "expands": expands}
    manager = PipelineManager(queue_size=4, on_error="skip").add_worker(Pass)
    manager.add_worker(
        ComesLate, name="kind", workers=workers, worker_args=arguments, timeout=0.3, retries=retries, backoff=0
    )
    for _ in manager.run(things(30)):
        pass
    _ = None
    gate.set()
    assert eventually(lambda: len(left) == workers + manager.report.stages[1].replaced)
    assert manager.report.skipped == (3 if expands or retries == 0 else 0)
    assert eventually(lambda: {*Thing.alive} <= held(manager)), {*Thing.alive} - held(manager)


@both_modes
def test_r6_an_async_call_that_was_cancelled_at_its_time_limit_keeps_nothing(serial: bool) -> None:
    class Hangs(BaseWorker[Thing, Thing]):
        async def process_item(self, item: Thing) -> Thing:
            if item.number % 10 == 9:
                await asyncio.Event().wait()
            return item

    manager = PipelineManager(queue_size=4, on_error="skip").add_worker(Pass)
    manager.add_worker(Hangs, name="kind", timeout=0.3, retries=1, backoff=0)
    for _ in manager.run(things(30), serial=serial):
        pass
    _ = None
    assert manager.report.skipped == 3
    assert eventually(lambda: {*Thing.alive} <= held(manager)), {*Thing.alive} - held(manager)


@pytest.mark.parametrize("timeout", [None, 1000])
@pytest.mark.parametrize("expands", [False, True])
def test_r6_async_calls_that_a_stop_cancels_keep_nothing(expands: bool, timeout: float | None) -> None:
    begun: list[None] = []

    class Hangs(BaseWorker[Thing, Thing]):
        async def process_item(self, item: Thing) -> Thing:
            begun.append(None)
            await asyncio.Event().wait()
            return item

    class HangsInTheMiddle(Hangs):
        async def process_item(self, item: Thing) -> AsyncGenerator[Thing, None]:  # type: ignore[override]
            yield item
            begun.append(None)
            await asyncio.Event().wait()

    manager = PipelineManager(queue_size=4).add_worker(
        HangsInTheMiddle if expands else Hangs, workers=3, timeout=timeout
    )
    manager.start(things())
    assert eventually(lambda: len(begun) == 3)
    manager.stop()
    manager.wait_for_completion(60)
    assert nothing_is_kept()
