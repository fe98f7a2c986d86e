"""R6: every way to leave a run has one end, and whoever could only wait for itself is told so."""

import gc
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from my_pipeline.pipeline_core import (
    BaseWorker,
    FailedItem,
    Observer,
    PipelineError,
    PipelineManager,
    SubTaskPoolWorker,
    robust_put,
)

Until = Callable[[Callable[[], object]], None]
both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
one_worker_and_several = pytest.mark.parametrize("workers", [1, 3])


class Pass(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item


class Held(BaseWorker[Any, Any]):
    """Item 3 waits at a gate."""

    def __init__(self, begun: threading.Event, gate: threading.Event) -> None:
        self.begun, self.gate = begun, gate

    def process_item(self, item: Any) -> Any:
        if item == 3:
            self.begun.set()
            self.gate.wait()
        return item


class Source:
    """An endless source that knows when it was let go of."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            self.closed.set()


def in_a_thread(call: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=call)
    thread.start()
    return thread


# Leaving.


def close(results: Any) -> None:
    results.close()


def close_elsewhere(results: Any) -> None:
    in_a_thread(results.close).join()


def close_twice_at_once(results: Any) -> None:
    threads = [in_a_thread(results.close) for _ in range(2)]
    for thread in threads:
        thread.join()


def close_twice(results: Any) -> None:
    results.close()
    results.close()


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("taken_elsewhere", [False, True])
@pytest.mark.parametrize("taken", [0, 1, 5])
@pytest.mark.parametrize("leave", [close, close_elsewhere, close_twice_at_once, close_twice])
def test_r6_closing_ends_the_run_in_whichever_thread(
    leave: Any, taken: int, taken_elsewhere: bool, workers: int, serial: bool
) -> None:
    """When `close` returns, no thread runs and the accounts are closed."""
    source = Source()
    manager = PipelineManager().add_worker(Pass, workers=workers)
    results = manager.run(source, serial=serial)

    def take() -> None:
        assert [next(results) for _ in range(taken)] == list(range(taken))

    if taken_elsewhere:
        in_a_thread(take).join()
    else:
        take()
    leave(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("pipeline-")]
    report = manager.report
    assert (report.state, report.delivered, report.imbalances()) == ("stopped", taken, [])
    assert source.closed.is_set() or not taken
    with pytest.raises(StopIteration):
        next(results)
    assert list(results) == []
    assert manager.wait_for_completion(60).state == "stopped"


def test_r6_closing_while_another_thread_waits_for_a_result_ends_both(
    gate: threading.Event, until: Until, asleep: Callable[[str], bool]
) -> None:
    begun = threading.Event()
    manager = PipelineManager().add_worker(Held, worker_args={"begun": begun, "gate": gate})
    results = manager.run(Source())
    taken: list[int] = []
    consumer = threading.Thread(target=lambda: taken.extend(results), name="consumer")
    consumer.start()
    assert begun.wait(20)
    until(lambda: asleep("consumer"))
    closer = in_a_thread(results.close)
    until(lambda: manager.stop_event.is_set())
    gate.set()
    closer.join()
    consumer.join()
    assert taken == [0, 1, 2]
    assert (manager.report.state, manager.report.imbalances()) == ("stopped", [])


@one_worker_and_several
def test_r6_closing_while_another_thread_is_between_two_results(workers: int) -> None:
    """The consumer holds a result, and asks for the next one once the run has been closed."""
    for _ in range(20):
        manager = PipelineManager(queue_size=2).add_worker(Pass, workers=workers)
        results = manager.run(Source())
        first = threading.Event()

        def consume(results: Any = results, first: threading.Event = first) -> None:
            for _ in results:
                first.set()

        consumer = in_a_thread(consume)
        assert first.wait(20)
        results.close()
        consumer.join()
        assert (manager.report.state, manager.report.imbalances()) == ("stopped", [])


def test_r6_results_that_nobody_holds_any_more_end_the_run(until: Until) -> None:
    source = Source()
    manager = PipelineManager().add_worker(Pass, workers=2)
    results = manager.run(source)
    next(results)
    del results
    gc.collect()
    until(source.closed.is_set)
    assert manager.wait_for_completion(60).state == "stopped"


@both_modes
def test_r6_a_worker_may_close_the_results(serial: bool) -> None:
    """It cannot wait for the end of its own call, so it does not: the run ends when it returns."""

    class Closes(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item == 5:
                results.close()
            return item

    source = Source()
    manager = PipelineManager().add_worker(Closes)
    results = manager.run(source, serial=serial)
    assert list(results) == list(range(manager.report.delivered))
    assert (manager.report.state, manager.report.imbalances()) == ("stopped", [])
    assert source.closed.is_set()


@both_modes
def test_r6_a_source_may_close_the_results(serial: bool) -> None:
    def source() -> Iterator[int]:
        yield from range(5)
        results.close()
        yield from itertools.count()

    manager = PipelineManager().add_worker(Pass)
    results = manager.run(source(), serial=serial)
    list(results)
    assert (manager.report.state, manager.report.imbalances()) == ("stopped", [])


def test_r7_a_source_function_that_blocks_behind_a_put_holds_no_end_up(gate: threading.Event, until: Until) -> None:
    """The stop comes while it is in `put`, and then it goes on to wait for something of its own."""
    in_put, go_on, left = threading.Event(), threading.Event(), threading.Event()

    def on_dead_letter(letter: object) -> None:
        in_put.set()
        go_on.wait()

    def source(queue: Any, stop_event: threading.Event) -> None:
        robust_put(queue, 1, stop_event)
        robust_put(queue, FailedItem(2, ValueError("no number")), stop_event)
        gate.wait()
        left.set()

    manager = PipelineManager(on_error="skip", on_dead_letter=on_dead_letter).add_worker(Pass)
    manager.start(source)
    assert in_put.wait(20)
    manager.stop()
    until(lambda: not any(thread.name == "pipeline-pass-0" for thread in threading.enumerate()))
    go_on.set()
    assert manager.wait_for_completion(60).state == "stopped"
    assert not left.is_set()


# Waiting for oneself.


class Told:
    """Waits for the run in one place, and notes what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.manager: Any = None

    def wait(self) -> None:
        if not self.said:
            self.said.append("")
            try:
                self.manager.wait_for_completion()
                self.said.append("returned")
            except RuntimeError as error:
                self.said.append(str(error))


class Everywhere(BaseWorker[Any, Any]):
    def __init__(self, told: Told, place: str) -> None:
        self.told, self.place = told, place

    def at(self, place: str) -> None:
        if place == self.place:
            self.told.wait()

    def setup(self) -> None:
        self.at("setup")

    def process_item(self, item: Any) -> Any:
        self.at("process_item")
        return item

    def process_batch(self, items: list[Any]) -> list[Any]:
        self.at("process_batch")
        return items

    def teardown(self) -> None:
        self.at("teardown")


class Yields(Everywhere):
    def process_item(self, item: Any) -> Iterator[Any]:
        yield item
        self.at("generator")


class Fails(Everywhere):
    def process_item(self, item: Any) -> Any:
        raise ValueError(item)


class Pool(SubTaskPoolWorker[Any, Any, Any, Any]):
    def __init__(self, told: Told, place: str) -> None:
        super().__init__(sub_workers=2)
        self.told, self.place = told, place

    def at(self, place: str) -> None:
        if place == self.place:
            self.told.wait()

    def setup(self) -> None:
        self.at("setup of a pool")

    def split(self, item: Any) -> list[Any]:
        self.at("split")
        return [item]

    def process_sub_task(self, sub: Any) -> Any:
        self.at("process_sub_task")
        return sub

    def merge(self, item: Any, results: list[Any]) -> Any:
        self.at("merge")
        return item


PLACES = {
    "setup": Everywhere,
    "process_item": Everywhere,
    "process_batch": Everywhere,
    "teardown": Everywhere,
    "generator": Yields,
    "on_dead_letter": Fails,
    "setup of a pool": Pool,
    "split": Pool,
    "process_sub_task": Pool,
    "merge": Pool,
    "source": Everywhere,
    "source function": Everywhere,
}


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("in_background", [False, True])
@pytest.mark.parametrize("place", PLACES)
def test_r6_who_could_only_wait_for_itself_is_told_so(
    place: str, in_background: bool, workers: int, serial: bool
) -> None:
    if in_background and serial:
        pytest.skip("the plain loop has no background")
    told = Told()

    def source() -> Iterator[int]:
        for item in range(5):
            if place == "source":
                told.wait()
            yield item

    def source_function(queue: Any, stop_event: threading.Event) -> None:
        told.wait()
        for item in range(5):
            robust_put(queue, item, stop_event)

    manager = PipelineManager(on_error="skip", on_dead_letter=lambda _: place == "on_dead_letter" and told.wait())  # type: ignore[func-returns-value]
    batch_size = 2 if place == "process_batch" else None
    arguments = {"told": told, "place": place}
    manager.add_worker(PLACES[place], workers=workers, batch_size=batch_size, worker_args=arguments)
    told.manager = manager
    items: Any = source_function if place == "source function" else source()
    if in_background:
        manager.start(items)
        manager.wait_for_completion(60)
    else:
        list(manager.run(items, serial=serial))
    assert len(told.said) == 2
    assert "waits for itself" in told.said[1]
    assert (manager.report.state, manager.report.imbalances()) == ("completed", [])


@both_modes
@pytest.mark.parametrize("timeout", [None, 0, 60])
def test_r6_waiting_in_the_loop_over_the_results_is_refused(timeout: Any, serial: bool) -> None:
    manager = PipelineManager().add_worker(Pass)
    for _ in manager.run(range(5), serial=serial):
        with pytest.raises(RuntimeError, match="waits for itself"):
            manager.wait_for_completion(timeout)
    assert manager.report.delivered == 5


def test_r6_in_the_loop_one_may_stop_and_then_wait() -> None:
    manager = PipelineManager().add_worker(Pass, workers=2)
    for _ in manager.run(itertools.count()):
        manager.stop()
        assert manager.wait_for_completion(60).state == "stopped"


@both_modes
def test_r6_after_the_loop_one_may_wait_also_when_it_was_left_early(serial: bool) -> None:
    manager = PipelineManager().add_worker(Pass)
    for _ in manager.run(itertools.count(), serial=serial):
        break
    assert manager.wait_for_completion(60).state == "stopped"


def test_r6_another_thread_may_wait_while_the_loop_goes_on() -> None:
    manager = PipelineManager().add_worker(Pass)
    states: list[str] = []
    waiter = threading.Thread(target=lambda: states.append(manager.wait_for_completion().state))
    for item in manager.run(range(5)):
        if item == 0:
            waiter.start()
    waiter.join()
    assert states == ["completed"]


@pytest.mark.parametrize("in_background", [False, True])
def test_r6_an_observer_that_waits_at_the_end_gets_the_report(in_background: bool) -> None:
    states: list[str] = []

    class Waits(Observer):
        def ended(self, report: Any) -> None:
            states.append(manager.wait_for_completion().state)

    manager = PipelineManager().add_worker(Pass).observe(Waits())
    if in_background:
        manager.start(range(5))
        manager.wait_for_completion(60)
    else:
        assert list(manager.run(range(5))) == list(range(5))
    assert states == ["completed"]


@both_modes
def test_r6_leaving_the_loop_with_an_error_leaves_nothing_of_the_run(serial: bool) -> None:
    source = Source()
    manager = PipelineManager().add_worker(Pass, workers=2)

    def consume() -> None:
        for item in manager.run(source, serial=serial):
            if item == 3:
                raise KeyError(item)

    with pytest.raises(KeyError):
        consume()
    assert source.closed.is_set()
    assert (manager.report.state, manager.report.error, manager.report.imbalances()) == ("stopped", None, [])


def test_r6_whoever_leaves_a_run_that_fails_meanwhile_sees_no_error_and_the_report_does(
    gate: threading.Event, until: Until
) -> None:
    """`close` raises nothing. `wait_for_completion` does."""

    class FailsAtTwo(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item == 2:
                raise ValueError("two")
            return item

    manager = PipelineManager().add_worker(FailsAtTwo)
    results = manager.run(itertools.count())
    next(results)
    until(lambda: manager.report.stages[0].failed)
    results.close()
    assert manager.report.imbalances() == []
    with suppress(PipelineError):
        manager.wait_for_completion(60)
