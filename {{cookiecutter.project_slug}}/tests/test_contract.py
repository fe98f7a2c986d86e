"""What the runtime promises, one test a promise: read it from top to bottom.

The numbers are those of the promises (R1, R2, …). Only public names are used here, so the inside of `pipeline_core/` is
free to change: while these tests pass, what you rely on still holds.
"""

import asyncio
import itertools
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from {{ cookiecutter.package_name }}.pipeline_core import (
    SENTINEL,
    BaseWorker,
    DeadLetter,
    FailedItem,
    PipelineError,
    PipelineManager,
    robust_put,
)

pytestmark = pytest.mark.usefixtures("no_thread_left")  # R6: each run ends all of its threads.

Until = Callable[[Callable[[], object]], None]
both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
one_worker_and_several = pytest.mark.parametrize("workers", [1, 3])


class Pass(BaseWorker[Any, Any]):
    """Hands every item on."""

    def process_item(self, item: Any) -> Any:
        return item


class Call(BaseWorker[Any, Any]):
    """Calls a function with each item, and hands its result on."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.function = function

    def process_item(self, item: Any) -> Any:
        return self.function(item)


def refuse_odd(item: int) -> int:
    if item % 2:
        raise ValueError(f"{item} is odd")
    return item


def calling(function: Callable[[Any], Any], name: str = "call", workers: int = 1, **settings: Any) -> PipelineManager:
    """A pipeline whose only stage so far calls the function."""
    return PipelineManager(**settings).add_worker(Call, name=name, workers=workers, worker_args={"function": function})


def refusing_odd(workers: int = 1, **settings: Any) -> PipelineManager:
    """A pipeline whose only stage so far, "even", fails on odd numbers."""
    return calling(refuse_odd, "even", workers, **settings)


# R1: an ordered run gives what the plain loop `for item in source: yield f3(f2(f1(item)))` gives.


def jitter() -> None:
    """Let another worker overtake now and then."""
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
    def process_item(self, item: int) -> Generator[int, None, None]:
        for _ in range(item % 4):
            jitter()
            yield item


class DoubleBatch(BaseWorker[int, int]):
    def process_batch(self, items: list[int]) -> list[int | None]:
        jitter()
        return [2 * item if item % 4 else None for item in items]


PLAIN: dict[Any, Callable[[int], Iterable[int]]] = {
    Increment: lambda item: [item + 1],
    DropThirds: lambda item: [item] if item % 3 else [],
    Repeat: lambda item: [item] * (item % 4),
    DoubleBatch: lambda item: [2 * item] if item % 4 else [],
}


def random_pipeline(seed: int, ordered: bool = True) -> tuple[PipelineManager, list[int]]:
    """A pipeline of random stages, workers and sizes, and what the plain loop makes of the numbers below 50."""
    pick, expected = random.Random(seed), list(range(50))
    manager = PipelineManager(queue_size=pick.choice([1, 2, 100]), ordered=ordered)
    for number in range(pick.randint(1, 4)):
        stage = pick.choice([Increment, DropThirds, Repeat, DoubleBatch])
        options: dict[str, Any] = {"workers": pick.choice([1, 2, 5]), "queue_size": pick.choice([None, 1, 3])}
        if stage is DoubleBatch:
            options |= {"batch_size": pick.choice([1, 3, 8]), "batch_timeout": pick.choice([None, 0.0005])}
        manager.add_worker(stage, name=f"stage {number}", **options)
        expected = [output for item in expected for output in PLAIN[stage](item)]
    return manager, expected


@both_modes
@pytest.mark.parametrize("seed", range(20))
def test_r1_any_pipeline_gives_what_the_plain_loop_gives(seed: int, serial: bool) -> None:
    manager, expected = random_pipeline(seed)
    assert list(manager.run(range(50), serial=serial)) == expected
    assert manager.report.imbalances() == []


@pytest.mark.parametrize("seed", range(20, 30))
def test_r1_without_order_it_gives_the_same_results_in_any_order(seed: int) -> None:
    manager, expected = random_pipeline(seed, ordered=False)
    assert sorted(manager.run(range(50))) == sorted(expected)


@both_modes
@one_worker_and_several
def test_r1_the_results_before_a_failing_item_come_first_then_its_error(workers: int, serial: bool) -> None:
    def fail_at_17(item: int) -> int:
        jitter()
        if item >= 17:
            raise ValueError(f"bad item {item}")
        return item

    manager = calling(fail_at_17, workers=workers, queue_size=2).add_worker(Increment, workers=workers)
    results = manager.run(range(100), serial=serial)
    assert list(itertools.islice(results, 17)) == list(range(1, 18))
    with pytest.raises(PipelineError, match="bad item 17"):
        next(results)


def test_r1_serial_is_the_loop_in_the_callers_own_thread() -> None:
    manager = calling(lambda item: threading.get_ident(), workers=3)
    assert set(manager.run(range(5), serial=True)) == {threading.get_ident()}


# R2: the items read and not yet delivered stay under a bound, so an endless source works.

QUEUE = 3


@one_worker_and_several
@pytest.mark.parametrize("slow", ["stage", "consumer"])
def test_r2_a_slow_stage_or_consumer_holds_an_endless_source_up(
    slow: str, workers: int, gate: threading.Event, until: Until
) -> None:
    """At most: an item in the source's hand; for each stage its queue, an item a worker and, with several workers in
    order, as many finished ones as the queue holds; and the queue of results."""
    most = 1 + (QUEUE + 1) + (QUEUE + workers + (QUEUE if workers > 1 else 0)) + QUEUE + (slow == "consumer")
    too_many = threading.Event()

    def source() -> Iterator[int]:
        for read in itertools.count():
            if read == most:
                too_many.set()
            yield read

    def first_waits(item: int) -> int:
        if item == 0 and slow == "stage":
            gate.wait()
        return item

    manager = PipelineManager(queue_size=QUEUE).add_worker(Pass)
    results = manager.add_worker(Call, workers=workers, worker_args={"function": first_waits}).run(source())
    consumer = threading.Thread(target=next, args=(results,))
    consumer.start()
    until(lambda: manager.report.read > 2 * QUEUE)
    assert not too_many.wait(0.1)
    gate.set()
    consumer.join()
    results.close()


# R3: every item is accounted for, whatever ends the run.


def broken_after(items: int) -> Iterator[int]:
    yield from range(items)
    raise OSError("the disk is gone")


@pytest.mark.parametrize("end", ["complete", "broken source", "consumer leaves", "stop", "drain"])
@pytest.mark.parametrize("shape", ["one worker", "ordered", "unordered", "serial"])
def test_r3_the_accounts_balance_however_the_run_ends(end: str, shape: str) -> None:
    workers = 3 if "ordered" in shape else 1
    manager = refusing_odd(workers, queue_size=4, ordered=shape != "unordered", on_error="skip")
    manager.add_worker(Repeat).add_worker(DoubleBatch, workers=workers, batch_size=4, batch_timeout=0.001)
    source = {"complete": range(150), "broken source": broken_after(50)}.get(end, itertools.count())
    with suppress(PipelineError), closing(manager.run(source, serial=shape == "serial")) as results:
        for number, _ in enumerate(results):
            if number == 20 and end == "consumer leaves":
                break
            if number == 20 and end in ("stop", "drain"):
                manager.stop(drain=end == "drain")
    report = manager.report
    assert report.state in ("completed", "stopped", "failed")
    assert report.imbalances() == []
    for stage in report.stages:
        assert stage.received == stage.processed + stage.filtered + stage.failed + stage.aborted


@both_modes
def test_r3_each_outcome_of_an_item_has_its_own_count(serial: bool) -> None:
    manager = refusing_odd(on_error="skip").add_worker(DropThirds).add_worker(Repeat)
    delivered = len(list(manager.run(range(36), serial=serial)))
    even, thirds, repeat = manager.report.stages
    assert (even.received, even.processed, even.failed) == (36, 18, 18)
    assert (thirds.received, thirds.processed, thirds.filtered) == (18, 12, 6)
    assert (repeat.received, repeat.emitted) == (12, delivered)
    assert (manager.report.read, manager.report.delivered, manager.report.failed) == (36, delivered, 18)


# R4: an error says what failed and where, and has the original exception as its cause.


Entry = tuple[str, int, int]  # A method, and the instance and the thread that it was called in.


class Diary(BaseWorker[Any, Any]):
    """Records the calls of its methods, and raises in one of them."""

    def __init__(self, entries: list[Entry], fails_in: str = "", error: BaseException | None = None) -> None:
        self.entries, self.fails_in, self.error = entries, fails_in, error or ValueError("broken")

    def write(self, method: str) -> None:
        self.entries.append((method, id(self), threading.get_ident()))
        if method == self.fails_in:
            raise self.error

    def setup(self) -> None:
        self.write("setup")

    def process_item(self, item: Any) -> Any:
        self.write("process_item")
        return item

    def process_batch(self, items: list[Any]) -> list[Any]:
        self.write("process_batch")
        return items

    def teardown(self) -> None:
        self.write("teardown")


@both_modes
@pytest.mark.parametrize("kind", [ValueError, SystemExit])
@pytest.mark.parametrize("method", ["setup", "process_item", "process_batch", "teardown"])
def test_r4_whatever_a_stage_raises_ends_the_run_and_says_where(method: str, kind: Any, serial: bool) -> None:
    error = kind("broken")
    batch_size = 1 if method == "process_batch" else None
    arguments = {"entries": [], "fails_in": method, "error": error}
    manager = PipelineManager().add_worker(Pass, workers=2)
    manager.add_worker(Diary, name="control", worker_args=arguments, batch_size=batch_size)
    with pytest.raises(PipelineError, match=f"stage 'control' failed in {method}.*broken") as caught:
        list(manager.run(range(9), serial=serial))
    assert (caught.value.stage, caught.value.phase) == ("control", method)
    assert caught.value.__cause__ is error
    assert "in write" in "".join(traceback.format_exception(caught.value))
    assert (manager.report.state, manager.report.error) == ("failed", caught.value)


@both_modes
def test_r4_an_error_names_the_item_its_index_and_the_attempt(serial: bool) -> None:
    manager = PipelineManager().add_worker(Call, retries=1, worker_args={"function": {"a": 1, "b": 2}.__getitem__})
    with pytest.raises(PipelineError, match=r"on item 2: 'c' \(attempt 2\): KeyError: 'c'") as caught:
        list(manager.run("abcd", serial=serial))
    assert (caught.value.item, caught.value.index, caught.value.attempt) == ("c", 2, 2)


@both_modes
def test_r4_an_error_of_the_source_says_so(serial: bool) -> None:
    with pytest.raises(PipelineError, match="the source failed in read: OSError: the disk is gone"):
        list(PipelineManager().add_worker(Pass).run(broken_after(3), serial=serial))


def test_r4_an_error_of_the_dead_letter_callback_says_so() -> None:
    with pytest.raises(PipelineError, match="stage 'even' failed in on_dead_letter on item 1: 1: ZeroDivisionError"):
        list(refusing_odd(on_error="skip", on_dead_letter=lambda letter: 1 / 0).run(range(9)))


# R5: an item that fails ends the run, or is skipped, or is tried again, as its stage says.


@both_modes
@one_worker_and_several
def test_r5_under_skip_a_failing_item_becomes_a_dead_letter_and_the_rest_goes_on(workers: int, serial: bool) -> None:
    letters: list[DeadLetter] = []
    manager = refusing_odd(workers, on_error="skip", on_dead_letter=letters.append)
    assert list(manager.run(range(10), serial=serial)) == [0, 2, 4, 6, 8]
    assert (manager.report.state, manager.report.skipped) == ("completed", 5)
    assert {letter.item for letter in letters} == {1, 3, 5, 7, 9}
    letter = min(manager.report.dead_letters, key=lambda letter: letter.index or 0)
    assert (letter.stage, letter.index, letter.item, letter.attempts) == ("even", 1, 1, 1)
    assert "1 is odd" in str(letter.error)
    assert "in refuse_odd" in letter.traceback


def test_r5_a_stage_may_have_a_policy_of_its_own() -> None:
    function = {"function": refuse_odd}
    assert list(PipelineManager().add_worker(Call, on_error="skip", worker_args=function).run(range(3))) == [0, 2]
    with pytest.raises(PipelineError, match="1 is odd"):
        list(PipelineManager(on_error="skip").add_worker(Call, on_error="stop", worker_args=function).run(range(3)))


@both_modes
def test_r5_an_item_that_the_source_cannot_make_is_skipped_like_any_other(serial: bool) -> None:
    manager = refusing_odd(on_error="skip")
    assert list(manager.run([0, FailedItem("two", ValueError("no number")), 4], serial=serial)) == [0, 4]
    (letter,) = manager.report.dead_letters
    assert (letter.stage, letter.index, letter.item) == ("source", 1, "two")


@both_modes
def test_r5_an_item_is_tried_again_as_often_as_its_stage_allows(serial: bool) -> None:
    attempts = itertools.count(1)
    manager = PipelineManager(on_error="skip")
    manager.add_worker(Call, retries=2, worker_args={"function": lambda item: refuse_odd(item + next(attempts) % 3)})
    assert list(manager.run([0, 1], serial=serial)) == [2, 2]
    assert (manager.report.stages[0].retried, manager.report.failed) == (2, 0)


@both_modes
def test_r5_only_the_errors_that_it_says_are_tried_again(serial: bool) -> None:
    manager = PipelineManager(on_error="skip")
    manager.add_worker(Call, retries=2, retry_on=OSError, worker_args={"function": refuse_odd})
    assert list(manager.run(range(4), serial=serial)) == [0, 2]
    assert (manager.report.stages[0].retried, manager.report.skipped) == (0, 2)


def test_r5_what_is_no_exception_is_neither_skipped_nor_tried_again() -> None:
    manager = PipelineManager(on_error="skip").add_worker(Call, retries=5, worker_args={"function": sys.exit})
    with pytest.raises(PipelineError):
        list(manager.run(range(3)))
    assert (manager.report.stages[0].retried, manager.report.skipped) == (0, 0)


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("most", [3, 0.4])
def test_r5_more_failures_than_max_failures_end_the_run(most: float, workers: int, serial: bool) -> None:
    manager = refusing_odd(workers, on_error="skip", max_failures=most)
    with pytest.raises(PipelineError, match="is odd"):
        list(manager.run(range(1000), serial=serial))
    assert manager.report.skipped >= 3
    assert manager.report.read < 1000


@both_modes
def test_r5_a_bad_item_in_a_batch_costs_only_itself(serial: bool) -> None:
    class RefuseSeven(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int | None]:
            if 7 in items:
                raise ValueError("seven")
            return [-item for item in items]

    manager = PipelineManager(on_error="skip").add_worker(RefuseSeven, batch_size=5)
    assert list(manager.run(range(20), serial=serial)) == [-item for item in range(20) if item != 7]
    assert [(letter.item, letter.index) for letter in manager.report.dead_letters] == [(7, 7)]


# R6: it never hangs: whatever raises and whoever leaves, all threads end (`no_thread_left`).


@both_modes
def test_r6_a_consumer_that_leaves_stops_everything_and_lets_go_of_the_source(serial: bool) -> None:
    closed = threading.Event()

    def source() -> Iterator[int]:
        try:
            yield from itertools.count()
        finally:
            closed.set()

    items = source()  # This reference keeps garbage collection from closing it.
    manager = PipelineManager(queue_size=2).add_worker(Pass, workers=2)
    for _ in manager.run(items, serial=serial):
        break
    assert closed.wait(20)
    assert manager.report.state == "stopped"


def test_r6_a_run_in_the_background_raises_its_error_where_it_is_waited_for() -> None:
    manager = refusing_odd(queue_size=1).add_worker(Pass, workers=2)
    manager.start(itertools.count())
    with pytest.raises(PipelineError, match="1 is odd"):
        manager.wait_for_completion()


def test_r6_no_item_is_kept_alive_after_its_delivery(gate: threading.Event, until: Until) -> None:
    class Item:
        pass

    items = [Item() for _ in range(5)]
    alive = weakref.WeakSet(items)

    def source() -> Iterator[Item]:
        while items:
            yield items.pop()
        gate.wait()

    results = PipelineManager().add_worker(Pass, workers=2).add_worker(Pass, name="again").run(source())
    for _ in range(5):
        next(results)
    until(lambda: not alive)
    gate.set()
    assert list(results) == []


# R7: a stop wakes whoever waits, at once; a drain finishes what is in.


def test_r7_a_stop_wakes_whoever_waits_for_room(until: Until) -> None:
    manager = PipelineManager(queue_size=1).add_worker(Pass, workers=3).add_worker(Pass, name="last")
    results = manager.run(itertools.count())
    next(results)  # And no more: everything fills up.
    until(lambda: manager.report.read > 3)
    manager.stop()
    assert list(results) == []
    assert manager.report.state == "stopped"


def test_r7_a_stop_is_not_held_up_by_a_source_that_blocks(gate: threading.Event) -> None:
    asked = threading.Event()

    def source() -> Iterator[int]:
        asked.set()
        gate.wait()
        yield 1

    manager = PipelineManager().add_worker(Pass, workers=3)
    manager.start(source())
    assert asked.wait(20)
    manager.stop()
    assert manager.wait_for_completion().state == "stopped"
    assert not gate.is_set()
    gate.set()


@both_modes
def test_r7_a_drain_reads_no_more_and_finishes_what_is_in(serial: bool) -> None:
    manager = PipelineManager(queue_size=5).add_worker(Pass, workers=2).add_worker(Pass, name="last")
    results = []
    for result in manager.run(itertools.count(), serial=serial):
        results.append(result)
        if result == 9:
            manager.stop(drain=True)
    report = manager.report
    assert report.state == "completed"
    assert results == list(range(report.read - report.source_aborted))


# R8: Ctrl-C stops the run, cleans up and is raised.

INTERRUPTED = """
import itertools, signal, sys
from {{ cookiecutter.package_name }}.pipeline_core import BaseWorker, PipelineManager

