"""R16: a time limit is kept. An async call is cancelled, a child process is killed and replaced, a thread is left behind."""

import asyncio
import itertools
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager, SubTaskPoolWorker

import workers_for_children
import workers_for_executors as workers
from jitter import jitter

Until = Callable[[Callable[[], object]], None]
LIMIT = 0.5  # Seconds: a busy machine makes a call that does nothing in this time.
TOO_LATE = f"no result after {LIMIT:g} seconds"

HOW: dict[str, dict[str, Any]] = {
    "thread": {},
    "3 threads": {"workers": 3},
    "child": {"executor": "process"},
    "2 children": {"executor": "process", "workers": 2},
    "async": {"workers": 1},
    "async 4": {"workers": 4},
}
each_executor = pytest.mark.parametrize("how", HOW)
TWINS: dict[Any, Any] = {workers.Hanging: workers.AsyncHanging, workers.HangingGenerator: workers.AsyncHangingGenerator}


def pipeline(
    how: str,
    kind: Any,
    gate: threading.Event,
    arguments: dict[str, Any],
    manager: PipelineManager | None = None,
    **options: Any,
) -> PipelineManager:
    """A stage with a time limit, whose calls hang until the gate opens, or for ever where they can be ended."""
    if how.startswith("async"):
        kind = TWINS[kind]
    elif "child" not in how:
        arguments = arguments | {"gate": gate}
    manager = manager or PipelineManager(on_error="skip")
    manager.add_worker(kind, worker_args=arguments, **{"timeout": LIMIT} | HOW[how] | options)
    return manager


def letters(manager: PipelineManager) -> list[Any]:
    return [
        (each.index, each.item, type(each.error).__name__, str(each.error), each.attempts)
        for each in manager.report.dead_letters
    ]


def replaced(manager: PipelineManager) -> int:
    report = manager.report
    assert report.imbalances() == []
    return report.stages[-1].replaced


@each_executor
@pytest.mark.parametrize("ordered", [True, False])
def test_r16_a_call_that_takes_too_long_fails_its_item_alone(how: str, ordered: bool, gate: threading.Event) -> None:
    """The end of the run does not wait for it: the gate never opens here."""
    manager = pipeline(how, workers.Hanging, gate, {"stuck": {3}}, PipelineManager(on_error="skip", ordered=ordered))
    results = list(manager.run(range(10)))
    assert (results if ordered else sorted(results, reverse=True)) == [-item for item in range(10) if item != 3]
    assert letters(manager) == [(3, 3, "TimeoutError", TOO_LATE, 1)]
    assert replaced(manager) == (0 if "async" in how else 1)


@each_executor
def test_r16_under_stop_it_ends_the_run_behind_the_results_before_it(how: str, gate: threading.Event) -> None:
    manager = pipeline(how, workers.Hanging, gate, {"stuck": {3}}, PipelineManager(), name="slow")
    results: list[int] = []
    with pytest.raises(PipelineError, match=f"'slow' failed in process_item on item 3: 3: TimeoutError: {TOO_LATE}"):
        results.extend(manager.run(itertools.count()))
    assert results == [0, -1, -2]
    assert manager.report.imbalances() == []


@each_executor
def test_r16_an_attempt_that_took_too_long_is_one_of_the_retries(
    how: str, gate: threading.Event, tmp_path: Path
) -> None:
    arguments = {"stuck": {1, 2}, "calls": 1, "folder": tmp_path}
    manager = pipeline(how, workers.Hanging, gate, arguments, retries=1, backoff=0)
    assert list(manager.run(range(4))) == [0, -1, -2, -3]
    assert letters(manager) == []
    assert manager.report.stages[0].retried == 2
    assert replaced(manager) == (0 if "async" in how else 2)


@each_executor
@pytest.mark.parametrize(
    ("retry_on", "attempts"), [(TimeoutError, 2), (ValueError, 1), (lambda error: "no result" in str(error), 2)]
)
def test_r16_retry_on_sees_the_timeout_error(how: str, retry_on: Any, attempts: int, gate: threading.Event) -> None:
    manager = pipeline(how, workers.Hanging, gate, {"stuck": {1}}, retries=1, backoff=0, retry_on=retry_on)
    assert list(manager.run(range(3))) == [0, -2]
    assert letters(manager) == [(1, 1, "TimeoutError", TOO_LATE, attempts)]


