"""Who ends a run when: stop() from everywhere, consumers that leave, deadlines, Ctrl-C."""

import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager, robust_put

from fault_table import Counted, Same, Slow, SubTaskSame, fault, gives, later, pipeline, settled, took
from watch import HAS_GIL, eventually


class Stops(BaseWorker[int, int]):
    manager: PipelineManager

    def process_item(self, item: int) -> int:
        if item == 5:
            Stops.manager.stop()
        return item


@fault
def stop_from_inside_of_process_item() -> None:
    for workers in (1, 3):
        for serial in (False, True):
            source = Counted()
            manager = Stops.manager = pipeline(Same, (Stops, {"workers": workers}), Same, queue_size=2)
            results = list(manager.run(source, serial=serial))
            assert results == list(range(len(results)))
            settled(manager, "stopped")
            assert source.let_go()


@fault
def stop_from_the_consumer() -> None:
    for drain in (False, True):
        for serial in (False, True):
            source = Counted()
            manager = pipeline(Same, (Slow, {"workers": 3}), queue_size=5)
            results = []
            for result in manager.run(source, serial=serial):
                results.append(result)
                if result == 5:
                    manager.stop(drain=drain)
            assert results == list(range(len(results)))
            assert drain or len(results) == 6
            settled(manager, "completed" if drain else "stopped")
            assert source.let_go()


@fault
def stop_from_a_signal_handler() -> None:
    for main_waits in (True, False):
        manager = pipeline((Slow, {"workers": 2}))
        usual = signal.signal(signal.SIGUSR1, lambda *_, manager=manager: manager.stop())
        try:
            timer = later(0.05, lambda: os.kill(os.getpid(), signal.SIGUSR1))
            if main_waits:
                manager.start(itertools.count())
                manager.wait_for_completion(30)
            else:
                list(manager.run(itertools.count()))
            timer.join()
        finally:
            signal.signal(signal.SIGUSR1, usual)
        settled(manager, "stopped")


HUNG: list[Any] = []


@fault
def stop_from_a_signal_handler_inside_of_stop() -> None:
    """A handler may run between any two lines of the main thread, which may itself be in stop()."""

    def stop_at(line: int) -> bool:
        manager = pipeline((Same, {"workers": 2}), (SubTaskSame, {"workers": 2}), queue_size=1)
        iterator = manager.run(itertools.count())
        next(iterator)
        seen = itertools.count()
        reached = False

        def trace(frame: Any, event: str, _: object) -> Any:
            nonlocal reached
            if event == "line" and next(seen) == line:
                reached = True
                sys.settrace(None)
                manager.stop()
            return trace

        def stop() -> None:
            sys.settrace(trace)
            manager.stop()
            sys.settrace(None)

        thread = threading.Thread(target=stop, daemon=True)
        thread.start()
        thread.join(20)
        if thread.is_alive():
            HUNG.append(iterator)  # To collect it would hang here, too.
        assert not thread.is_alive(), f"R6: stop() called at line {line} of stop() hangs"
        list(iterator)
        settled(manager, "stopped")
        return reached

    line = 0
    while stop_at(line):
        line += 1
    assert line > 20


@fault
def stop_before_the_start() -> None:
    for drain in (False, True):
        manager = pipeline(Same)
        manager.stop(drain=drain)
        assert list(manager.run(itertools.count())) == []
        settled(manager, "completed" if drain else "stopped")


@fault
def stop_between_run_and_the_first_next() -> None:
    for drain in (False, True):
        source = Counted()
        manager = pipeline((Same, {"workers": 2}))
        iterator = manager.run(source)
        manager.stop(drain=drain)
        assert list(iterator) == []
        settled(manager, "completed" if drain else "stopped")


@fault
def stop_twice_and_after_the_end() -> None:
    manager = pipeline(Same)
    for drain in (True, True, False, False, True):
        manager.start(itertools.count()) if manager.report.state == "new" else None
        manager.stop(drain=drain)
    manager.wait_for_completion(30)
    manager.stop()
    settled(manager)
    manager = pipeline(Same)
    gives(manager, range(3), range(3))
    manager.stop()
    manager.stop(drain=True)
    settled(manager, "completed")


@fault
def stop_from_many_threads_at_once() -> None:
    for _ in range(5):
        manager = pipeline((Same, {"workers": 3}), (SubTaskSame, {"workers": 2}), queue_size=2)
        threads = [threading.Thread(target=manager.stop, kwargs={"drain": n % 2 == 0}) for n in range(8)]
        manager.start(itertools.count())
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        manager.stop()
        manager.wait_for_completion(30)
        settled(manager)


