"""R1: an ordered pipeline gives what the plain loop over its stages gives, whatever the workers, sizes and timing."""

import itertools
import random
import threading
import time
from collections.abc import Generator, Iterable, Iterator

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager


def jitter() -> None:
    """Give other threads a chance to overtake."""
    if random.random() < 0.1:
        time.sleep(0.0005)


class Increment(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        jitter()
        return item + 1


class DropThirds(BaseWorker[int, int]):
    def process_item(self, item: int) -> int | None:
        jitter()
        return item if item % 3 else None


class Repeat(BaseWorker[int, int]):
    """Yields an item as often as its remainder says, which may be never."""

    def process_item(self, item: int) -> Generator[int, None, None]:
        for _ in range(item % 4):
            jitter()
            yield item


class DoubleBatch(BaseWorker[int, int]):
    def process_batch(self, items: list[int]) -> list[int | None]:
        jitter()
        return [2 * item if item % 4 else None for item in items]


def collect(results: Iterator[int], into: list[int]) -> None:
    for result in results:
        into.append(result)


def plain_loop(stages: Iterable[type[BaseWorker[int, int]]], items: Iterable[int]) -> list[int]:
    for stage in stages:
        if stage is Increment:
            items = [item + 1 for item in items]
        elif stage is DropThirds:
            items = [item for item in items if item % 3]
        elif stage is Repeat:
            items = [item for item in items for _ in range(item % 4)]
        else:
            items = [2 * item for item in items if item % 4]
    return list(items)


def random_pipeline(seed: int, ordered: bool) -> tuple[list[type[BaseWorker[int, int]]], PipelineManager]:
    pick = random.Random(seed)
    stages = [pick.choice([Increment, DropThirds, Repeat, DoubleBatch]) for _ in range(pick.randint(1, 3))]
    manager = PipelineManager(queue_size=pick.choice([1, 2, 100]), ordered=ordered)
    for number, stage in enumerate(stages):
        manager.add_worker(
            stage,
            name=f"stage {number}",
            workers=pick.choice([1, 2, 5]),
            queue_size=pick.choice([None, 1, 3]),
            batch_size=pick.choice([1, 3, 8]) if stage is DoubleBatch else None,
            batch_timeout=pick.choice([None, 0.0005]) if stage is DoubleBatch else None,
        )
    return stages, manager


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("seed", range(12))
def test_r1_any_pipeline_gives_what_the_plain_loop_gives(seed: int, serial: bool) -> None:
    stages, manager = random_pipeline(seed, ordered=True)
    assert list(manager.run(range(50), serial=serial)) == plain_loop(stages, range(50))


@pytest.mark.parametrize("seed", range(6))
def test_r1_without_order_the_results_are_the_same_multiset(seed: int) -> None:
    stages, manager = random_pipeline(seed, ordered=False)
    assert sorted(manager.run(range(50))) == sorted(plain_loop(stages, range(50)))


def test_r1_an_item_that_was_overtaken_still_comes_first() -> None:
    others_are_done = threading.Event()

    class FirstIsLast(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item == 0:
                others_are_done.wait()
            if item == 9:
                others_are_done.set()
            return item

    manager = PipelineManager().add_worker(FirstIsLast, workers=2)
    assert list(manager.run(range(10))) == list(range(10))


def test_r1_without_order_an_item_may_overtake() -> None:
    overtaken = threading.Event()

    class FirstIsLast(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item == 0:
                overtaken.wait()
            return item

    results = PipelineManager(ordered=False).add_worker(FirstIsLast, workers=2).run(range(2))
    assert next(results) == 1
    overtaken.set()
    assert list(results) == [0]


class FailAt(BaseWorker[int, int]):
    def __init__(self, bad: int) -> None:
        self.bad = bad

    def process_item(self, item: int) -> int:
        jitter()
        if item == self.bad:
            raise ValueError(f"bad item {item}")
        return item


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("bad", [0, 1, 17])
def test_r1_every_result_before_the_failing_item_comes_then_its_error(bad: int, workers: int, serial: bool) -> None:
    manager = (
        PipelineManager(queue_size=2)
        .add_worker(Increment, name="before", workers=workers)
        .add_worker(FailAt, name="failing", workers=workers, worker_args={"bad": bad + 1})
        .add_worker(Increment, name="behind", workers=workers)
    )
    results: list[int] = []
    with pytest.raises(PipelineError, match=f"bad item {bad + 1}") as caught:
        collect(manager.run(range(100), serial=serial), results)
    assert results == [item + 2 for item in range(bad)]
    assert caught.value.item == bad + 1


def test_r1_the_first_failing_item_in_the_order_ends_the_run_not_the_first_in_time() -> None:
    second_has_failed = threading.Event()

    class Failing(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item == 0:
                second_has_failed.wait()
            else:
                second_has_failed.set()
            raise ValueError(f"bad item {item}")

    with pytest.raises(PipelineError, match="bad item 0"):
        list(PipelineManager().add_worker(Failing, workers=2).run(range(2)))


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("workers", [1, 3])
def test_r1_what_a_generator_gave_before_it_failed_is_delivered(workers: int, serial: bool) -> None:
    class FailsAfterTwo(BaseWorker[int, int]):
        def process_item(self, item: int) -> Generator[int, None, None]:
            yield item
            yield item
            if item == 3:
                raise ValueError("three")

    results: list[int] = []
    with pytest.raises(PipelineError, match="three"):
        collect(PipelineManager().add_worker(FailsAfterTwo, workers=workers).run(range(9), serial=serial), results)
    assert results == [0, 0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("workers", [1, 3])
def test_r1_a_source_that_fails_fails_behind_all_its_items(workers: int, serial: bool) -> None:
    def source() -> Iterator[int]:
        yield from range(20)
        raise ValueError("the file is cut off")

    results: list[int] = []
    with pytest.raises(PipelineError, match="the file is cut off"):
        collect(PipelineManager().add_worker(Increment, workers=workers).run(source(), serial=serial), results)
    assert results == list(range(1, 21))


@pytest.mark.parametrize("workers", [1, 3])
def test_r1_a_generator_without_end_streams(workers: int) -> None:
    class Count(BaseWorker[int, int]):
        def process_item(self, item: int) -> Generator[int, None, None]:
            yield from itertools.count(item)

    results = PipelineManager(queue_size=2).add_worker(Count, workers=workers).run(range(5))
    assert list(itertools.islice(results, 50)) == list(range(50))
    results.close()


def test_r1_serial_runs_everything_in_the_thread_of_the_caller() -> None:
    class Witness(BaseWorker[object, object]):
        def setup(self) -> None:
            self.seen = [threading.current_thread()]

        def process_item(self, item: object) -> object:
            return [*self.seen, threading.current_thread(), item]

    def source() -> Iterator[threading.Thread]:
        yield threading.current_thread()

    (threads,) = PipelineManager().add_worker(Witness, workers=3).run(source(), serial=True)
    assert threads == [threading.current_thread()] * 3


class Unhashable(type):
    """Its classes cannot be in a set."""

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = None  # type: ignore[assignment]


class Strange(metaclass=Unhashable):
    pass


class PassStrange(BaseWorker[Strange, Strange]):
    def process_item(self, item: Strange) -> Strange:
        return item


@pytest.mark.parametrize("workers", [1, 2])
def test_r1_items_may_be_of_any_class(workers: int) -> None:
    items = [Strange() for _ in range(100)]
    results = list(PipelineManager().add_worker(PassStrange, workers=workers).run(items))
    assert list(map(id, results)) == list(map(id, items))


class DrawsByLot(BaseWorker[int, float]):
    def process_item(self, item: int) -> float:
        return random.random()


@pytest.mark.parametrize("serial", [False, True])
def test_r1_a_stage_that_seeds_its_random_gets_the_same_numbers(serial: bool) -> None:
    random.seed(1)
    expected = [random.random() for _ in range(1000)]
    random.seed(1)
    assert list(PipelineManager().add_worker(DrawsByLot).run(range(1000), serial=serial)) == expected