@each_executor
def test_r16_a_run_that_is_stopped_does_not_wait_for_a_call_that_hangs(
    how: str, gate: threading.Event, tmp_path: Path, until: Until
) -> None:
    manager = pipeline(how, workers.Hanging, gate, {"stuck": {2}, "folder": tmp_path})
    manager.start(itertools.count())
    until(lambda: list(tmp_path.iterdir()))
    manager.stop()
    assert manager.wait_for_completion(60).state == "stopped"
    assert manager.report.imbalances() == []


@each_executor
def test_r16_nor_for_another_attempt_that_hangs(how: str, gate: threading.Event, tmp_path: Path, until: Until) -> None:
    manager = pipeline(how, workers.Hanging, gate, {"stuck": {2}, "folder": tmp_path}, retries=1, backoff=0)
    manager.start(range(5))
    until(lambda: len(list(tmp_path.iterdir())) == 2)
    manager.stop()
    assert manager.wait_for_completion(60).state == "stopped"
    assert manager.report.imbalances() == []


@each_executor
@pytest.mark.parametrize("end", ["leave", "drain"])
def test_r16_a_consumer_that_leaves_and_a_drain_do_not_wait_for_it(
    how: str, end: str, gate: threading.Event, tmp_path: Path, until: Until
) -> None:
    manager = pipeline(how, workers.Hanging, gate, {"stuck": {2}, "folder": tmp_path})
    results = manager.run(itertools.count())
    assert next(results) == 0
    until(lambda: list(tmp_path.iterdir()))
    if end == "leave":
        results.close()
        assert manager.report.state == "stopped"
    else:
        manager.stop(drain=True)
        left = list(results)
        assert left == [-1, *range(-3, -len(left) - 2, -1)]
        assert len(letters(manager)) == 1
    assert manager.report.imbalances() == []


class Remembers(BaseWorker[int, Any]):
    """Gives which worker did an item. Hangs at item 1 until the gate opens. Those behind the `first` ones may fail."""

    def __init__(self, made: list[Any], gate: threading.Event, fails: str = "", first: int = 1) -> None:
        self.made, self.gate, self.number = made, gate, len(made)
        self.fails = fails if self.number >= first else ""
        self.threads: dict[str, Any] = {}
        made.append(self)
        if self.fails == "__init__":
            raise LookupError("no more of them")

    def setup(self) -> None:
        self.threads["setup"] = threading.current_thread()
        if self.fails == "setup":
            raise LookupError("no more of them")

    def process_item(self, item: int) -> Any:
        if item == 1:
            self.gate.wait(600)
        return self.number, self.index, item

    def teardown(self) -> None:
        self.threads["teardown"] = threading.current_thread()


def test_r16_another_worker_with_a_setup_of_its_own_takes_the_place_of_a_thread(gate: threading.Event) -> None:
    made: list[Any] = []
    manager = PipelineManager(on_error="skip")
    manager.add_worker(Remembers, worker_args={"made": made, "gate": gate}, timeout=LIMIT)
    assert list(manager.run(range(4))) == [(0, 0, 0), (1, 0, 2), (1, 0, 3)]
    assert len(made) == 2
    assert made[0].threads["setup"] is not made[1].threads["setup"] is made[1].threads["teardown"]


def test_r16_a_thread_that_was_left_behind_is_torn_down_when_its_call_returns(
    gate: threading.Event, until: Until
) -> None:
    """In its own thread, and not while it is in its call."""
    made: list[Any] = []
    manager = PipelineManager(on_error="skip")
    manager.add_worker(Remembers, worker_args={"made": made, "gate": gate}, timeout=LIMIT)
    assert [item for _, _, item in manager.run(range(3))] == [0, 2]
    assert "teardown" not in made[0].threads
    assert made[0].threads["setup"].is_alive()
    gate.set()
    until(lambda: "teardown" in made[0].threads)
    assert made[0].threads["teardown"] is made[0].threads["setup"]


