"""How far a run is: barriers between the items, and which item of the source something came from."""

import os
import random
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from my_pipeline.pipeline_core import (
    Barrier,
    BaseWorker,
    DeadLetter,
    FailedItem,
    PipelineError,
    PipelineManager,
    SubTaskPoolWorker,
)

TOTAL = ("total",)


class Filters(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return None if item[-1] % 3 == 1 else item


class Expands(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Generator[Any, None, None]:
        for number in range(item[-1] % 3):
            yield (*item, number)


class Fails(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        if hash(item) % 5 == 0:
            raise ValueError(item)
        return item


class Batches(BaseWorker[Any, Any]):
    def process_batch(self, items: list[Any]) -> list[Any]:
        return [FailedItem(item, ValueError("bad")) if hash(item) % 7 == 0 else item for item in items]


class Splits(SubTaskPoolWorker[Any, Any, Any, Any]):
    def process_sub_task(self, item: Any) -> Any:
        return item


class Asynchronous(BaseWorker[Any, Any]):
    async def process_item(self, item: Any) -> Any:
        return item


class Counts(BaseWorker[Any, Any]):
    def __init__(self) -> None:
        self.seen = 0

    def process_item(self, item: Any) -> Any:
        self.seen += 1
        return item

    def finish(self) -> list[Any]:
        return [TOTAL]


KINDS: dict[str, dict[str, Any]] = {
    "filters": {"worker_class": Filters},
    "expands": {"worker_class": Expands},
    "fails": {"worker_class": Fails},
    "batches": {"worker_class": Batches, "batch_size": 4},
    "pool": {"worker_class": Splits, "worker_args": {"sub_workers": 2}},
    "async": {"worker_class": Asynchronous},
    "passes": {"worker_class": Fails, "when": lambda item: item[-1] % 2 == 0},
    "counts": {"worker_class": Counts},
}
EXAMPLES = int(os.environ.get("STRESS_EXAMPLES", "2000"))
examples = settings(max_examples=max(10, EXAMPLES // 20), deadline=None)
stages = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.integers(1, 3)), min_size=1, max_size=4)


def pipeline(drawn: list[tuple[str, int]], letters: list[DeadLetter], *, ordered: bool = True) -> PipelineManager:
    manager = PipelineManager(on_error="skip", on_dead_letter=letters.append, ordered=ordered, queue_size=5)
    for number, (kind, workers) in enumerate(drawn):
        manager.add_worker(name=f"{kind}_{number}", workers=workers, **KINDS[kind])
    return manager


def source(number: int, reached: Callable[[int], object], rng: random.Random) -> Iterator[Any]:
    for item in range(number):
        yield (item,) if item % 11 != 7 else FailedItem((item,), ValueError("unreadable"))
        if rng.random() < 0.2:
            yield Barrier(lambda item=item: reached(item))  # type: ignore[misc]


def first(item: Any) -> int:
    return int(item[0])


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@examples
@given(drawn=stages, number=st.integers(0, 60), seed=st.integers(0, 1000))
def test_u4_at_a_barrier_all_of_the_items_before_it_is_there_and_nothing_of_those_behind(
    serial: bool, ordered: bool, drawn: list[tuple[str, int]], number: int, seed: int
) -> None:
    letters: list[DeadLetter] = []
    manager = pipeline(drawn, letters, ordered=ordered).expect_barriers()
    results: list[Any] = []
    reached: list[tuple[int, int, int]] = []
    feed = source(number, lambda item: reached.append((item, len(results), len(letters))), random.Random(seed))
    for result in manager.run(feed, serial=serial):
        results.append(result)
    assert len(reached) == sum(type(item) is Barrier for item in source(number, print, random.Random(seed)))
    for item, given_results, given_letters in reached:
        assert all(first(result) <= item for result in results[:given_results])
        assert all(first(result) > item for result in results[given_results:] if result != TOTAL)
        assert all(first(letter.item) <= item for letter in letters[:given_letters])
        assert all(first(letter.item) > item for letter in letters[given_letters:] if letter.item != TOTAL)
    assert not manager.report.imbalances()


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@examples
@given(drawn=stages, number=st.integers(0, 60), seed=st.integers(0, 1000))
def test_u5_a_dead_letter_says_which_item_of_the_source_it_came_from(
    serial: bool, ordered: bool, drawn: list[tuple[str, int]], number: int, seed: int
) -> None:
    letters: list[DeadLetter] = []
    manager = pipeline(drawn, letters, ordered=ordered)
    barriers = seed % 2
    if barriers:
        manager.expect_barriers()
    feed = [item for item in source(number, print, random.Random(seed)) if barriers or type(item) is not Barrier]
    feed = [Barrier(lambda: None) if type(item) is Barrier else item for item in feed]
    results = manager.run(feed, serial=serial)
    for result in results:
        if result != TOTAL and hash(result) % 4 == 0:
            manager.reject(result, ValueError("no room"))
    for letter in letters:
        assert letter.source_index == (None if letter.item == TOTAL else first(letter.item))
    report = manager.report
    assert report.failed == len(letters) == report.skipped
    assert report.rejected == sum(letter.stage == "consumer" for letter in letters)
    assert not report.imbalances()


class Tells(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item, self.source_index()


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("ordered", [True, False])
def test_u4_a_worker_can_ask_which_item_of_the_source_it_works_on(ordered: bool, workers: int) -> None:
    manager = PipelineManager(ordered=ordered, queue_size=5)
    manager.add_worker(Filters, workers=workers).add_worker(Tells, workers=workers)
    assert sorted(manager.run((item,) for item in range(100))) == [((n,), n) for n in range(100) if n % 3 != 1]


@pytest.mark.parametrize("workers", [1, 3])
def test_u4_the_loop_over_the_results_can_ask_which_item_of_the_source_the_last_one_came_from(workers: int) -> None:
    manager = PipelineManager(queue_size=5).add_worker(Filters, workers=workers).add_worker(Expands, workers=workers)
    for result in manager.run((item,) for item in range(100)):
        assert manager.source_index() == result[0]


class Breaks(BaseWorker[int, int]):
    def process_item(self, item: int) -> Generator[int, None, None]:
        yield from range(item)
        raise ValueError("broken")


class BreaksAsynchronously(BaseWorker[int, int]):
    async def process_item(self, item: int) -> AsyncGenerator[int, None]:
        for number in range(item):
            yield number
        raise ValueError("broken")


@pytest.mark.parametrize(
    "stage", [{"worker_class": Breaks}, {"worker_class": Breaks, "workers": 2}, {"worker_class": BreaksAsynchronously}]
)
def test_u5_a_dead_letter_says_how_many_outputs_went_on_before_the_failure(stage: dict[str, Any]) -> None:
    manager = PipelineManager(on_error="skip").add_worker(**stage)
    assert list(manager.run([0, 3])) == [0, 1, 2]
    assert [letter.given for letter in manager.report.dead_letters] == [0, 3]


def test_u4_items_have_the_numbers_that_the_caller_gives_them() -> None:
    manager = PipelineManager().add_worker(Tells)
    manager.number_items(lambda index: None if index == 1 else index + 500)
    assert [index for _, index in manager.run([(0,), (1,), (2,)])] == [500, None, 502]


def test_u4_what_finish_gives_comes_from_no_item_of_the_source() -> None:
    manager = PipelineManager().add_worker(Counts).add_worker(Tells)
    assert list(manager.run([(5,)])) == [((5,), 0), (TOTAL, None)]


STRANGERS: list[object] = []  # What a worker should not see.


class Adds(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        if not isinstance(item, int):
            STRANGERS.append(item)
        return item + 1


class AddsInPool(SubTaskPoolWorker[int, int, int, int]):
    def process_sub_task(self, sub: int) -> int:
        if not isinstance(sub, int):
            STRANGERS.append(sub)
        return sub + 1


def noting(reached: list[int], item: int) -> Barrier:
    return Barrier(lambda: reached.append(item))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("workers", [{}, {"workers": 2}, {"worker_class": AddsInPool}])
def test_r1_what_travels_among_quick_items_meets_no_worker(workers: dict[str, Any], ordered: bool) -> None:
    """Items of microseconds are worked on many at a time."""
    number, reached = 20_000, list[int]()

    def items() -> Iterator[Any]:
        for item in range(number):
            if item < number // 2 and item % 97 == 0:
                yield noting(reached, item)
                yield FailedItem(item, ValueError("cannot be read"))
            else:
                yield item

    pipeline = PipelineManager(on_error="skip", ordered=ordered).expect_barriers()
    first: dict[str, Any] = {"worker_class": Adds, "name": "first"}
    pipeline.add_worker(**first | workers).add_worker(Adds, name="second")
    marks = [item for item in range(number // 2) if item % 97 == 0]
    assert sorted(pipeline.run(items())) == sorted({item + 2 for item in range(number)} - {item + 2 for item in marks})
    assert reached == marks
    assert [letter.index for letter in pipeline.report.dead_letters] == marks
    assert not STRANGERS


def test_a_barrier_that_nobody_expects_is_refused() -> None:
    with pytest.raises(PipelineError, match=r"call expect_barriers\(\) before the start"):
        list(PipelineManager().add_worker(Counts).run([Barrier(print)]))


def test_a_barrier_whose_function_raises_ends_the_run() -> None:
    manager = PipelineManager().add_worker(Fails).expect_barriers()
    with pytest.raises(PipelineError, match="the source failed in a Barrier: ZeroDivisionError"):
        list(manager.run([Barrier(lambda: 1 / 0), (1,)]))
    assert manager.report.state == "failed"


def test_r4_a_result_that_the_consumer_rejects_ends_the_run_unless_failures_are_skipped() -> None:
    manager = PipelineManager().add_worker(Counts)
    results = manager.run([(0,), (1,), (2,)])
    assert [next(results), next(results)] == [(0,), (1,)]
    with pytest.raises(
        PipelineError, match=r"the consumer failed in the loop over the results on item 1: \(1,\): TypeError: no"
    ):
        manager.reject((1,), TypeError("no"))
    results.close()
    assert (manager.report.state, manager.report.rejected, manager.report.failed) == ("failed", 1, 1)


def test_r5_a_result_that_is_one_too_many_to_reject_ends_the_run() -> None:
    manager = PipelineManager(on_error="skip", max_failures=1).add_worker(Counts)
    results = manager.run([(0,), (1,), (2,)])
    manager.reject(next(results), TypeError("no"))
    result = next(results)
    with pytest.raises(PipelineError, match=r"the consumer failed .* on item 1"):
        manager.reject(result, TypeError("no"))
    results.close()
    assert (manager.report.state, manager.report.rejected, manager.report.skipped) == ("failed", 2, 2)


def test_reject_outside_of_the_loop_over_the_results_is_refused() -> None:
    manager = PipelineManager().add_worker(Counts)
    with pytest.raises(RuntimeError, match="for the loop over the results"):
        manager.reject(1, ValueError())