signal.signal(signal.SIGINT, signal.default_int_handler)

class Pass(BaseWorker):
    def process_item(self, item):
        return item

    def teardown(self):
        print("teardown", flush=True)

def look(item):
    if item == 5:
        print("ready", flush=True)

manager = PipelineManager().add_worker(Pass)
try:
    for item in manager.run(itertools.count(), serial=sys.argv[1] == "True"):
        look(item)  # CPython 3.13 finds no `finally` if Ctrl-C strikes as a loop goes back after an `if`.
finally:
    print(manager.report.state, manager.report.imbalances())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot send another one a Ctrl-C")
@both_modes
def test_r8_ctrl_c_stops_the_run_cleans_up_and_is_raised(serial: bool) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(serial)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    pipes: Any = dict.fromkeys(("stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen(command, env=environment, text=True, **pipes) as child:
        assert child.stdout.readline() == "ready\n"
        child.send_signal(signal.SIGINT)
        said, errors = child.communicate(timeout=20)
    assert said == "teardown\nstopped []\n"
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert child.returncode == -signal.SIGINT


# R9: one deadline for everything, and a watch on runs in which nothing moves.


def test_r9_past_the_deadline_the_run_is_stopped_and_the_error_names_who_is_busy(
    gate: threading.Event, until: Until
) -> None:
    manager = PipelineManager(name="nightly").add_worker(Pass, name="fine")
    manager.add_worker(Call, name="the slow one", worker_args={"function": lambda item: gate.wait()})
    manager.start(range(3))
    until(lambda: manager.report.stages[0].processed == 3 and manager.report.stages[1].received)
    with pytest.raises(TimeoutError, match=r"nightly has not finished after 0\.01 seconds") as caught:
        manager.wait_for_completion(0.01)
    assert "stage 'the slow one'" in str(caught.value)
    gate.set()
    assert manager.wait_for_completion(20).state == "stopped"


def test_r9_a_run_in_which_nothing_moves_logs_where_it_is(
    gate: threading.Event, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    manager = calling(lambda item: gate.wait(), "stuck", stall_timeout=0.02)
    manager.start([1])
    until(lambda: "nothing has moved for 0.02 seconds" in caplog.text)
    assert "stage 'stuck'" in caplog.text
    gate.set()
    manager.wait_for_completion()


# R10: each worker is an instance of its own in a thread of its own, which is set up and torn down there.


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("fails_in", ["", "setup", "process_item", "teardown"])
def test_r10_setup_and_teardown_pair_up_in_one_thread_whatever_fails(fails_in: str, workers: int, serial: bool) -> None:
    entries: list[Entry] = []
    arguments = {"entries": entries, "fails_in": fails_in}
    manager = PipelineManager().add_worker(Diary, workers=workers, worker_args=arguments)
    with suppress(PipelineError):
        list(manager.run(range(20), serial=serial))
    places = {(instance, thread) for _, instance, thread in entries}
    assert len(places) == len({instance for instance, _ in places})
    for instance, _ in places:
        calls = [method for method, owner, _ in entries if owner == instance]
        assert (calls.count("setup"), calls.count("teardown")) == (1, 1)
        assert (calls[0], calls[-1]) == ("setup", "teardown")


def test_r10_each_worker_has_a_thread_of_its_own() -> None:
    class Meets(Pass):
        def setup(self) -> None:
            all_four.wait(20)

    all_four = threading.Barrier(4)
    list(PipelineManager().add_worker(Meets, workers=4).run(range(20)))


def test_r10_a_worker_has_its_name_its_stop_event_and_its_logger_before_setup() -> None:
    class Looks(Pass):
        def setup(self) -> None:
            found.append((self.name, self.stop_event.is_set(), self.logger.isEnabledFor(logging.ERROR)))

    found: list[tuple[str, bool, bool]] = []
    list(PipelineManager().add_worker(Looks).run([1]))
    assert found == [("looks", False, True)]


def test_r10_a_batch_is_complete_when_it_is_full_or_its_time_is_over(gate: threading.Event) -> None:
    class Sizes(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int | None]:
            sizes.append(len(items))
            gate.set()
            return list(items)

    def source() -> Iterator[int]:
        yield 0
        gate.wait()  # For the batch of one, which is complete only because nothing comes.
        yield from range(1, 11)

    sizes: list[int] = []
    assert list(PipelineManager().add_worker(Sizes, batch_size=4, batch_timeout=0.01).run(source())) == list(range(11))
    assert sizes[0] == 1
    assert max(sizes) <= 4


# R12: a manager runs once, and bad arguments are refused by the call that gets them.


def test_r12_a_manager_runs_once_and_does_not_change_after_the_start() -> None:
    manager = PipelineManager().add_worker(Pass)
    list(manager.run([1]))
    for again in (manager.run, manager.start):
        with pytest.raises(RuntimeError, match="runs once"):
            again([1])
    with pytest.raises(RuntimeError, match="after the start"):
        manager.add_worker(Pass, name="late")


@pytest.mark.parametrize("bad", [{"queue_size": 0}, {"on_error": "ignore"}, {"max_failures": -1}], ids=str)
def test_r12_a_bad_argument_of_the_manager_is_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        PipelineManager(**bad)


@pytest.mark.parametrize("bad", [{"workers": 0}, {"retries": -1}, {"batch_timeout": 1.0}, {"name": "source"}], ids=str)
def test_r12_a_bad_argument_of_a_stage_is_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        PipelineManager().add_worker(Pass, **bad)


def test_r12_a_class_that_cannot_work_is_refused_when_it_is_added() -> None:
    for worker_class, problem in (int, "subclass of BaseWorker"), (BaseWorker, "must define process_item"):
        with pytest.raises(TypeError, match=problem):
            PipelineManager().add_worker(worker_class)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="worker_args"):
        PipelineManager().add_worker(Pass, worker_args={"colour": "red"})


def test_r12_stages_can_be_tuned_and_left_out_before_the_start() -> None:
    manager = PipelineManager().add_worker(Increment, name="first").add_worker(Increment, name="second")
    manager.tune(workers={"second": 3}, queue_size=5).keep("second")
    assert list(manager.run([1, 2])) == [2, 3]
    (stage,) = manager.report.stages
    assert (stage.name, stage.workers, stage.queue_size) == ("second", 3, 5)


# R15 to R17: what else can be said of a stage.


def test_r15_an_async_stage_has_several_calls_in_flight_in_one_thread() -> None:
    class Meets(BaseWorker[int, int]):
        async def setup(self) -> None:
            self.all_three = asyncio.Barrier(3)

        async def process_item(self, item: int) -> int:
            await self.all_three.wait()
            return item

    assert list(PipelineManager().add_worker(Meets, workers=3).run(range(9))) == list(range(9))


@both_modes
@one_worker_and_several
def test_some_items_pass_a_stage_by_and_what_it_still_has_to_give_comes_at_the_end(workers: int, serial: bool) -> None:
    class Sum(BaseWorker[int, int]):
        total = 0

        def process_item(self, item: int) -> None:
            self.total += item

        def finish(self) -> list[int]:
            return [self.total]

    manager = PipelineManager().add_worker(Sum, workers=workers, when=lambda item: item > 2)
    results = list(manager.run(range(10), serial=serial))
    assert (results[:3], sum(results[3:])) == ([0, 1, 2], sum(range(3, 10)))
    assert (manager.report.stages[0].passed, manager.report.imbalances()) == (3, [])


def test_r16_a_call_that_takes_too_long_fails_its_item_and_another_worker_goes_on(gate: threading.Event) -> None:
    hang_at_one = {"function": lambda item: gate.wait() if item == 1 else item}
    manager = PipelineManager(on_error="skip").add_worker(Call, timeout=0.2, worker_args=hang_at_one)
    assert list(manager.run(range(3))) == [0, 2]
    (letter,) = manager.report.dead_letters
    assert (type(letter.error), manager.report.stages[0].replaced) == (TimeoutError, 1)


@both_modes
@one_worker_and_several
def test_r17_all_workers_together_keep_the_rate(workers: int, serial: bool) -> None:
    asks = {"function": lambda item: time.monotonic()}
    manager = PipelineManager(ordered=False).add_worker(Call, workers=workers, rate_limit=100, worker_args=asks)
    moments = list(manager.run(range(6), serial=serial))
    assert max(moments) - min(moments) > 0.04  # 50 ms, and the clocks of both.


@both_modes
def test_a_source_may_be_a_function_that_feeds_a_queue_and_learns_of_the_stop(serial: bool) -> None:
    told = threading.Event()

    def source(queue: Any, stop_event: threading.Event) -> None:
        numbers = itertools.count()
        while robust_put(queue, next(numbers), stop_event):
            pass
        told.set()

    with closing(PipelineManager().add_worker(Pass).run(source, serial=serial)) as results:
        assert list(itertools.islice(results, 100)) == list(range(100))
    assert told.wait(20)


def test_a_source_function_may_end_with_the_sentinel() -> None:
    def source(queue: Any, stop_event: threading.Event) -> None:
        for item in (1, 2, SENTINEL):
            robust_put(queue, item, stop_event)

    assert list(PipelineManager().add_worker(Pass).run(source)) == [1, 2]