@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("fails", ["__init__", "setup"])
@pytest.mark.parametrize("number", [1, 2])
def test_r16_if_no_worker_can_take_its_place_the_stage_has_failed(
    number: int, fails: str, on_error: Any, gate: threading.Event
) -> None:
    """And the run does not hang, nor lose its items in silence. No other item comes in, which would wake the stage."""
    manager = PipelineManager(on_error=on_error)
    arguments = {"made": [], "gate": gate, "fails": fails, "first": number}
    manager.add_worker(Remembers, name="one", workers=number, worker_args=arguments, timeout=LIMIT, retries=1)
    with pytest.raises(PipelineError) as caught:
        for _ in manager.run(range(3)):
            pass
    assert (caught.value.stage, caught.value.phase) == ("one", fails)
    assert isinstance(caught.value.__cause__, LookupError)
    assert manager.report.imbalances() == []


def test_r16_if_no_child_can_take_its_place_the_stage_has_failed(gate: threading.Event, tmp_path: Path) -> None:
    arguments = {"stuck": {1}, "folder": tmp_path}
    manager = pipeline("child", workers.HangingAndNotSetUpAgain, gate, arguments, name="one")
    with pytest.raises(PipelineError, match="'one' failed in setup: FileNotFoundError: the device is in use"):
        for _ in manager.run(itertools.count()):
            pass
    assert manager.report.imbalances() == []


@pytest.mark.parametrize("number", [1, 3])
def test_r16_a_call_that_returns_too_late_delivers_nothing(number: int, gate: threading.Event) -> None:
    """It returns while the run goes on, and another attempt at its item has been made, or not."""
    left = threading.Event()

    class Late(BaseWorker[int, int]):
        def __init__(self) -> None:
            self.attempts = 0

        def process_item(self, item: int) -> int:
            if item == 1 and not gate.is_set():
                gate.wait(600)
            return -item

        def teardown(self) -> None:
            left.set()

    def source() -> Iterator[int]:
        yield from range(3)
        assert went_on.wait(60)
        gate.set()
        assert left.wait(60)
        yield from range(3, 20)

    went_on = threading.Event()
    manager = PipelineManager(on_error="skip").add_worker(Late, timeout=LIMIT, workers=number)
    results = []
    for result in manager.run(source()):
        results.append(result)
        if result == -2:
            went_on.set()
    assert results == [-item for item in range(20) if item != 1]
    assert letters(manager) == [(1, 1, "TimeoutError", TOO_LATE, 1)]
    assert replaced(manager) == 1


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("expands", [False, True])
@pytest.mark.usefixtures("fast_switches")
def test_r16_a_call_that_returns_just_at_its_limit_has_one_outcome(ordered: bool, retries: int, expands: bool) -> None:
    """Either its output or its dead letter comes, and none of them ends the run."""

    class AtTheLimit(BaseWorker[int, int]):
        def process_item(self, item: int) -> Any:
            time.sleep(0.002 if item % 4 == 0 else 0)
            return item

    class Expands(AtTheLimit):
        def process_item(self, item: int) -> Any:
            yield super().process_item(item)

    for seed in range(8):
        manager = PipelineManager(on_error="skip", ordered=ordered)
        manager.add_worker(
            Expands if expands else AtTheLimit, timeout=0.002, workers=3, retries=retries, backoff=0
        ).add_worker(AtTheLimit, name="behind")
        with jitter(seed):
            results = list(manager.run(range(50)))
        failed = [letter.item for letter in manager.report.dead_letters]
        assert len({*results}) + len({*failed}) == len(results) + len(failed)
        assert {*results, *failed} == {*range(50)}
        assert expands or not {*results} & {*failed}  # A generator may fail behind its output.
        assert not ordered or results == sorted(results)
        assert manager.report.imbalances() == []


@each_executor
def test_r16_the_time_of_a_generator_is_limited_in_its_middle(how: str, gate: threading.Event) -> None:
    """In threads and event loops for each output; in a child process for all outputs. Those before are delivered."""
    manager = pipeline(how, workers.HangingGenerator, gate, {"stuck": {1}}, retries=0)
    assert list(manager.run(range(1, 3))) == [1, 2, -2]
    assert letters(manager) == [(0, 1, "TimeoutError", TOO_LATE, 1)]
    assert replaced(manager) == (0 if "async" in how else 1)


