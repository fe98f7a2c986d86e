"""R11: a stage that cuts items into sub-tasks keeps a bounded window in its pool, in order, and survives what fails."""

import itertools
import logging
import multiprocessing
import os
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from my_pipeline.pipeline_core import PipelineError, PipelineManager, SubTaskPoolWorker

from watch import HAS_GIL

Until = Callable[[Callable[[], object]], None]
Worker = TypeVar("Worker", bound=type)
both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])


def importable(worker_class: Worker) -> Worker:
    """Child processes find a worker's class by its module: make that this file, found by its plain name."""
    worker_class.__module__ = Path(__file__).stem
    return worker_class


@pytest.fixture
def child_processes(monkeypatch: pytest.MonkeyPatch, until: Until) -> Iterator[None]:
    """Lets child processes import this file, and asserts that none is left."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setitem(sys.modules, Path(__file__).stem, sys.modules[__name__])
    yield
    until(lambda: not multiprocessing.active_children())


@importable
class SumOfSquares(SubTaskPoolWorker[int, int, int, int]):
    """The sum of the squares below an item, each a sub-task."""

    def split(self, item: int) -> list[int]:
        return list(range(item))

    def process_sub_task(self, sub: int) -> int:
        return sub * sub

    def merge(self, item: int, results: list[int]) -> int:
        assert results == [sub * sub for sub in range(item)], "results come in the order of the sub-tasks"
        return sum(results)


@importable
class ChildDies(SubTaskPoolWorker[int, int, Any, Any]):
    """Item 2 kills the process that it is in; the others say in which process they were."""

    def process_sub_task(self, sub: int) -> tuple[int, int]:
        if sub == 2:
            os._exit(3)
        return sub, os.getpid()


@importable
class Computes(SubTaskPoolWorker[int, int, int, int]):
    """Counts for as long as a child process is given CPU time."""

    def process_sub_task(self, sub: int) -> int:
        until = time.process_time() + 0.02
        while time.process_time() < until:
            pass
        return sub


class Unpicklable(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


@importable
class RaisesInChild(SubTaskPoolWorker[str, str, str, str]):
    def setup(self) -> None:
        self.prefix = "set up: "

    def process_sub_task(self, sub: str) -> str:
        if sub == "picklable":
            raise KeyError("from the child")
        if sub == "unpicklable":
            raise Unpicklable(1, 2)
        return self.prefix + sub


class Refuses:
    """Goes out of a process, and into none."""

    def __reduce__(self) -> Any:
        return int, ("no number",)


@importable
class AnswersStrangely(SubTaskPoolWorker[int, int, Any, Any]):
    def process_sub_task(self, sub: int) -> Any:
        return Refuses()


@importable
class FailsInChild(SubTaskPoolWorker[int, int, int, int]):
    """Can be made and set up here, but not in a child process."""

    def __init__(self, place: str, **pool: Any) -> None:
        super().__init__(**pool)
        self.place = place
        self.fail_in("__init__")

    def setup(self) -> None:
        self.fail_in("setup")

    def fail_in(self, place: str) -> None:
        if place == self.place and multiprocessing.parent_process():
            raise ValueError("no model here")

    def process_sub_task(self, sub: int) -> int:
        return sub


@importable
class LeavesSlowly(SubTaskPoolWorker[int, int, str, str]):
    """Answers with its name, and is slow to tear down what it has in the child process."""

    def __init__(self, mark: Path, **pool: Any) -> None:
        super().__init__(**pool)
        self.mark = mark

    def process_sub_task(self, sub: int) -> str:
        return self.name

    def teardown(self) -> None:
        if multiprocessing.parent_process():
            time.sleep(0.2)
            self.mark.touch()


class Thing:
    """Something that a test can see die."""


@both_modes
@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
@pytest.mark.parametrize("workers", [1, 2])
def test_r11_items_are_split_done_in_the_pool_and_merged_in_order(workers: int, ordered: bool, serial: bool) -> None:
    manager = PipelineManager(ordered=ordered)
    manager.add_worker(SumOfSquares, workers=workers, worker_args={"sub_workers": 3, "window": 2})
    results = list(manager.run(range(30), serial=serial))
    expected = [sum(sub * sub for sub in range(item)) for item in range(30)]
    assert (results if ordered else sorted(results)) == expected
    assert manager.report.imbalances() == []


def test_r11_in_a_pool_of_processes_too(child_processes: None) -> None:
    manager = PipelineManager().add_worker(SumOfSquares, worker_args={"executor": "process", "sub_workers": 2})
    assert list(manager.run(range(6))) == [0, 0, 1, 5, 14, 30]


def test_r11_at_most_window_items_are_in_the_pool(until: Until, gate: threading.Event) -> None:
    begun: list[int] = []

    class Waits(SubTaskPoolWorker[int, int, int, int]):
        def split(self, item: int) -> list[int]:
            begun.append(item)
            return [item]

        def process_sub_task(self, sub: int) -> int:
            if sub == 0:
                gate.wait()
            return sub

    manager = PipelineManager().add_worker(Waits, worker_args={"sub_workers": 2, "window": 3})
    manager.start(range(20))
    until(lambda: len(begun) == 3)
    assert sorted(begun) == [0, 1, 2]
    assert manager.report.stages[0].received == 3
    gate.set()
    assert manager.wait_for_completion().delivered == 20


def test_r11_sub_tasks_run_side_by_side_and_a_fast_item_waits_for_its_turn() -> None:
    last_is_done = threading.Event()

    class FirstIsLast(SubTaskPoolWorker[int, int, int, int]):
        def process_sub_task(self, sub: int) -> int:
            if sub == 0:
                last_is_done.wait()
            if sub == 3:
                last_is_done.set()
            return sub

    manager = PipelineManager().add_worker(FirstIsLast, worker_args={"sub_workers": 2, "window": 4})
    assert list(manager.run(range(4))) == [0, 1, 2, 3]


@pytest.mark.parametrize("place", ["split", "process_sub_task", "merge", "setup", "teardown"])
@pytest.mark.parametrize("error", [ValueError, SystemExit])
@pytest.mark.parametrize("workers", [1, 2])
def test_r11_whatever_raises_fails_the_item(place: str, error: type[BaseException], workers: int) -> None:
    class Fails(SubTaskPoolWorker[int, int, int, int]):
        def fail_in(self, where: str) -> None:
            if where == place:
                raise error

        def setup(self) -> None:
            self.fail_in("setup")

        def split(self, item: int) -> list[int]:
            if item == 5:
                self.fail_in("split")
            return [item]

        def process_sub_task(self, sub: int) -> int:
            if sub == 5:
                self.fail_in("process_sub_task")
            return sub

        def merge(self, item: int, results: list[int]) -> int:
            if item == 5:
                self.fail_in("merge")
            return results[0]

        def teardown(self) -> None:
            self.fail_in("teardown")

    manager = PipelineManager().add_worker(Fails, workers=workers, worker_args={"sub_workers": 2})
    results: list[Any] = []
    source = range(9) if place == "teardown" else itertools.count()
    with pytest.raises(PipelineError) as caught:
        results.extend(manager.run(source))
    assert type(caught.value.__cause__) is error
    assert manager.report.imbalances() == []
    if place in ("split", "process_sub_task", "merge"):
        assert (caught.value.item, caught.value.index, manager.report.delivered) == (5, 5, 5)


def test_r11_a_failed_sub_task_cancels_its_siblings() -> None:
    ran: list[int] = []

    class FirstFails(SubTaskPoolWorker[str, int, int, int]):
        def split(self, item: str) -> range:
            return range(50)

        def process_sub_task(self, sub: int) -> int:
            ran.append(sub)
            if sub == 0:
                raise ValueError("the first")
            cancelled.wait(20)
            return sub

    cancelled = threading.Event()
    manager = PipelineManager(on_error="skip", on_dead_letter=lambda letter: cancelled.set())
    manager.add_worker(FirstFails, worker_args={"sub_workers": 1})
    assert list(manager.run(["item"])) == []
    assert manager.report.skipped == 1
    assert ran in ([0], [0, 1]), "only what had begun"


def test_r11_a_failed_item_is_tried_again_from_its_start() -> None:
    class SecondTime(SubTaskPoolWorker[int, int, int, int]):
        def setup(self) -> None:
            self.tried = False

        def process_sub_task(self, sub: int) -> int:
            if sub == 3 and not self.tried:
                self.tried = True
                raise ValueError("not yet")
            return sub

    manager = PipelineManager().add_worker(SecondTime, retries=1, worker_args={"sub_workers": 2})
    assert list(manager.run(range(6))) == list(range(6))
    assert manager.report.stages[0].retried == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_r11_a_stop_cancels_what_waits_in_the_pool(workers: int, until: Until, gate: threading.Event) -> None:
    ran: list[int] = []

    class Waits(SubTaskPoolWorker[int, int, int, int]):
        def split(self, item: int) -> list[int]:
            return [item] * 10

        def process_sub_task(self, sub: int) -> int:
            ran.append(sub)
            gate.wait()
            return sub

        def merge(self, item: int, results: list[int]) -> int:
            return item

    manager = PipelineManager().add_worker(Waits, workers=workers, worker_args={"sub_workers": 1, "window": 2})
    manager.start(itertools.count())
    until(lambda: len(ran) == workers)
    manager.stop()
    gate.set()
    report = manager.wait_for_completion()
    assert (report.state, report.delivered, len(ran)) == ("stopped", 0, workers)
    assert report.imbalances() == []


def test_r11_a_consumer_that_leaves_ends_the_child_processes(child_processes: None) -> None:
    manager = PipelineManager().add_worker(SumOfSquares, worker_args={"executor": "process", "sub_workers": 2})
    results: Any = manager.run(itertools.count())
    next(results)
    results.close()
    assert multiprocessing.active_children() == []
    assert manager.report.imbalances() == []


def test_r11_a_child_that_dies_fails_its_items_and_the_pool_is_made_anew(child_processes: None) -> None:
    manager = PipelineManager(on_error="skip")
    manager.add_worker(ChildDies, worker_args={"executor": "process", "sub_workers": 1, "window": 1})
    results = list(manager.run(range(5)))
    assert [item for item, _ in results] == [0, 1, 3, 4]
    before, after = {pid for item, pid in results if item < 2}, {pid for item, pid in results if item > 2}
    assert (len(before), len(after)) == (1, 1)
    assert before != after
    assert os.getpid() not in before | after
    (letter,) = manager.report.dead_letters
    assert letter.item == 2
    assert "a child process died" in str(letter.error)


def test_r11_an_error_in_a_child_comes_back_and_children_are_set_up(child_processes: None) -> None:
    manager = PipelineManager(on_error="skip")
    manager.add_worker(RaisesInChild, worker_args={"executor": "process", "sub_workers": 1})
    assert list(manager.run(["fine", "picklable", "unpicklable"])) == ["set up: fine"]
    picklable, unpicklable = sorted(manager.report.dead_letters, key=lambda letter: str(letter.item))
    assert isinstance(picklable.error, KeyError)
    assert "in process_sub_task" in picklable.traceback
    assert str(unpicklable.error) == "Unpicklable: 1 and 2"


def test_r11_past_a_deadline_the_error_shows_where_the_sub_task_is(until: Until, gate: threading.Event) -> None:
    entered = threading.Event()

    class Waits(SubTaskPoolWorker[int, int, int, int]):
        def process_sub_task(self, sub: int) -> int:
            entered.set()
            gate.wait()
            return sub

    manager = PipelineManager().add_worker(Waits, name="pool", worker_args={"sub_workers": 1})
    manager.start([1])
    until(entered.is_set)
    where = r" \(pipeline-pool-sub-0\).*in process_sub_task" if HAS_GIL else ": items in hand: 1"
    with pytest.raises(TimeoutError, match=f"(?s)stage 'pool'{where}") as caught:
        manager.wait_for_completion(0)
    assert str(caught.value).count("stage '") == 1, "who only waits for the pool is not busy"
    gate.set()
    manager.wait_for_completion()


def test_r11_two_results_need_a_merge() -> None:
    class NoMerge(SubTaskPoolWorker[int, int, int, int]):
        def split(self, item: int) -> list[int]:
            return [item, item]

        def process_sub_task(self, sub: int) -> int:
            return sub

    with pytest.raises(PipelineError, match=r"merge\(\) must say"):
        list(PipelineManager().add_worker(NoMerge).run([1]))


@pytest.mark.parametrize(
    ("argument", "value"),
    [("executor", "fork"), ("sub_workers", 0), ("sub_workers", "3"), ("sub_workers", 10**9), ("window", 0)],
)
def test_r11_bad_arguments_are_refused_by_name(argument: str, value: Any) -> None:
    with pytest.raises(ValueError, match=argument):
        SumOfSquares(**{argument: value})


def test_r11_child_processes_are_never_plain_forks(child_processes: None) -> None:
    manager = PipelineManager().add_worker(IsFork, worker_args={"executor": "process", "sub_workers": 1})
    manager_pid = os.getpid()
    ((parent, start_method),) = manager.run(["item"])
    assert start_method in ("forkserver", "spawn")
    assert (parent == manager_pid) == (start_method == "spawn")


@importable
class IsFork(SubTaskPoolWorker[str, str, Any, Any]):
    """The parent of the child process, and how it was started."""

    def process_sub_task(self, sub: str) -> tuple[int, str | None]:
        return os.getppid(), multiprocessing.get_start_method(allow_none=True)


def test_r11_a_child_that_cannot_read_the_answer_says_so(child_processes: None) -> None:
    manager = PipelineManager().add_worker(AnswersStrangely, worker_args={"executor": "process", "sub_workers": 1})
    with pytest.raises(PipelineError, match="does not unpickle here"):
        list(manager.run([1]))


class DoesNotPickle:
    def __reduce__(self) -> str:
        raise OSError("the file is gone")


def test_r4_a_sub_task_that_cannot_be_sent_says_why_and_harms_no_child(child_processes: None) -> None:
    manager = PipelineManager(on_error="skip").add_worker(
        AnswersWithItsProcess, worker_args={"executor": "process", "sub_workers": 1}
    )
    before, after = manager.run([1, DoesNotPickle(), 2])
    assert before == after
    (letter,) = manager.report.dead_letters
    assert repr(letter.error) == "OSError('the file is gone')"


@importable
class AnswersWithItsProcess(SubTaskPoolWorker[Any, Any, int, int]):
    def process_sub_task(self, sub: object) -> int:
        return os.getpid()


@pytest.mark.parametrize("place", ["__init__", "setup"])
def test_r11_a_child_that_cannot_be_set_up_fails_the_stage_with_its_own_error(
    place: str, child_processes: None
) -> None:
    arguments = {"executor": "process", "sub_workers": 1, "place": place}
    with pytest.raises(PipelineError, match="failed in setup: ValueError: no model here"):
        list(PipelineManager().add_worker(FailsInChild, worker_args=arguments).run([1]))


def test_r10_a_child_knows_its_name_and_is_torn_down_before_the_run_is_over(
    child_processes: None, tmp_path: Path
) -> None:
    arguments = {"executor": "process", "sub_workers": 1, "mark": tmp_path / "torn down"}
    manager = PipelineManager().add_worker(LeavesSlowly, name="leaves", worker_args=arguments)
    assert list(manager.run([1])) == ["leaves"]
    assert (tmp_path / "torn down").exists()


def test_r4_an_error_that_cannot_leave_its_child_brings_its_text_and_its_traceback(child_processes: None) -> None:
    manager = PipelineManager().add_worker(RaisesInChild, worker_args={"executor": "process", "sub_workers": 1})
    with pytest.raises(PipelineError, match="Unpicklable: 1 and 2") as caught:
        list(manager.run(["unpicklable"]))
    assert "In the child process:" in caught.value.__cause__.__notes__[0]  # type: ignore[union-attr]


def test_r11_a_worker_without_sub_tasks_says_what_it_lacks() -> None:
    with pytest.raises(PipelineError, match=r"defines no process_sub_task\(\)"):
        list(PipelineManager().add_worker(SubTaskPoolWorker).run([1]))


def test_r11_the_window_is_the_pool_and_the_queue_unless_told() -> None:
    manager = PipelineManager(queue_size=7).add_worker(SumOfSquares, worker_args={"sub_workers": 3})
    assert list(manager.run([3])) == [SumOfSquares().process_item(3)]
    assert manager.report.stages[0].window == 10


@pytest.mark.usefixtures("freed_at_once")
def test_r6_a_pool_that_waits_keeps_no_item(until: Until, gate: threading.Event) -> None:
    class PassThing(SubTaskPoolWorker[Thing, Thing, Thing, Thing]):
        def process_sub_task(self, sub: Thing) -> Thing:
            return sub

    alive: list[weakref.ref[Thing]] = []

    def source() -> Iterator[Thing]:
        for _ in range(3):
            thing = Thing()
            alive.append(weakref.ref(thing))
            yield thing
            del thing
        gate.wait()

    manager = PipelineManager().add_worker(PassThing, worker_args={"sub_workers": 2})
    manager.start(source())
    until(lambda: len(alive) == 3 and not any(thing() for thing in alive))
    gate.set()
    manager.wait_for_completion(20)


@both_modes
def test_r4_what_a_pool_logs_names_the_item_of_the_sub_task(serial: bool, caplog: pytest.LogCaptureFixture) -> None:
    class LogsSubTasks(SubTaskPoolWorker[int, int, int, int]):
        def setup(self) -> None:
            self.logger.info("setup", extra={"expected": None})

        def split(self, item: int) -> list[int]:
            self.logger.info("split", extra={"expected": item})
            return [item] * 3

        def process_sub_task(self, sub: int) -> int:
            self.logger.info("sub-task", extra={"expected": sub})
            return sub

        def merge(self, item: int, results: list[int]) -> int:
            self.logger.info("merge", extra={"expected": item})
            return item

        def teardown(self) -> None:
            self.logger.info("teardown", extra={"expected": None})

    caplog.set_level(logging.INFO)
    manager = PipelineManager(name="p").add_worker(LogsSubTasks, name="logs", worker_args={"sub_workers": 2})
    list(manager.run(range(20), serial=serial))
    records: list[Any] = [record for record in caplog.records if hasattr(record, "expected")]
    assert len(records) == 20 * 5 + 2
    assert [record.item_index for record in records] == [record.expected for record in records]
    assert [record.worker for record in records] == [record.threadName for record in records]
    in_pool = {record.worker for record in records if record.getMessage() == "sub-task"}
    assert in_pool <= ({threading.current_thread().name} if serial else {"p-logs-sub-0", "p-logs-sub-1"})


def test_a_report_knows_the_cpu_time_of_child_processes(child_processes: None) -> None:
    manager = PipelineManager().add_worker(Computes, worker_args={"executor": "process", "sub_workers": 1})
    assert list(manager.run(range(20))) == list(range(20))
    (stage,) = manager.report.stages
    assert stage.computing > 0.1
    assert manager.report.cpu_seconds < 0.3


def test_r12_the_sub_workers_of_a_pool_are_tuned_like_workers() -> None:
    manager = PipelineManager().add_worker(SumOfSquares, worker_args={"sub_workers": 1})
    assert list(manager.tune(workers={"sum_of_squares": 3}).run(range(4))) == [0, 0, 1, 5]
    assert manager.report.stages[0].workers == 3


class OfTwo(SubTaskPoolWorker[int, int, int, int]):
    def __init__(self) -> None:
        super().__init__(sub_workers=2)

    def process_sub_task(self, sub: int) -> int:
        return sub


def test_r12_a_pool_that_chooses_its_own_size_is_not_tuned() -> None:
    manager = PipelineManager().add_worker(OfTwo)
    with pytest.raises(TypeError, match=r"worker_args do not fit OfTwo.*sub_workers"):
        manager.tune(workers={"of_two": 3})
    assert list(manager.run(range(3))) == [0, 1, 2]


@pytest.mark.parametrize("number", range(1, 4))
def test_r6_a_pool_that_cannot_have_one_of_its_threads_ends_the_run(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = threading.Thread.start, itertools.count(1)

    def fails_once(thread: threading.Thread) -> None:
        if "of_two" in thread.name and next(started) == number:
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", fails_once)
    results = PipelineManager().add_worker(OfTwo).run(range(1000))
    with pytest.raises((PipelineError, RuntimeError), match="can't start new thread"):
        deque(results, maxlen=0)


def test_r6_a_failure_ends_sub_tasks_that_wait_for_the_stop_event() -> None:
    waiting = threading.Event()

    class Waits(SubTaskPoolWorker[int, int, int, int]):
        def process_sub_task(self, sub: int) -> int:
            if sub == 0:
                waiting.wait()
                raise ValueError(sub)
            waiting.set()
            self.stop_event.wait()
            return sub

    manager = PipelineManager().add_worker(Waits, worker_args={"sub_workers": 2})
    with pytest.raises(PipelineError, match="item 0"):
        list(manager.run(range(2)))
    assert manager.report.stages[0].aborted == 1
