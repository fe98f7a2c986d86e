"""`when`: items for which it is false pass a stage by, unchanged and in order."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager, SubTaskPoolWorker

import workers_for_children
from workers_for_executors import AsyncHanging, Hanging, HangingBatch, HangingGenerator


class Pool(SubTaskPoolWorker[int, int, int, int]):
    def __init__(self) -> None:
        super().__init__(sub_workers=2)

    def process_sub_task(self, sub: int) -> int:
        return -sub


NONE_STUCK: dict[str, Any] = {"worker_args": {"stuck": set()}}
HOW: dict[str, tuple[type[BaseWorker[Any, Any]], dict[str, Any]]] = {
    "serial": (Hanging, NONE_STUCK),
    "thread": (Hanging, NONE_STUCK),
    "3 threads": (Hanging, NONE_STUCK | {"workers": 3}),
    "with a time limit": (Hanging, NONE_STUCK | {"workers": 2, "timeout": 100}),
    "with a rate": (Hanging, NONE_STUCK | {"workers": 2, "rate_limit": 1e6}),
    "batches": (HangingBatch, NONE_STUCK | {"batch_size": 4}),
    "batches of 3 threads": (HangingBatch, NONE_STUCK | {"batch_size": 4, "workers": 3}),
    "batches serial": (HangingBatch, NONE_STUCK | {"batch_size": 4}),
    "2 children": (Hanging, NONE_STUCK | {"workers": 2, "executor": "process"}),
    "batches of a child": (HangingBatch, NONE_STUCK | {"batch_size": 4, "executor": "process"}),
    "async": (AsyncHanging, NONE_STUCK | {"workers": 3}),
    "async serial": (AsyncHanging, NONE_STUCK),
    "pool": (Pool, {}),
    "pool of children": (
        workers_for_children.Pool,
        {"worker_args": {"worker_class": Hanging, "sub_workers": 2, "stuck": set()}},
    ),
}
each_executor = pytest.mark.parametrize("how", HOW)


def pipeline(how: str, when: Any, **options: Any) -> PipelineManager:
    worker_class, arguments = HOW[how]
    return PipelineManager(**options).add_worker(worker_class, name="some", when=when, **arguments)


@each_executor
@pytest.mark.parametrize("ordered", [True, False])
def test_r3_items_pass_by_unchanged_in_order_and_counted(how: str, ordered: bool) -> None:
    """A lambda will do, also beside child processes: it is called in this one."""
    manager = pipeline(how, lambda item: item % 3, ordered=ordered)
    results = list(manager.run(range(40), serial="serial" in how))
    expected = [-item if item % 3 else item for item in range(40)]
    assert (results if ordered else sorted(results)) == (expected if ordered else sorted(expected))
    (stage,) = manager.report.stages
    assert (stage.received, stage.processed, stage.passed, stage.emitted) == (40, 26, 14, 40)
    assert manager.report.imbalances() == []


@each_executor
def test_items_that_pass_are_the_same_objects(how: str) -> None:
    things = [object() for _ in range(20)]
    results = list(pipeline(how, lambda item: False).run(things, serial="serial" in how))
    assert all(result is thing for result, thing in zip(results, things, strict=True))


@each_executor
def test_r4_what_when_raises_fails_the_item_alone(how: str) -> None:
    calls: list[int] = []

    def when(item: int) -> bool:
        calls.append(item)
        if item == 7:
            raise LookupError("no such key")
        return item % 2 == 0

    manager = pipeline(how, when, on_error="skip")
    results = list(manager.run(range(12), serial="serial" in how))
    assert results == [item if item % 2 else -item for item in range(12) if item != 7]
    (letter,) = manager.report.dead_letters
    told = letter.stage, letter.index, letter.item, letter.attempts, repr(letter.error)
    assert told == ("some", 7, 7, 1, "LookupError('no such key')")
    assert calls == list(range(12))
    (stage,) = manager.report.stages
    assert (stage.failed, stage.passed, stage.processed, manager.report.imbalances()) == (1, 5, 6, [])


@each_executor
@pytest.mark.parametrize("error", [LookupError, SystemExit, StopIteration, GeneratorExit])
def test_r4_under_stop_it_ends_the_run_there(how: str, error: type[BaseException]) -> None:
    def when(item: int) -> bool:
        if item == 7:
            raise error("no such key")
        return True

    manager = pipeline(how, when)
    results: list[int] = []
    with pytest.raises(PipelineError) as caught:
        results.extend(manager.run(range(12), serial="serial" in how))
    raised = caught.value
    assert (raised.stage, raised.phase, raised.item, raised.index) == ("some", "when", 7, 7)
    assert type(raised.__cause__) is error
    assert results == [-item for item in range(7)]
    assert manager.report.imbalances() == []


def test_r5_what_when_raises_is_not_tried_again() -> None:
    calls: list[int] = []

    def when(item: int) -> bool:
        calls.append(item)
        raise ValueError("always")

    manager = PipelineManager(on_error="skip")
    manager.add_worker(Hanging, when=when, retries=3, **NONE_STUCK)
    assert list(manager.run(range(3))) == []
    assert calls == [0, 1, 2]
    assert manager.report.stages[0].retried == 0


@pytest.mark.parametrize("how", [how for how in HOW if "serial" not in how])
def test_when_is_called_in_one_thread_that_is_the_stages_own(how: str) -> None:
    """So that it may have a state without a lock."""
    threads: set[str] = set()

    def when(item: int) -> bool:
        threads.add(threading.current_thread().name)
        return True

    list(pipeline(how, when).run(range(100)))
    (thread,) = threads
    assert thread in ("pipeline-some-0", "pipeline-some-loop")


@each_executor
def test_a_truth_that_cannot_be_told_fails_the_item(how: str) -> None:
    class Neither:
        def __bool__(self) -> bool:
            raise TypeError("is ambiguous")

    manager = pipeline(how, lambda item: Neither(), on_error="skip")
    assert list(manager.run(range(3), serial="serial" in how)) == []
    assert [repr(letter.error) for letter in manager.report.dead_letters] == ["TypeError('is ambiguous')"] * 3


@each_executor
@pytest.mark.parametrize(("most", "results"), [(2, 10), (1, 5)])
def test_r5_failures_on_their_way_to_the_end_are_not_asked(how: str, most: int, results: int) -> None:
    """Where `max_failures` counts, the failure of an earlier stage travels through this one."""

    class Refuses(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item in (3, 6):
                raise ValueError(item)
            return item

    asked: list[Any] = []

    def when(item: int) -> int:
        asked.append(item)
        return item % 2

    manager = PipelineManager(on_error="skip", max_failures=most).add_worker(Refuses)
    worker_class, arguments = HOW[how]
    manager.add_worker(worker_class, when=when, **arguments)
    found: list[int] = []
    try:
        found.extend(manager.run(range(12), serial="serial" in how))
    except PipelineError as error:
        assert (most, error.item) == (1, 6)  # noqa: PT017  # It is not raised where two may fail.
    assert found == [-item if item % 2 else item for item in range(12) if item not in (3, 6)][:results]
    assert all(type(item) is int for item in asked)
    assert manager.report.imbalances() == []


def test_an_expanding_stage_lets_items_pass_among_the_others() -> None:
    for number in 1, 3:
        manager = PipelineManager()
        manager.add_worker(HangingGenerator, workers=number, when=lambda item: item > 2, **NONE_STUCK)
        assert list(manager.run(range(6))) == [0, 1, 2, 3, -3, 4, -4, 5, -5]


def test_r6_a_stop_in_when_is_a_stop() -> None:
    for how in ("thread", "3 threads", "serial", "async"):
        manager: PipelineManager

        def when(item: int) -> bool:
            if item == 5:
                manager.stop()  # noqa: B023  # It is called at once.
            return bool(item % 2)

        def source() -> Iterator[int]:
            yield from range(1000)

        manager = pipeline(how, when)
        results = list(manager.run(source(), serial=how == "serial"))
        assert results == [-item if item % 2 else item for item in range(len(results))]
        assert (manager.report.state, manager.report.imbalances()) == ("stopped", [])
