"""`finish`: what each worker still gives when the stream has ended in order, behind all other outputs."""

import asyncio
import itertools
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, FailedItem, PipelineError, PipelineManager, SubTaskPoolWorker

import workers_for_executors as workers

Until = Callable[[Callable[[], object]], None]
HOW: dict[str, Any] = {
    "serial": (workers.Totals, {}, 1),
    "1 thread": (workers.Totals, {}, 1),
    "3 threads": (workers.Totals, {"workers": 3}, 3),
    "2 children": (workers.Totals, {"workers": 2, "executor": "process"}, 2),
    "async": (workers.AsyncTotals, {"workers": 3}, 1),
    "async generator": (workers.AsyncTotalsOneByOne, {"workers": 3}, 1),
    "async serial": (workers.AsyncTotals, {}, 1),
    "async generator serial": (workers.AsyncTotalsOneByOne, {}, 1),
}
each_executor = pytest.mark.parametrize("executor", HOW)
both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
one_worker_and_several = pytest.mark.parametrize("number", [1, 3])


class Pass(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item


def pipeline(executor: str, how: str, manager: PipelineManager | None = None) -> tuple[PipelineManager, bool, int]:
    """A stage whose workers give something at the end, one behind it, whether it is to run serially, and its workers."""
    worker_class, options, number = HOW[executor]
    manager = manager or PipelineManager()
    manager.add_worker(worker_class, name="totals", worker_args={"how": how}, **options)
    return manager.add_worker(Pass), "serial" in executor, number


@each_executor
@pytest.mark.parametrize("how", ["list", "tuple", "generator", "iterator"])
@pytest.mark.parametrize("items", [0, 1, 50])
def test_what_finish_gives_comes_behind_all_other_outputs_by_worker(executor: str, how: str, items: int) -> None:
    manager, serial, number = pipeline(executor, how)
    at_the_end = list(itertools.chain.from_iterable(("total", index) for index in range(number)))
    assert list(manager.run(range(items), serial=serial)) == [*range(items), *at_the_end]
    stage, behind = manager.report.stages
    assert (stage.received, stage.processed, stage.emitted) == (items, items, items + 2 * number)
    assert behind.received == behind.processed == items + 2 * number
    assert (manager.report.state, manager.report.imbalances()) == ("completed", [])


@each_executor
@pytest.mark.parametrize("how", ["nothing", "empty"])
def test_finish_may_give_nothing(executor: str, how: str) -> None:
    manager, serial, _ = pipeline(executor, how)
    assert list(manager.run(range(5), serial=serial)) == [*range(5)]
    assert manager.report.imbalances() == []


@each_executor
@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("how", ["error", "late error", "exit"])
def test_r4_an_error_of_finish_ends_the_run_behind_what_came_before_it(executor: str, on_error: Any, how: str) -> None:
    """Whatever `on_error` says: it is no item's."""
    manager, serial, _ = pipeline(executor, how, PipelineManager(on_error=on_error))
    results: list[Any] = []
    with pytest.raises(PipelineError) as caught:
        results.extend(manager.run(range(5), serial=serial))
    error = caught.value
    assert results == [*range(5), "total"][: 6 if how == "late error" else 5]
    assert (error.stage, error.phase, error.item, error.index, error.attempt) == ("totals", "finish", None, None, 1)
    cause = SystemExit("no totals") if how == "exit" else ValueError("no totals")
    assert repr(error.__cause__) == repr(cause)
    assert (manager.report.state, manager.report.skipped, manager.report.imbalances()) == ("failed", 0, [])


@each_executor
def test_r5_a_failed_item_of_finish_is_a_dead_letter_under_skip(executor: str) -> None:
    manager, serial, number = pipeline(executor, "failed item", PipelineManager(on_error="skip"))
    at_the_end = list(itertools.chain.from_iterable(("total", index) for index in range(number)))
    assert list(manager.run(range(5), serial=serial)) == [*range(5), *at_the_end]
    told = [(each.stage, each.index, each.item, repr(each.error)) for each in manager.report.dead_letters]
    assert told == [("totals", None, "rest", "ValueError('is torn')")] * number
    assert (manager.report.stages[0].failed, manager.report.imbalances()) == (0, [])


@each_executor
def test_r5_a_failed_item_of_finish_ends_the_run_under_stop(executor: str) -> None:
    manager, serial, _ = pipeline(executor, "failed item")
    results: list[Any] = []
    with pytest.raises(PipelineError, match="'totals' failed in finish: ValueError: is torn") as caught:
        results.extend(manager.run(range(5), serial=serial))
    assert (caught.value.item, results) == ("rest", [*range(5), "total"])
    assert manager.report.imbalances() == []


@both_modes
@one_worker_and_several
def test_r3_a_failed_item_of_finish_is_the_last_that_max_failures_counts(number: int, serial: bool) -> None:
    """It comes behind the failures of items, though those are still on their way through a slow stage."""

    class Refuses(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item == 50:
                raise ValueError(item)
            return item

        def finish(self) -> list[Any]:
            return [FailedItem("the end", ValueError("is torn"))] if self.index == 0 else []

    class Slow(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            self.stop_event.wait(0.0005)
            return item

    manager = PipelineManager(on_error="skip", max_failures=1).add_worker(Refuses, workers=number).add_worker(Slow)
    results: list[int] = []
    with pytest.raises(PipelineError, match="failed in finish: ValueError: is torn"):
        results.extend(manager.run(range(60), serial=serial))
    assert results == [item for item in range(60) if item != 50]
    assert [letter.item for letter in manager.report.dead_letters] == [50]
    assert manager.report.imbalances() == []


@both_modes
def test_r5_a_share_of_failures_is_not_judged_by_what_finish_gives(serial: bool) -> None:
    """It has no place among the items: 31 of 1,000 are 3%, and not 31 of the first hundred."""

    class Refuses(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item >= 970:
                raise ValueError(item)
            return item

        def finish(self) -> list[Any]:
            return [FailedItem("the end", ValueError("is torn"))]

    manager = PipelineManager(on_error="skip", max_failures=0.1).add_worker(Refuses)
    assert list(manager.run(range(1000), serial=serial)) == list(range(970))
    assert manager.report.skipped == 31


def test_r11_a_child_that_dies_in_its_finish_is_said_to_have_died() -> None:
    manager, _, _ = pipeline("2 children", "death")
    with pytest.raises(PipelineError, match=r"failed in finish: .*a child process died in the middle of a call"):
        list(manager.run(range(5)))
    assert manager.report.imbalances() == []


class Tells(BaseWorker[Any, Any]):
    """Writes down what is called, and in which thread."""

    def __init__(self, told: list[Any]) -> None:
        self.told = told

    def note(self, what: str) -> None:
        self.told.append((what, self.index, threading.get_ident()))

    def setup(self) -> None:
        self.note("setup")

    def process_item(self, item: Any) -> Any:
        if item == "bad":
            raise ValueError("bad")
        return item

    def finish(self) -> None:
        self.note("finish")

    def teardown(self) -> None:
        self.note("teardown")


class AsyncTells(Tells):
    async def process_item(self, item: Any) -> Any:
        return Tells.process_item(self, item)


class PoolTells(Tells, SubTaskPoolWorker[Any, Any, Any, Any]):
    def __init__(self, told: list[Any]) -> None:
        Tells.__init__(self, told)
        SubTaskPoolWorker.__init__(self, sub_workers=2)

    process_item = SubTaskPoolWorker.process_item

    def process_sub_task(self, sub: Any) -> Any:
        return Tells.process_item(self, sub)


KINDS: dict[str, Any] = {
    "thread": (Tells, 1),
    "3 threads": (Tells, 3),
    "async": (AsyncTells, 3),
    "pool": (PoolTells, 1),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


@both_modes
@each_kind
def test_r10_finish_is_called_once_in_the_thread_of_each_worker_before_its_teardown(kind: str, serial: bool) -> None:
    told: list[Any] = []
    worker_class, number = KINDS[kind]
    manager = PipelineManager().add_worker(worker_class, workers=number, worker_args={"told": told})
    assert list(manager.run(range(9), serial=serial)) == list(range(9))
    for index in {index for _, index, _ in told}:
        ((first, second, third), threads) = zip(*[(what, who) for what, at, who in told if at == index], strict=True)
        assert (first, second, third) == ("setup", "finish", "teardown")
        assert len(set(threads)) == 1
    assert len(told) == 3 * (1 if serial or kind == "async" else number)


@both_modes
@each_kind
@pytest.mark.parametrize("end", ["error", "error before", "source", "stop", "leave"])
def test_finish_is_not_called_if_the_stream_has_not_ended_in_order(kind: str, end: str, serial: bool) -> None:
    told: list[Any] = []
    worker_class, number = KINDS[kind]
    manager = PipelineManager()
    if end == "error before":
        manager.add_worker(Tells, name="before", worker_args={"told": []})
    manager.add_worker(worker_class, workers=number, worker_args={"told": told}).add_worker(Pass)

    def source() -> Iterator[Any]:
        yield from range(5)
        if end == "source":
            raise ValueError("unreadable")
        yield from ["bad"] if end.startswith("error") else itertools.count()

    results = manager.run(source(), serial=serial)
    if end == "stop":
        next(results)
        manager.stop()
        assert list(results) == []
    elif end == "leave":
        next(results)
        results.close()
    else:
        with pytest.raises(PipelineError, match=r"bad|unreadable"):
            list(results)
    assert "finish" not in [what for what, _, _ in told]
    assert manager.report.imbalances() == []


@pytest.mark.parametrize("kind", ["3 threads", "async"])
def test_finish_is_not_called_after_a_stop_of_a_stage_that_has_nothing_in_hand(
    kind: str, until: Until, asleep: Callable[[str], bool]
) -> None:
    told: list[Any] = []
    worker_class, number = KINDS[kind]
    manager = PipelineManager(name="idle").add_worker(
        worker_class, name="idle", workers=number, worker_args={"told": told}
    )
    more = threading.Event()

    def source() -> Iterator[int]:
        yield 1
        more.wait()

    results = manager.run(source())
    assert next(results) == 1
    until(lambda: asleep("idle-idle-loop"))
    manager.stop()
    more.set()
    assert list(results) == []
    assert "finish" not in [what for what, _, _ in told]


@both_modes
@each_kind
def test_r7_a_drain_is_an_end_in_order(kind: str, serial: bool) -> None:
    told: list[Any] = []
    worker_class, number = KINDS[kind]
    manager = PipelineManager(queue_size=2).add_worker(worker_class, workers=number, worker_args={"told": told})
    results = manager.run(itertools.count(), serial=serial)
    assert next(results) == 0
    manager.stop(drain=True)
    assert list(results) == list(range(1, manager.report.read))
    assert "finish" in [what for what, _, _ in told]


class Endless(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item

    def finish(self) -> Iterator[int]:
        yield from itertools.count()


class AsyncEndless(Endless):
    async def process_item(self, item: Any) -> Any:
        return item

    async def finish(self) -> AsyncGenerator[int, None]:  # type: ignore[override]
        for each in itertools.count():
            await asyncio.sleep(0)
            yield each


@both_modes
@pytest.mark.parametrize("kind", [Endless, AsyncEndless])
@one_worker_and_several
@pytest.mark.parametrize("end", ["leave", "stop", "error behind"])
def test_r6_an_endless_finish_ends_with_the_run(end: str, number: int, kind: Any, serial: bool) -> None:
    """It is bounded like every other output, and the accounts balance: no output of it is an item's."""

    class Refuses(BaseWorker[Any, Any]):
        def process_item(self, item: Any) -> Any:
            if end == "error behind" and item == 20:
                raise ValueError(item)
            return item

    manager = PipelineManager(queue_size=3).add_worker(kind, workers=number).add_worker(Refuses)
    results = manager.run("abc", serial=serial)
    taken: list[Any] = []
    with pytest.raises(PipelineError) if end == "error behind" else pytest.MonkeyPatch.context():
        for result in results:
            taken.append(result)
            if end != "error behind" and result == 10:
                manager.stop() if end == "stop" else results.close()
                break
        list(results)
    assert taken == [*"abc", *range(20 if end == "error behind" else 11)]
    report = manager.report
    assert report.imbalances() == []
    assert all(min(stage.processed, stage.aborted) >= 0 for stage in report.stages)
    assert (report.stages[0].processed, report.stages[0].aborted) == (3, 0)


@both_modes
@pytest.mark.parametrize("end", ["leave", "stop"])
def test_r3_a_consumer_that_leaves_at_an_output_of_finish_leaves_accounts_that_are_right(
    end: str, serial: bool
) -> None:
    manager = PipelineManager().add_worker(workers.Totals)
    results = manager.run(range(3), serial=serial)
    for result in results:
        if result == "total":
            manager.stop() if end == "stop" else results.close()
            break
    list(results)
    report, (stage,) = manager.report, manager.report.stages
    assert (stage.received, stage.processed, stage.aborted, report.delivered) == (3, 3, 0, 4)
    assert report.imbalances() == []


def test_r7_a_stop_while_an_async_finish_waits_is_no_failure() -> None:
    begun = threading.Event()

    class Waits(BaseWorker[int, int]):
        async def process_item(self, item: int) -> int:
            return item

        async def finish(self) -> None:
            begun.set()
            await asyncio.Event().wait()

    manager = PipelineManager().add_worker(Waits)
    manager.start(range(3))
    assert begun.wait(60)
    manager.stop()
    report = manager.wait_for_completion(60)
    assert (report.state, report.error, report.imbalances()) == ("stopped", None, [])


@both_modes
def test_r7_a_stop_between_two_outputs_of_an_async_finish_is_no_failure(serial: bool, gate: threading.Event) -> None:
    begun = threading.Event()

    class GivesOne(BaseWorker[int, int]):
        async def process_item(self, item: int) -> int:
            return item

        async def finish(self) -> AsyncGenerator[int, None]:
            begun.set()
            gate.wait(60)
            yield 1
            yield 2

    manager = PipelineManager(on_error="skip").add_worker(GivesOne)

    def stop() -> None:
        begun.wait(60)
        manager.stop()
        gate.set()

    stopper = threading.Thread(target=stop)
    stopper.start()
    results = list(manager.run([0], serial=serial))
    stopper.join()
    assert results in ([], [0], [0, 1])
    report = manager.report
    assert (report.state, report.error, report.imbalances()) == ("stopped", None, [])


@both_modes
@one_worker_and_several
def test_a_teardown_that_raises_comes_behind_what_the_later_stages_give_at_the_end(number: int, serial: bool) -> None:
    class FailsInTeardown(BaseWorker[Any, Any]):
        def process_item(self, item: Any) -> Any:
            return item

        def teardown(self) -> None:
            raise OSError("the file is not flushed")

    manager = PipelineManager().add_worker(FailsInTeardown, workers=number).add_worker(workers.Totals)
    results: list[Any] = []
    with pytest.raises(PipelineError, match="failed in teardown: OSError: the file is not flushed"):
        results.extend(manager.run(range(3), serial=serial))
    assert results == [0, 1, 2, "total", 0]
    assert manager.report.imbalances() == []


def test_r1_the_last_batch_comes_before_what_finish_gives() -> None:
    class Batches(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int | None]:
            self.last = items
            return list(items)

        def finish(self) -> list[Any]:
            return [("last batch", self.last)]

    manager = PipelineManager().add_worker(Batches, batch_size=4, batch_timeout=100)
    assert list(manager.run(range(10))) == [*range(10), ("last batch", [8, 9])]


@both_modes
def test_what_finish_gives_goes_through_the_later_stages_before_their_finish(serial: bool) -> None:
    manager = PipelineManager()
    for name in "first", "second", "third":
        manager.add_worker(workers.Totals, name=name, workers=1)
    results = list(manager.run(range(2), serial=serial))
    assert results == [0, 1, *["total", 0] * 3]
    assert [stage.received for stage in manager.report.stages] == [2, 4, 6]
