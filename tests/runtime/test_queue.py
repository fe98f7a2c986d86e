"""The queue that a source function gets, and what lies between it and the consumer: nothing is lost, nobody oversleeps."""

import itertools
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from queue import Full, Queue, SimpleQueue
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test
from my_pipeline.pipeline_core import SENTINEL, BaseWorker, PipelineManager, robust_put

from jitter import jitter
from watch import WATCHDOG, Gated, eventually

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
        self.results = self.manager.run(self.source, serial=serial)
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


# It means by its methods what `queue.Queue` means.


def in_a_source(use: Callable[[Any, threading.Event], object], gate: threading.Event, size: int = 3) -> Any:
    """Run with a source function, and a stage that waits at the gate with its first item. Returns results and report."""
    begun = threading.Event()
    problems: list[BaseException] = []

    def source(queue: Any, stop_event: threading.Event) -> None:
        try:
            use(queue, begun)
        except BaseException as error:
            problems.append(error)
        finally:
            gate.set()

    manager = PipelineManager(queue_size=size).add_worker(Gated, worker_args={"begun": begun, "gate": gate})
    results = list(manager.run(source))
    for problem in problems:
        raise problem
    assert (manager.report.state, manager.report.imbalances()) == ("completed", [])
    return results, manager.report


def fill(queue: Any, begun: threading.Event) -> list[int]:
    """Put numbers until there is no room any more, also not for the item that the stage takes."""
    queue.put(0)
    assert begun.wait(60)
    for number in itertools.count(1):
        try:
            queue.put_nowait(number)
        except Full:
            return list(range(number))
    raise AssertionError


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_full_queue_refuses_what_is_put_without_waiting(size: int, gate: threading.Event) -> None:
    """So a camera can drop frames. What was refused is nobody's item."""
    accepted: list[int] = []

    def use(queue: Any, begun: threading.Event) -> None:
        accepted.extend(fill(queue, begun))
        refusals: list[Callable[[], object]] = [
            lambda: queue.put("x", block=False),
            lambda: queue.put("x", False),
            lambda: queue.put("x", False, 5),
            lambda: queue.put_nowait("x"),
            lambda: queue.put("x", timeout=0),
            lambda: queue.put("x", timeout=0.01),
            lambda: queue.put("x", True, 0.01),
        ]
        for refuse in refusals:
            with pytest.raises(Full):
                refuse()
        assert (queue.full(), queue.empty(), queue.qsize(), queue.maxsize) == (True, False, size, size)

    results, report = in_a_source(use, gate, size)
    assert results == accepted
    assert report.read == len(accepted)


def test_an_empty_queue_says_so_and_takes_what_is_put_without_waiting(gate: threading.Event) -> None:
    def use(queue: Any, begun: threading.Event) -> None:
        assert (queue.full(), queue.empty(), queue.qsize()) == (False, True, 0)
        queue.put_nowait(1)
        queue.put(2, block=False)
        queue.put(3, timeout=0)

    assert in_a_source(use, gate)[0] == [1, 2, 3]


@pytest.mark.parametrize("timeout", [-1, -0.001])
def test_a_negative_timeout_is_an_error_and_not_a_refusal(timeout: float, gate: threading.Event) -> None:
    def use(queue: Any, begun: threading.Event) -> None:
        for each in queue, Queue[int](1):
            with pytest.raises(ValueError, match="timeout"):
                each.put(1, timeout=timeout)

    assert in_a_source(use, gate)[0] == []


def test_the_sentinel_needs_no_room(gate: threading.Event) -> None:
    def use(queue: Any, begun: threading.Event) -> None:
        fill(queue, begun)
        queue.put_nowait(SENTINEL)
        with pytest.raises(ValueError, match="SENTINEL"):
            queue.put_nowait(1)

    in_a_source(use, gate)


def test_an_item_that_was_refused_may_be_put_again(gate: threading.Event) -> None:
    def use(queue: Any, begun: threading.Event) -> None:
        accepted = fill(queue, begun)
        gate.set()
        for number in range(len(accepted), 50):
            while True:
                try:
                    queue.put(number, timeout=0.001)
                    break
                except Full:
                    pass

    assert in_a_source(use, gate)[0] == list(range(50))


