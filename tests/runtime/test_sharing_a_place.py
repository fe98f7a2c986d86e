"""Items whose calls take microseconds are handed to a worker several at a time; none of them ever waits for a slow one."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineManager, SubTaskPoolWorker

SLOW = 3000  # The item that takes long. The calls before it have shown that they are quick.
ITEMS = 4000
MANY = 20_000


class CallsIt(BaseWorker[int, Any]):
    def __init__(self, call: Callable[[int], Any]) -> None:
        self.process_item = call  # type: ignore[method-assign, assignment]

    def process_item(self, item: int) -> Any:
        raise NotImplementedError


class Pool(SubTaskPoolWorker[int, int, Any, Any]):
    def __init__(self, call: Callable[[int], Any]) -> None:
        super().__init__(sub_workers=3)
        self.call = call

    def process_sub_task(self, sub: int) -> Any:
        return self.call(sub)


def pipeline(
    worker: type, call: Callable[[int], Any], *, ordered: bool = True, queue_size: int = 100
) -> PipelineManager:
    manager = PipelineManager(ordered=ordered, queue_size=queue_size)
    return manager.add_worker(worker, workers=1 if worker is Pool else 3, worker_args={"call": call})


each = pytest.mark.parametrize("worker", [CallsIt, Pool])
in_order = pytest.mark.parametrize("ordered", [True, False])


@each
@in_order
def test_r1_the_items_behind_a_slow_one_are_done_by_others(worker: type, ordered: bool) -> None:
    """The slow call is over when the next 50 items have been done."""
    done: set[int] = set()
    release = threading.Event()

    def call(item: int) -> int:
        if item == SLOW:
            assert release.wait(30), f"{len(done)} items behind the slow one have been done"
        elif SLOW < item <= SLOW + 50:
            done.add(item)
            if len(done) == 50:
                release.set()
        return item

    assert sorted(pipeline(worker, call, ordered=ordered).run(range(ITEMS))) == list(range(ITEMS))


@each
@in_order
def test_r1_the_results_before_a_slow_item_come_out_while_it_is_slow(worker: type, ordered: bool) -> None:
    """Wherever among those that were handed over together it stands."""
    for slow in range(SLOW, SLOW + 9):
        release = threading.Event()

        def call(item: int, slow: int = slow, release: threading.Event = release) -> int:
            if item == slow:
                assert release.wait(30), "the results before the slow item have not come out"
            return item

        before = 0
        for result in pipeline(worker, call, ordered=ordered).run(range(ITEMS)):
            before += result < slow
            if before == slow:
                release.set()
        assert before == slow


@each
@in_order
@pytest.mark.parametrize("slow", range(SLOW, SLOW + 9))
def test_r1_the_items_behind_a_slow_one_are_done_by_others_while_more_come_in(
    worker: type, ordered: bool, slow: int
) -> None:
    """Each comes when the one before it is done, so that the stage's loop never sleeps for long."""
    done: set[int] = set()
    steps, release = threading.Semaphore(0), threading.Event()

    def source() -> Iterator[int]:
        for item in range(MANY):
            yield item
            if item >= SLOW + 100 or item in (SLOW - 1, SLOW + 60):
                steps.acquire()
            if release.is_set():
                return

    def call(item: int) -> int:
        if item == slow:
            steps.release()
            assert release.wait(60), f"{len(done)} items behind the slow one have been done"
        elif slow < item <= slow + 50:
            done.add(item)
            if len(done) == 50:
                release.set()
        if item == SLOW - 1 or item > SLOW + 60 or release.is_set():
            steps.release()
        return item

    results = list(pipeline(worker, call, ordered=ordered, queue_size=MANY).run(source()))
    assert sorted(results) == list(range(len(results)))
    assert len(results) < MANY, "they were done when no more came in"


@each
def test_r7_a_stop_breaks_off_what_a_worker_has_in_hand(worker: type) -> None:
    """The calls that begin after it take long: there are few of them."""
    after: list[int] = []
    manager: PipelineManager

    def call(item: int) -> int:
        if manager.stop_event.is_set():
            after.append(item)
            time.sleep(0.2)
        elif item == SLOW:
            manager.stop()
        return item

    manager = pipeline(worker, call)
    assert len(list(manager.run(range(ITEMS)))) <= SLOW
    assert len(after) <= 9, "three workers"
    assert manager.report.imbalances() == []


@each
@in_order
def test_r1_a_call_that_returns_a_generator_now_and_then_gives_its_outputs_in_its_place(
    worker: type, ordered: bool
) -> None:
    """Its body runs in the thread that made the call."""
    threads = []

    def outputs(item: int) -> Any:
        caller = threading.get_ident()

        def generate() -> Any:
            for number in range(300):
                threads.append(threading.get_ident() == caller)
                yield item + number / 1000

        return generate()

    def call(item: int) -> Any:
        return outputs(item) if item >= SLOW and item % 7 == 0 else item

    expected = list(pipeline(worker, call).run(range(SLOW + 100), serial=True))
    assert all(threads)
    found = list(pipeline(worker, call, ordered=ordered).run(range(SLOW + 100)))
    assert found == expected if ordered else sorted(found) == sorted(expected)
    assert all(threads)
