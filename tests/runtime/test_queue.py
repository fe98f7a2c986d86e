"""The queue that a source function gets, and what lies between it and the consumer: nothing is lost, nobody oversleeps."""

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import closing
from queue import SimpleQueue
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from my_pipeline.pipeline_core import SENTINEL, BaseWorker, PipelineManager, robust_put

from jitter import jitter
from watch import WATCHDOG, eventually

EXAMPLES = int(os.environ.get("STRESS_EXAMPLES", "2000"))
pytestmark = pytest.mark.usefixtures("fast_switches")


class Pass(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item

    def process_batch(self, items: list[Any]) -> list[Any]:
        return items


class Remote:
    """A source function that puts what it is told to, and knows what was taken in and what was not."""

    def __init__(self) -> None:
        self.commands = SimpleQueue[list[Any] | None]()
        self.accepted: list[Any] = []
        self.refused: list[Any] = []
        self.told: list[int] = []
        self.gone = threading.Event()
        self.called = False

    def tell(self, count: int) -> None:
        items = list(range(len(self.told), len(self.told) + count))
        self.told += items
        self.commands.put(items)

    def end(self) -> None:
        self.commands.put(None)

    def __call__(self, queue: Any, stop_event: threading.Event) -> None:
        self.called = True
        try:
            while (items := self.commands.get()) is not None:
                for item in items:
                    (self.accepted if robust_put(queue, item, stop_event) else self.refused).append(item)
        finally:
            self.gone.set()


class AgainstAList(RuleBasedStateMachine):
    """Items go in and come out in any order of steps. What is taken never exceeds what was put, so that no step blocks."""

    @initialize(
        queue_size=st.integers(1, 6),
        workers=st.integers(1, 3),
        batch_size=st.sampled_from([None, None, 1]),
        stages=st.integers(1, 2),
        serial=st.sampled_from([False, False, True]),
    )
    def begin(self, queue_size: int, workers: int, batch_size: int | None, stages: int, serial: bool) -> None:
        self.bound = 1 + stages * (2 * queue_size + workers) + queue_size + 1
        self.manager = PipelineManager(queue_size=queue_size)
        for number in range(stages):
            self.manager.add_worker(Pass, name=f"s{number}", workers=workers, batch_size=batch_size)
        self.source = Remote()
        self.results: Generator[Any, None, None] = self.manager.run(self.source, serial=serial)
        self.taken: list[int] = []
        self.over = False

    @precondition(lambda self: not self.over)
    @rule(count=st.integers(1, 10))
    def put(self, count: int) -> None:
        self.source.tell(count)

    @precondition(lambda self: not self.over and len(self.taken) < len(self.source.told))
    @rule(count=st.integers(1, 10))
    def take(self, count: int) -> None:
        for _ in range(min(count, len(self.source.told) - len(self.taken))):
            with WATCHDOG.limit(60, f"take {len(self.taken)} of {len(self.source.told)}"):
                self.taken.append(next(self.results))
        assert self.taken == self.source.told[: len(self.taken)]
        assert len(self.source.accepted) - len(self.taken) <= self.bound

    def finish(self) -> None:
        """Take what is left, and wait for the source function."""
        self.over = True
        with WATCHDOG.limit(60, "the end"):
            self.taken += self.results
        self.source.end()
        assert eventually(lambda: self.source.gone.is_set() or not self.source.called)
        assert not self.manager.report.imbalances()
        if self.source.called:
            assert self.source.accepted + self.source.refused == self.source.told

    @precondition(lambda self: not self.over)
    @rule(sentinel=st.booleans())
    def end(self, sentinel: bool) -> None:
        if sentinel:
            self.source.commands.put([SENTINEL])
        self.source.end()
        self.over = True
        with WATCHDOG.limit(60, "the end"):
            self.taken += self.results
        assert self.taken == self.source.told
        assert self.manager.report.state == "completed"
        assert not self.manager.report.imbalances()

    @precondition(lambda self: not self.over)
    @rule()
    def stop(self) -> None:
        self.manager.stop()
        before = len(self.taken)
        self.finish()
        assert len(self.taken) == before, "R7: results after the stop"
        assert self.manager.report.state == "stopped"

    @precondition(lambda self: not self.over)
    @rule()
    def drain(self) -> None:
        self.manager.stop(drain=True)
        self.finish()
        assert self.taken == self.source.accepted, "R7: what was taken in comes out, and nothing else does"
        assert self.manager.report.state == "completed"

    @precondition(lambda self: not self.over)
    @rule()
    def leave(self) -> None:
        self.results.close()
        self.finish()
        assert self.manager.report.state == "stopped" or not self.taken  # Before its first item it has not begun.

    @precondition(lambda self: self.over)
    @rule()
    def stop_again(self) -> None:
        state = self.manager.report.state
        self.manager.stop()
        assert self.manager.report.state == state

    def teardown(self) -> None:
        if hasattr(self, "over") and not self.over:
            self.leave()


STEPS = settings(
    max_examples=max(20, EXAMPLES // 8), deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def test_r1_r7_any_order_of_steps_is_that_of_a_list() -> None:
    run_state_machine_as_test(AgainstAList, settings=STEPS)


@pytest.mark.parametrize("end", ["exhaust", "stop", "drain", "leave"])
@pytest.mark.parametrize("queue_size", [1, 2, 3, 100])
def test_r6_no_wake_up_is_lost_while_both_ends_hurry(queue_size: int, end: str) -> None:
    """Whoever writes or reads, and whoever ends it meanwhile: all come to an end, and nothing is lost, doubled or late."""
    for seed in range(max(4, EXAMPLES // 100)):
        hurry(queue_size, end, 200, nudge=seed)
        sys.setswitchinterval((1e-6, 1e-4)[seed % 2])
        hurry(queue_size, end, 1000)


def hurry(queue_size: int, end: str, items: int, nudge: int | None = None) -> None:
    accepted: list[int] = []
    at = items // 3

    def source(queue: Any, stop_event: threading.Event) -> None:
        for number in range(items):
            if not robust_put(queue, number, stop_event):
                break
            accepted.append(number)

    manager = PipelineManager(queue_size=queue_size).add_worker(Pass).add_worker(Pass, name="last")
    act: dict[str, Callable[[], object]] = {"stop": manager.stop, "drain": lambda: manager.stop(drain=True)}
    taken: list[int] = []

    def consume() -> None:
        with closing(manager.run(source)) as results:
            for item in results:
                taken.append(item)
                if len(taken) == at and end in act:
                    ender.start()
                if len(taken) == at and end == "leave":
                    break

    ender = threading.Thread(target=act.get(end, lambda: None))
    if nudge is None:
        consume()
    else:
        with jitter(nudge):
            consume()
    if ender.ident is not None:
        ender.join()
    assert eventually(lambda: not manager.report.imbalances()), manager.report
    assert taken == list(range(len(taken)))
    report = manager.report
    if end == "exhaust":
        assert (len(taken), report.state) == (items, "completed")
    elif end == "drain":
        assert taken == accepted
    else:
        assert len(taken) >= at
        assert len(accepted) - len(taken) <= 3 * queue_size + 4


def test_r7_a_put_that_comes_while_a_drain_is_called_is_in_or_is_refused() -> None:
    """Never neither: what the source function was told is in comes out."""
    for seed in range(max(10, EXAMPLES // 50)):
        source = Endless()
        manager = PipelineManager(queue_size=1 + seed % 3).add_worker(Pass)
        with jitter(seed):
            results = manager.run(source)
            taken = [next(results)]
            manager.stop(drain=True)
            taken += results
        assert source.gone.wait(20)
        assert taken == source.accepted, seed
        assert manager.report.imbalances() == []


class Endless:
    """A source function that puts until it is refused."""

    def __init__(self) -> None:
        self.accepted: list[int] = []
        self.gone = threading.Event()

    def __call__(self, queue: Any, stop_event: threading.Event) -> None:
        while robust_put(queue, len(self.accepted), stop_event):
            self.accepted.append(len(self.accepted))
        self.gone.set()


@pytest.mark.parametrize("batch_size", [None, 1])
def test_r1_whoever_finds_the_end_takes_the_last_item_from_nobody(batch_size: int | None) -> None:
    """Also where a worker that has the last item is late to go on after it has let the others take theirs."""
    for seed in range(30):
        manager = PipelineManager().add_worker(Pass, workers=2, batch_size=batch_size)
        with jitter(seed, late=0.01):
            assert list(manager.run([1])) == [1]


def test_r2_many_threads_may_put_at_once_and_each_keeps_its_order() -> None:
    def source(queue: Any, stop_event: threading.Event) -> None:
        def put(first: int) -> None:
            for number in range(first, first + 200):
                assert robust_put(queue, number, stop_event)

        threads = [threading.Thread(target=put, args=(first,)) for first in (0, 1000, 2000)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    for seed in range(5):
        manager = PipelineManager(queue_size=2).add_worker(Pass, workers=2)
        with jitter(seed):
            results = deque(manager.run(source))
        for first in (0, 1000, 2000):
            assert [item for item in results if first <= item < first + 200] == list(range(first, first + 200))
