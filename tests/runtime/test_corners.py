"""What shows only in a corner: a promise that holds in all other tests also without the line that is tested here."""

import gc
import itertools
import logging
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager, PipelineReport

from watch import CORE_LOG

Until = Callable[[Callable[[], object]], None]


class Pass(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item


class FailOnOdd(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        if item % 2:
            raise ValueError("odd")
        return item


class SlowLog(logging.Handler):
    """A handler that is still at work when others have gone on."""

    def __init__(self) -> None:
        super().__init__()
        self.began = threading.Event()
        self.done: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.began.set()
        time.sleep(0.1)
        self.done.append(record.getMessage())


@pytest.fixture
def slow_log() -> Iterator[SlowLog]:
    handler = SlowLog()
    logger = logging.getLogger(PipelineManager.__module__.rpartition(".")[0])
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


# The queues


def test_a_queue_of_a_size_of_its_own(gate: threading.Event, until: Until) -> None:
    class Waits(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            gate.wait()
            return item

    manager = PipelineManager(queue_size=50).add_worker(Waits, queue_size=2)
    manager.start(range(100))
    until(lambda: manager.report.read >= 3)
    time.sleep(0.02)
    assert manager.report.read <= 4  # One in the worker's hand, two in its queue, one in the source's hand.
    gate.set()
    manager.wait_for_completion()


# The order


def test_the_window_is_as_wide_as_the_queue_and_stays_so() -> None:
    """While one worker is held up, the other completes a window of items and takes one more: time and again."""
    done = {number: threading.Event() for number in range(400)}

    class HeldUp(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item % 40 == 0:
                assert done[item + 5].wait(20)
            done[item].set()
            return item

    manager = PipelineManager(queue_size=4).add_worker(HeldUp, workers=2)
    results = manager.run(range(400))
    assert [next(results) for _ in range(399)] == list(range(399))
    assert list(results) == [399]


def test_r3_what_had_its_outputs_held_back_at_a_stop_is_aborted(gate: threading.Event, until: Until) -> None:
    class Various(BaseWorker[int, Any]):
        def process_item(self, item: int) -> Any:
            if item == 0:
                gate.wait()
            done.append(item)
            if item == 3:
                raise ValueError("three")
            return {2: None, 4: (output for output in "a")}.get(item, item)

    done: list[int] = []
    manager = PipelineManager(on_error="skip").add_worker(Various, workers=2)
    manager.start(range(6))
    until(lambda: len(done) == 5)
    manager.stop()
    gate.set()
    manager.wait_for_completion()
    stage = manager.report.stages[0]
    assert (stage.processed, stage.filtered, stage.failed, stage.aborted) == (0, 0, 0, 6)


# The worker


def test_a_worker_says_what_it_lacks() -> None:
    with pytest.raises(NotImplementedError, match="BaseWorker defines no process_item"):
        BaseWorker[int, int]().process_item(1)
    with pytest.raises(NotImplementedError, match="BaseWorker defines no process_batch"):
        BaseWorker[int, int]().process_batch([1])


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_r3_an_item_that_gave_some_outputs_is_processed_and_one_that_gave_none_is_filtered(serial: bool) -> None:
    class Repeat(BaseWorker[int, int]):
        def process_item(self, item: int) -> Generator[int, None, None]:
            yield from [item] * item

    manager = PipelineManager().add_worker(Repeat)
    assert list(manager.run([0, 1, 2], serial=serial)) == [1, 2, 2]
    assert (manager.report.stages[0].processed, manager.report.stages[0].filtered) == (2, 1)


def test_r7_a_stop_ends_a_generator_that_gives_nothing(until: Until) -> None:
    turns: list[int] = []

    class Barren(BaseWorker[int, None]):
        def process_item(self, item: int) -> Generator[None, None, None]:
            while len(turns) < 10_000_000:
                turns.append(item)
                time.sleep(0.0001)
                yield None

    manager = PipelineManager().add_worker(Barren)
    manager.start([1])
    until(lambda: turns)
    manager.stop()
    assert manager.wait_for_completion(20).state == "stopped"


def test_a_batch_of_one_that_fails_is_not_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    class Batch(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int]:
            calls.append(list(items))
            raise ValueError("no")

    manager = PipelineManager(on_error="skip").add_worker(Batch, batch_size=2)
    with caplog.at_level(logging.DEBUG):
        assert list(manager.run(range(3))) == []
    assert calls == [[0, 1], [0], [1], [2]]
    assert "each is tried alone" in caplog.text


def test_a_batch_waits_for_more_items_until_its_timeout() -> None:
    batches = []

    class Batch(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int | None]:
            batches.append(list(items))
            return list(items)

    def source() -> Iterator[int]:
        yield 0
        time.sleep(0.05)
        yield 1

    list(PipelineManager().add_worker(Batch, batch_size=2, batch_timeout=20).run(source()))
    assert batches == [[0, 1]]


class Thing:
    pass


class GiveOne(BaseWorker[Thing, Thing]):
    def process_item(self, item: Thing) -> Generator[Thing, None, None]:
        yield item


class DropThing(BaseWorker[Thing, Thing]):
    def process_item(self, item: Thing) -> None:
        return None


class PassBatch(BaseWorker[Thing, Thing]):
    def process_batch(self, items: list[Thing]) -> list[Thing | None]:
        return list(items)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", [Pass, GiveOne, DropThing, PassBatch])
@pytest.mark.usefixtures("freed_at_once")
def test_r6_a_worker_that_waits_keeps_no_item(kind: Any, workers: int, until: Until, gate: threading.Event) -> None:
    alive: list[weakref.ref[Thing]] = []

    def source() -> Iterator[Thing]:
        for _ in range(3):
            thing = Thing()
            alive.append(weakref.ref(thing))
            yield thing
            del thing
        gate.wait()

    manager = PipelineManager().add_worker(kind, workers=workers, batch_size=1 if kind is PassBatch else None)
    manager.start(source())
    until(lambda: len(alive) == 3 and not any(thing() for thing in alive))
    gate.set()
    manager.wait_for_completion()


@pytest.mark.usefixtures("freed_at_once")
def test_r6_what_a_generator_gave_is_not_kept_while_it_goes_on(until: Until, gate: threading.Event) -> None:
    given: list[weakref.ref[Thing]] = []

    def make() -> Thing:
        thing = Thing()
        given.append(weakref.ref(thing))
        return thing

    class Give(BaseWorker[int, Thing]):
        def process_item(self, item: int) -> Generator[Thing, None, None]:
            yield make()
            yield make()
            gate.wait()

    manager = PipelineManager().add_worker(Give)
    manager.start([1])
    until(lambda: len(given) == 2 and not any(thing() for thing in given))
    gate.set()
    manager.wait_for_completion()


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_a_generator_that_raises_when_it_is_closed_is_logged(serial: bool, caplog: pytest.LogCaptureFixture) -> None:
    class Clings(BaseWorker[int, int]):
        def process_item(self, item: int) -> Generator[int, None, None]:
            try:
                while True:
                    yield item
            finally:
                raise ValueError("not yet")

    results = PipelineManager().add_worker(Clings).run([1], serial=serial)
    assert next(results) == 1
    results.close()
    assert "a generator raised when it was closed" in caplog.text


def test_a_batch_is_worked_on_after_its_timeout_though_the_source_blocks(gate: threading.Event) -> None:
    def source() -> Iterator[Thing]:
        yield Thing()
        gate.wait()

    results = PipelineManager().add_worker(PassBatch, batch_size=10, batch_timeout=0.001).run(source())
    assert isinstance(next(results), Thing)
    assert not gate.is_set()
    results.close()


# The stage


@pytest.mark.parametrize("workers", [1, 2])
def test_r6_a_run_keeps_nothing_of_the_items_that_are_over(workers: int) -> None:
    def objects() -> int:
        gc.collect()
        return len(gc.get_objects())

    results = PipelineManager(queue_size=4).add_worker(Pass, workers=workers).add_worker(GiveOne).run(itertools.count())
    deque(itertools.islice(results, 100), maxlen=0)
    before = objects()
    deque(itertools.islice(results, 2000), maxlen=0)
    assert objects() < before + 500
    results.close()


@pytest.mark.usefixtures("freed_at_once")
def test_r3_r6_what_waits_for_its_turn_at_a_stop_is_aborted_and_let_go_of(gate: threading.Event, until: Until) -> None:
    class FirstWaits(BaseWorker[Thing, Thing]):
        def process_item(self, item: Thing) -> Thing | None:
            if item is kept[0]:
                gate.wait()
            done.append(1)
            return None if item is kept[2] else item

    done: list[int] = []
    kept = [Thing(), Thing(), Thing(), Thing()]
    alive = [weakref.ref(thing) for thing in kept]
    manager = PipelineManager().add_worker(FirstWaits, workers=4)
    manager.start(kept)
    until(lambda: len(done) == 3)
    manager.stop()
    gate.set()
    (stage,) = manager.wait_for_completion(20).stages
    assert (stage.processed, stage.filtered, stage.aborted) == (0, 0, 4)
    kept[:] = [None] * 4  # type: ignore[list-item]
    until(lambda: not any(thing() for thing in alive))


def test_r6_no_thread_of_ours_keeps_the_program_from_its_end(gate: threading.Event, until: Until) -> None:
    class Waits(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            gate.wait()
            return item

    before = set(threading.enumerate())
    manager = PipelineManager(stall_timeout=20).add_worker(Waits, workers=2)
    manager.start(range(1000))
    until(lambda: len(set(threading.enumerate()) - before) == 6)  # Supervisor, source, results, loop, two workers.
    assert all(thread.daemon for thread in set(threading.enumerate()) - before)
    gate.set()
    manager.wait_for_completion()


# The manager


def test_max_failures_may_be_no_share_at_all() -> None:
    manager = PipelineManager(on_error="skip", max_failures=0.0).add_worker(FailOnOdd)
    with pytest.raises(PipelineError, match="failed in process_item on item 1"):
        list(manager.run([0, 1, 2]))


def test_too_many_failures_at_the_end_name_the_first() -> None:
    manager = PipelineManager(on_error="skip", max_failures=0.5).add_worker(FailOnOdd)
    with pytest.raises(PipelineError, match="more items than max_failures") as caught:
        list(manager.run([0, 1, 3]))
    assert (caught.value.item, caught.value.index, caught.value.attempt) == (1, 1, 1)


def test_r12_a_batch_timeout_is_a_number_of_seconds() -> None:
    class Batch(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int | None]:
            return list(items)

    with pytest.raises(ValueError, match="batch_timeout must be a number of seconds"):
        PipelineManager().add_worker(Batch, batch_size=2, batch_timeout=-1)


@pytest.mark.parametrize("number", range(1, 9))
def test_r6_a_thread_that_cannot_start_ends_the_start(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, itertools.count(1)

    def fails_once(thread: threading.Thread) -> None:
        if next(started) == number:
            raise RuntimeError("can't start new thread")
        start(thread)

    manager = PipelineManager().add_worker(Pass, workers=5)
    monkeypatch.setattr(threading.Thread, "start", fails_once)
    with suppress(RuntimeError, PipelineError):
        manager.start(itertools.count())
        assert manager.report.state in ("running", "failed")  # It could do without that thread, or the run says so.
        manager.stop()
        manager.wait_for_completion(20)
    assert manager.report.state not in ("new", "running")
    assert manager.report.imbalances() == []


@pytest.mark.parametrize("from_number", [1, 2, 3, 5])
def test_r6_threads_that_cannot_start_end_the_start(from_number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    start, started = threading.Thread.start, itertools.count(1)

    def fails_from_then_on(thread: threading.Thread) -> None:
        if next(started) >= from_number:
            raise RuntimeError("can't start new thread")
        start(thread)

    manager = PipelineManager().add_worker(Pass, workers=5)
    monkeypatch.setattr(threading.Thread, "start", fails_from_then_on)
    # The first three are started before `start` returns. The stage starts its workers, perhaps later.
    told = RuntimeError if from_number <= 3 else (RuntimeError, PipelineError)

    def run() -> None:
        manager.start(itertools.count())
        manager.wait_for_completion()

    with pytest.raises(told, match="can't start new thread"):
        run()
    assert manager.report.state != "running"


def test_waiting_for_the_run_is_waiting_for_its_last_thread(slow_log: SlowLog) -> None:
    manager = PipelineManager().add_worker(FailOnOdd)
    manager.start([1])
    with pytest.raises(PipelineError):
        manager.wait_for_completion()
    assert len(slow_log.done) == 1  # By the thread that drops the results, as the last thing that it does.


def test_the_loop_over_the_results_ends_after_the_last_thread(slow_log: SlowLog) -> None:
    class Waits(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            slow_log.began.wait(20)
            return item

    manager = PipelineManager(name="joined", stall_timeout=0.01).add_worker(Waits)
    assert list(manager.run([1])) == [1]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("joined-")]


def test_r7_a_stop_in_the_middle_of_a_stop() -> None:
    """As a signal handler may do it: setting an event takes a lock, which the interrupted thread may hold."""
    manager = PipelineManager().add_worker(Pass)
    calls, really = [], manager.stop_event.set

    def stop_again() -> None:
        calls.append(1)
        assert len(calls) == 1, "it would wait for its own lock"
        manager.stop()
        really()

    manager.stop_event.set = stop_again  # type: ignore[method-assign]
    list(manager.run([1]))
    assert calls == [1]


def test_r3_of_two_stops_at_once_neither_takes_the_run_for_completed(gate: threading.Event) -> None:
    manager = PipelineManager().add_worker(Pass)
    stopped, entered = manager.stop_event.set, threading.Event()

    def late() -> None:
        entered.set()
        gate.wait()
        stopped()

    manager.stop_event.set = late  # type: ignore[method-assign]
    results = manager.run(itertools.count())
    next(results)
    first = threading.Thread(target=manager.stop)
    first.start()
    assert entered.wait(20)
    manager.stop()
    for _ in results:
        pass
    assert manager.report.state == "stopped"
    gate.set()
    first.join()


def test_r6_leaving_a_run_that_has_failed_raises_nothing(until: Until) -> None:
    manager = PipelineManager().add_worker(FailOnOdd)
    results = manager.run([0, 1])
    next(results)
    until(lambda: manager.report.stages[0].failed)
    results.close()
    assert manager.report.state == "failed"


@pytest.mark.usefixtures("freed_at_once")
def test_r6_results_that_are_collected_in_another_thread_hold_nobody_up(gate: threading.Event, until: Until) -> None:
    class Waits(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item:
                gate.wait()
            return item

    manager = PipelineManager().add_worker(Waits)
    last_reference = [manager.run(range(5))]
    next(last_reference[0])
    until(lambda: manager.report.stages[0].received == 2)
    collector = threading.Thread(target=last_reference.clear)
    collector.start()
    collector.join(20)
    assert not collector.is_alive()
    assert not gate.is_set()
    gate.set()
    assert manager.wait_for_completion(20).state == "stopped"


def test_r3_accounts_that_do_not_balance_are_logged(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PipelineReport, "imbalances", lambda report: ["one item is missing"])
    monkeypatch.setattr(CORE_LOG, "handlers", [])  # What watches over all tests would take it for a fault.
    list(PipelineManager().add_worker(Pass).run([1]))
    assert "the accounts do not balance: one item is missing" in caplog.text


def test_r9_a_slow_run_that_moves_logs_no_stall(caplog: pytest.LogCaptureFixture) -> None:
    class Paced(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            time.sleep(0.01)
            return item

    list(PipelineManager(stall_timeout=0.5).add_worker(Paced).run(range(70)))
    assert "nothing has moved" not in caplog.text


# The report


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stage_that_waits_half_its_time_for_room_says_so(workers: int) -> None:
    class Quick(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            time.sleep(0.01 * workers)
            return item

    class Slow(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            time.sleep(0.02)
            return item

    manager = PipelineManager(queue_size=1).add_worker(Quick, workers=workers).add_worker(Slow)
    list(manager.run(range(15)))
    quick = manager.report.stages[0]
    assert 0.1 < quick.busy < 0.9
    assert 0.1 < quick.waiting_for_output < 0.9


def test_a_stage_that_waits_half_its_time_for_items_says_so() -> None:
    class Quick(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            time.sleep(0.01)
            return item

    def source() -> Iterator[int]:
        for number in range(15):
            time.sleep(0.01)
            yield number

    manager = PipelineManager().add_worker(Quick, workers=2)
    list(manager.run(source()))
    quick = manager.report.stages[0]
    assert 0.1 < quick.busy < 0.9
    assert 0.1 < quick.waiting_for_input < 0.9


def test_a_call_in_flight_is_busy(gate: threading.Event, until: Until) -> None:
    class Waits(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            gate.wait()
            return item

    manager = PipelineManager().add_worker(Waits)
    manager.start([1])
    until(lambda: manager.report.stages[0].busy > 0.5)
    gate.set()
    manager.wait_for_completion()