@pytest.mark.parametrize("how", ["thread", "3 threads", "child", "2 children"])
def test_r16_the_items_of_a_batch_that_took_too_long_are_tried_alone(how: str, gate: threading.Event) -> None:
    manager = pipeline(how, workers.HangingBatch, gate, {"stuck": {5}}, batch_size=4)
    assert list(manager.run(range(10))) == [-item for item in range(10) if item != 5]
    assert letters(manager) == [(5, 5, "TimeoutError", TOO_LATE, 1)]
    assert replaced(manager) == 2


class Pool(SubTaskPoolWorker[int, Any, Any, Any]):
    """Hangs at sub-task 3 until the gate opens; in a child, for ever."""

    def __init__(self, gate: Any = None, split: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.gate = gate or threading.Event()

    def process_sub_task(self, sub: int) -> int:
        if sub == 3:
            self.gate.wait(600)
        return -sub


@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("workers_of_stage", [1, 2])
def test_r16_a_pool_of_threads_has_a_time_limit(number: int, workers_of_stage: int, gate: threading.Event) -> None:
    manager = PipelineManager(on_error="skip")
    arguments = {"gate": gate, "sub_workers": number}
    manager.add_worker(Pool, worker_args=arguments, timeout=LIMIT, workers=workers_of_stage)
    assert list(manager.run(range(9))) == [-item for item in range(9) if item != 3]
    assert letters(manager) == [(3, 3, "TimeoutError", TOO_LATE, 1)]
    assert replaced(manager) == 1


def test_r16_a_pool_of_child_processes_has_a_time_limit(gate: threading.Event) -> None:
    manager = PipelineManager(on_error="skip")
    arguments = {"worker_class": workers.Hanging, "sub_workers": 2, "stuck": {3}}
    manager.add_worker(workers_for_children.Pool, worker_args=arguments, timeout=LIMIT)
    assert list(manager.run(range(9))) == [-item for item in range(9) if item != 3]
    assert letters(manager) == [(3, 3, "TimeoutError", TOO_LATE, 1)]
    assert replaced(manager) == 1


def test_r16_a_pool_of_child_processes_that_splits_items_has_a_time_limit_for_each_sub_task() -> None:
    manager = PipelineManager(on_error="skip")
    manager.add_worker(workers.SplittingPool, worker_args={"executor": "process", "sub_workers": 2}, timeout=LIMIT)
    assert list(manager.run(range(4))) == [[-item, -10 * item] for item in range(4) if item != 3]
    assert letters(manager) == [(3, 3, "TimeoutError", TOO_LATE, 1)]
    assert replaced(manager) == 1


def test_r16_a_pool_of_threads_that_splits_items_is_refused_a_time_limit() -> None:
    manager = PipelineManager().add_worker(workers.SplittingPool, timeout=LIMIT)
    with pytest.raises(ValueError, match="timeout of a pool that splits items needs child processes"):
        manager.run(range(4))


@pytest.mark.parametrize("how", ["threads", "async"])
def test_r16_a_limit_of_a_fifth_of_a_second_is_kept_with_a_hundred_calls_in_flight(
    how: str, gate: threading.Event
) -> None:
    """All of them hang. None is given up before its time, and all are in some seconds, however busy the machine is."""
    spans: list[float] = []

    def retry_on(error: Exception) -> bool:
        begun = begins.pop()
        spans.append(time.perf_counter() - begun)
        return False

    begins: list[float] = []

    class Hangs(BaseWorker[int, None]):
        def process_item(self, item: int) -> None:
            begins.append(time.perf_counter())
            gate.wait(600)

    class AsyncHangs(BaseWorker[int, None]):
        async def process_item(self, item: int) -> None:
            begins.append(time.perf_counter())
            await asyncio.Event().wait()

    manager = PipelineManager(on_error="skip")
    kind: Any = Hangs if how == "threads" else AsyncHangs
    manager.add_worker(kind, workers=100, timeout=0.2, retries=1, retry_on=retry_on)
    assert list(manager.run(range(100))) == []
    assert [letter.attempts for letter in manager.report.dead_letters] == [1] * 100
    assert replaced(manager) == (100 if how == "threads" else 0)
    assert max(spans) < 5


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_r16_an_async_call_is_cancelled_in_its_place_and_its_worker_stays(serial: bool) -> None:
    told: list[Any] = []

    class Cancelled(BaseWorker[int, int]):
        async def process_item(self, item: int) -> int:
            if item == 1:
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    told.append(("cancelled", threading.get_ident()))
                    raise
                finally:
                    await asyncio.sleep(0)
                    told.append(("finally", threading.get_ident()))
            return threading.get_ident()

    manager = PipelineManager(on_error="skip").add_worker(Cancelled, timeout=LIMIT)
    first, last = manager.run(range(3), serial=serial)
    assert first == last
    assert told == [("cancelled", first), ("finally", first)]
    assert letters(manager) == [(1, 1, "TimeoutError", TOO_LATE, 1)]
    assert replaced(manager) == 0


@pytest.mark.parametrize("how", ["thread", "async", "async serial"])
def test_r16_a_timeout_error_of_ones_own_is_left_as_it_is(how: str) -> None:
    class Own(BaseWorker[int, int]):
        def process_item(self, item: int) -> Any:
            raise TimeoutError(f"the server is slow with {item}")

    class AsyncOwn(BaseWorker[int, int]):
        async def process_item(self, item: int) -> int:
            raise TimeoutError(f"the server is slow with {item}")

    manager = PipelineManager(on_error="skip").add_worker(AsyncOwn if "async" in how else Own, timeout=60)
    assert list(manager.run([5], serial="serial" in how)) == []
    assert letters(manager) == [(0, 5, "TimeoutError", "the server is slow with 5", 1)]
    assert replaced(manager) == 0


@pytest.mark.parametrize("how", ["thread", "child"])
def test_r16_the_worker_that_takes_the_last_place_has_its_finish(how: str, gate: threading.Event) -> None:
    """What the one that was left behind had counted is lost; and the same in a thread and in a child."""
    manager = pipeline(how, workers.CountsAtTheEnd, gate, {"stuck": {4}})
    assert list(manager.run(range(5))) == ["0 by 0"]
    assert replaced(manager) == 1
    manager = pipeline(how, workers.CountsAtTheEnd, gate, {"stuck": {2}})
    assert list(manager.run(range(5))) == ["2 by 0"]


@pytest.mark.parametrize("timeout", [1e7, 1e300, float("inf")])
@pytest.mark.parametrize("how", ["thread", "3 threads", "child", "async", "async 4"])
def test_r16_a_limit_that_is_far_away_changes_nothing(how: str, timeout: float, gate: threading.Event) -> None:
    manager = pipeline(how, workers.Hanging, gate, {"stuck": set()}, timeout=timeout)
    assert list(manager.run(range(20))) == list(range(0, -20, -1))
    assert replaced(manager) == 0


def test_r16_no_child_process_is_left_of_those_that_were_killed(gate: threading.Event) -> None:
    manager = pipeline("2 children", workers.Hanging, gate, {"stuck": {1, 2, 4}})
    assert list(manager.run(range(6))) == [0, -3, -5]
    assert replaced(manager) == 3
    assert multiprocessing.active_children() == []


def test_r16_a_pause_before_another_attempt_is_kept_and_a_stop_ends_it(gate: threading.Event, until: Until) -> None:
    manager = PipelineManager()
    made: list[Any] = []
    manager.add_worker(
        Remembers, worker_args={"made": made, "gate": gate}, timeout=LIMIT, retries=1, backoff=1e6, max_backoff=1e6
    )
    manager.start(range(3))
    until(lambda: manager.report.stages[0].replaced and len(made) == 2 and "setup" in made[1].threads)
    manager.stop()
    report = manager.wait_for_completion(60)
    assert (report.state, report.stages[0].retried, report.imbalances()) == ("stopped", 0, [])