@fault
def stop_while_a_back_off_sleeps() -> None:
    class Fails(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            raise ValueError("injected")

    for workers in (1, 3):
        manager = pipeline((Fails, {"workers": workers, "retries": 1000}))
        manager.start(range(9))
        time.sleep(0.8)
        manager.stop()
        assert took(lambda manager=manager: manager.wait_for_completion(30)) < 1
        settled(manager, "stopped")


@fault
def stop_in_the_midst_of_a_failed_batch() -> None:
    class Fails(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int]:
            time.sleep(0.05)
            raise ValueError("injected")

    manager = pipeline((Fails, {"batch_size": 50}), on_error="skip")
    manager.start(range(100))
    time.sleep(0.2)
    manager.stop()
    assert took(lambda: manager.wait_for_completion(30)) < 1, "R7: stop() went on with the batch"
    settled(manager, "stopped")


@fault
def stop_while_the_source_is_blocked_in_its_next() -> None:
    release = threading.Event()

    def blocked() -> Iterator[int]:
        yield 0
        release.wait()
        yield 1

    for drain in (False, True):
        release.clear()
        manager = pipeline(Same, (Same, {"workers": 2}))
        iterator = manager.run(blocked())
        assert next(iterator) == 0
        manager.stop(drain=drain)
        assert took(lambda iterator=iterator: list(iterator)) < 2
        release.set()
        assert eventually(lambda manager=manager: manager.report.imbalances() == [])


@fault
def stop_while_a_source_function_is_blocked() -> None:
    returned = []

    def feed(queue: Any, stop_event: threading.Event) -> None:
        returned.append(all(robust_put(queue, number, stop_event) for number in range(10**9)))

    for drain in (False, True):
        manager = pipeline((Same, {"workers": 2}), queue_size=1)
        iterator = manager.run(feed)
        next(iterator)
        time.sleep(0.02)
        manager.stop(drain=drain)
        results = list(iterator)
        assert drain or results == []
        assert eventually(lambda: returned.pop() is False if returned else False)
        assert eventually(lambda manager=manager: manager.report.imbalances() == [])


@fault
def stop_while_all_is_full() -> None:
    for kind in ("one", "many", "pool", "unordered"):
        stages = {"one": Same, "many": (Same, {"workers": 3}), "pool": (SubTaskSame, {"workers": 2})}
        stage = stages.get(kind, (Same, {"workers": 3}))
        manager = pipeline(stage, stage, stage, queue_size=2, ordered=kind != "unordered")
        source = Counted()
        iterator = manager.run(source)
        next(iterator)
        time.sleep(0.05)
        manager.stop()
        assert list(iterator) == []
        settled(manager, "stopped")
        assert source.let_go()


@fault
def wait_for_completion_has_a_deadline() -> None:
    class Hangs(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            self.stop_event.wait()
            return item

    manager = pipeline(Same, (Hangs, {"name": "the slow one", "workers": 2}), Same)
    manager.start(itertools.count())
    busy = r"'the slow one'[\s\S]*stop_event\.wait" if HAS_GIL else r"'the slow one': items in hand: \d+"
    with pytest.raises(TimeoutError, match=busy):
        manager.wait_for_completion(0.1)
    manager.wait_for_completion(30)
    settled(manager, "stopped")


@fault
def wait_for_completion_before_the_start() -> None:
    with pytest.raises(RuntimeError):
        pipeline(Same).wait_for_completion(1)


@fault
def a_stall_is_logged_and_not_a_fault() -> None:
    class Hangs(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            time.sleep(0.2)
            return item

    gives(pipeline(Hangs, stall_timeout=0.05), range(2), range(2))


@fault
def a_thread_that_cannot_be_started() -> None:
    usual = threading.Thread.start
    for number in range(1, 6):
        count = itertools.count(1)

        def start(self: threading.Thread, count: Any = count, number: int = number) -> None:
            if next(count) == number:
                raise RuntimeError("can't start new thread")
            usual(self)

        for way in ("start", "run"):
            manager = pipeline((Same, {"workers": 3}), SubTaskSame)
            threading.Thread.start = start  # type: ignore[method-assign]
            try:
                if way == "start":
                    manager.start(range(3))
                else:
                    list(manager.run(range(3)))
            except (RuntimeError, PipelineError):
                pass
            finally:
                threading.Thread.start = usual  # type: ignore[method-assign]
            manager.stop()
            assert eventually(lambda manager=manager: manager.report.state in ("stopped", "failed", "completed"))