def test_robust_put_with_a_timeout_waits_for_room_in_either_queue(gate: threading.Event) -> None:
    def use(queue: Any, begun: threading.Event) -> None:
        fill(queue, begun)
        threading.Timer(0.05, gate.set).start()
        assert robust_put(queue, "late", threading.Event(), timeout=0.01)

    assert in_a_source(use, gate)[0][-1] == "late"


class NestedPut:
    """Puts once more, in the thread that puts, at the nth line of the core that this executes: as a finalizer may."""

    def __init__(self, queue: Any, at: int, block: bool) -> None:
        self.queue, self.left, self.block = queue, at, block
        self.refused = self.reached = False

    def __call__(self, frame: Any, event: str, argument: Any) -> Any:
        if "pipeline_core" in frame.f_code.co_filename:
            if event == "line":
                self.left -= 1
                if self.left == 0:
                    self.reached = True
                    sys.settrace(None)
                    try:
                        self.queue.put("nested", block=self.block)
                    except Full:
                        self.refused = True
            return self
        return None


@pytest.mark.parametrize("block", [True, False])
@pytest.mark.parametrize("size", [1, 2])
def test_a_put_in_the_middle_of_a_put_loses_nothing(size: int, block: bool) -> None:
    """Whichever line it interrupts: all items come out once, and those around it in their order."""
    before, reached = sys.gettrace(), True
    at = 0
    while reached:
        at += 1

        def source(queue: Any, stop_event: threading.Event, at: int = at) -> None:
            nonlocal reached, refused  # type: ignore[misc]
            nested = NestedPut(queue, at, block)
            sys.settrace(nested)
            try:
                for number in range(6):
                    queue.put(number)
            finally:
                sys.settrace(before)
            reached, refused = nested.reached, nested.refused

        refused = False
        results = list(PipelineManager(queue_size=size).add_worker(Pass).run(source))
        assert [result for result in results if result != "nested"] == list(range(6)), at
        assert results.count("nested") == (reached and not refused), at
        if at > 5000:
            raise AssertionError("the lines never end")
    assert at > 20


SIGNALLED = """
import signal, sys, threading
from queue import Full
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

begun, waits, gate = threading.Event(), threading.Event(), threading.Event()
queues, said = [], []


class Gated(BaseWorker):
    def process_item(self, item):
        begun.set()
        gate.wait()
        return item


def source(queue, stop_event):
    queues.append(queue)
    queue.put(1)
    begun.wait()
    queue.put(2)
    waits.set()
    queue.put(3)  # There is no room.


def handler(*_):
    try:
        queues[0].put_nowait("from the handler")
        said.append("put")
    except Full:
        said.append("full")


signal.signal(signal.SIGTERM, handler)
manager = PipelineManager(queue_size=1).add_worker(Gated)
manager.start(source)
waits.wait()
signal.raise_signal(signal.SIGTERM)
gate.set()
report = manager.wait_for_completion()
print(said, report.read, report.delivered, report.imbalances())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot send itself such a signal")
def test_a_signal_handler_may_put_while_another_put_waits(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SIGNALLED)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=100, check=False)
    assert done.stdout == "['full'] 3 3 []\n", done.stderr


@pytest.mark.parametrize("end", ["stop", "leave", "drain"])
def test_r7_a_put_that_waits_ends_with_the_run(end: str, gate: threading.Event, until: Any) -> None:
    """Many threads wait for room, and each of them is told."""
    begun, told = threading.Event(), list[bool]()
    threads: list[threading.Thread] = []

    def source(queue: Any, stop_event: threading.Event) -> None:
        threads.extend(
            threading.Thread(target=lambda: told.append(robust_put(queue, 1, stop_event, timeout=60))) for _ in range(5)
        )
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    manager = PipelineManager(queue_size=1).add_worker(Gated, worker_args={"begun": begun, "gate": gate})
    results = manager.run(source)
    consumer = threading.Thread(target=lambda: deque(results))
    consumer.start()
    until(lambda: manager.report.stages and manager.report.stages[0].queued == 1)
    manager.stop(drain=True) if end == "drain" else manager.stop()
    gate.set()
    if end == "leave":
        results.close()
    consumer.join()
    until(lambda: len(told) == 5)
    assert manager.report.imbalances() == []
    assert manager.report.delivered <= told.count(True)
