"""R17: a rate is kept over any second by all workers of a stage together, and RetryAfter holds all of them back."""

import itertools
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineManager, RetryAfter

import workers_for_executors as workers
from workers_for_children import Pool

Until = Callable[[Callable[[], object]], None]

# A call begins when its thread runs again after its moment has come: later by what a busy machine needs for that, say a
# fifth of a second. A second that begins with such late calls has a fifth more of them than the rate. It is called TOLERANCE.
# A bucket that fills while nobody calls, or a limit for each worker, would give twice as many and more.
TOLERANCE = 1.2
RATE = 40

HOW: dict[str, dict[str, Any]] = {
    "serial": {},
    "thread": {},
    "8 threads": {"workers": 8},
    "2 children": {"workers": 2, "executor": "process"},
    "async 8": {"workers": 8},
    "async serial": {},
    "batches": {"batch_size": 1},
    "batches of 4 threads": {"batch_size": 1, "workers": 4},
    "pool": {},
    "with a time limit": {"workers": 4, "timeout": 60},
}
each_executor = pytest.mark.parametrize("how", HOW)


def pipeline(
    how: str, folder: Path, options: Any = None, *, on_error: Any = "stop", **arguments: Any
) -> PipelineManager:
    kind: Any = workers.AsyncAsksToWait if "async" in how else workers.AsksToWait
    arguments |= {"folder": folder}
    if how == "pool":
        kind, arguments = Pool, arguments | {"worker_class": kind, "sub_workers": 2}
    return PipelineManager(on_error=on_error).add_worker(kind, worker_args=arguments, **HOW[how] | (options or {}))


def most_in_a_second(begins: list[float]) -> int:
    begins = sorted(begins)
    return max(sum(begin <= each < begin + 1 for each in begins) for begin in begins)


@each_executor
def test_r17_no_second_has_more_calls_than_the_rate(how: str, tmp_path: Path) -> None:
    manager = pipeline(how, tmp_path, {"rate_limit": RATE})
    begins = list(manager.run(range(2 * RATE), serial="serial" in how))
    assert most_in_a_second(begins) <= RATE * TOLERANCE + 1
    assert max(begins) - min(begins) > (2 * RATE - 1) / RATE - 0.2
    (stage,) = manager.report.stages
    assert stage.processed == 2 * RATE
    assert stage.waiting_for_rate > 0


@pytest.mark.parametrize("how", ["thread", "8 threads", "async 8"])
def test_r17_time_in_which_nobody_called_is_not_saved_up(how: str, tmp_path: Path) -> None:
    """After a pause of the source there is no burst."""

    def source() -> Any:
        yield 0
        time.sleep(1)
        yield from range(1, RATE)

    begins = list(pipeline(how, tmp_path, {"rate_limit": RATE}).run(source()))
    assert most_in_a_second(begins) <= RATE * TOLERANCE + 1
    assert begins[-1] - begins[1] > (RATE - 2) / RATE - 0.2


def test_r17_a_rate_may_be_less_than_one_a_second(tmp_path: Path) -> None:
    first, second = pipeline("8 threads", tmp_path, {"rate_limit": 0.8}).run(range(2))
    assert second - first > 1.05


def test_r17_the_rate_counts_calls_and_a_batch_is_one(tmp_path: Path) -> None:
    begins = list(pipeline("batches", tmp_path, {"rate_limit": 20, "batch_size": 5}).run(range(100)))
    assert 19 / 20 - 0.2 < max(begins) - min(begins) < 60


@pytest.mark.parametrize("how", ["thread", "8 threads", "2 children", "async 8", "pool"])
def test_r17_attempts_after_a_failure_count_too(how: str, tmp_path: Path) -> None:
    options = {"rate_limit": 20, "retries": 30, "backoff": 0}
    manager = pipeline(how, tmp_path, options, at=0, seconds=-1.0)
    list(manager.run(range(20)))
    (stage,) = manager.report.stages
    assert (stage.processed, stage.retried) == (20, 1)
    assert manager.report.seconds > 1 - 0.2


HELD = 0.6  # Seconds.


def longest_pause(begins: list[float]) -> float:
    begins = sorted(begins)
    return max(after - before for before, after in itertools.pairwise(begins))


@each_executor
@pytest.mark.parametrize("retries", [0, 1])
def test_r17_retry_after_holds_all_calls_of_the_stage_back(how: str, retries: int, tmp_path: Path) -> None:
    """The others' as well as that of the item, and also where the item is not tried again.

    Each call takes 5 ms, so that without a hold there is no such pause between two of them.
    """
    options = {"retries": retries, "retry_on": KeyError}  # It is tried again, whatever this says.
    manager = pipeline(how, tmp_path, options, on_error="skip", at=20, seconds=HELD, takes=0.005)
    begins = list(manager.run(range(60), serial="serial" in how))
    report = manager.report
    assert len(begins) == 60 - (retries == 0)
    assert [(letter.item, type(letter.error), letter.attempts) for letter in report.dead_letters] == (
        [] if retries else [(20, RetryAfter, 1)]
    )
    assert report.stages[0].retried == retries
    assert longest_pause(begins) > HELD - 0.05  # The call of another worker may just have passed, and be late to begin.
    assert report.imbalances() == []


@pytest.mark.parametrize("how", ["batches", "batches of 4 threads", "2 children", "serial"])
@pytest.mark.parametrize("retries", [0, 1])
def test_r17_a_whole_batch_that_asks_for_it_is_tried_again(how: str, retries: int, tmp_path: Path) -> None:
    """Without retries, its items are tried alone after that time."""
    manager = pipeline(how, tmp_path, {"retries": retries, "batch_size": 4}, at=20, seconds=HELD, takes=0.005)
    begins = list(manager.run(range(60), serial=how == "serial"))
    assert len(begins) == 60
    assert longest_pause(begins) > HELD - 0.05
    (stage,) = manager.report.stages
    assert (stage.processed, stage.failed, stage.retried) == (60, 0, 4 * retries)


class Waits(BaseWorker[int, float]):
    """Notes when its calls begin. The first one asks for a pause of a second when it is told to."""

    def __init__(self, begun: list[float], ready: threading.Event) -> None:
        self.begun, self.ready = begun, ready

    def process_item(self, item: int) -> Any:
        self.begun.append(time.monotonic())
        if item == 0 and not self.ready.is_set():
            self.ready.wait(60)
            raise RetryAfter(1.0)
        return item


def test_r17_a_hold_voids_the_moments_that_were_reserved(until: Until) -> None:
    """Those who wait for their moments begin after the hold, as far from each other as the rate says; not all at once."""
    begun: list[float] = []
    ready = threading.Event()
    manager = PipelineManager(name="rate")
    arguments = {"begun": begun, "ready": ready}
    manager.add_worker(Waits, name="w", workers=11, worker_args=arguments, rate_limit=10, retries=1)
    manager.start(range(11))
    until(lambda: begun)
    asked = time.monotonic()
    ready.set()
    manager.wait_for_completion(60)
    assert len(begun) == 12
    late = sorted(begin for begin in begun if begin >= asked + 1.0)
    assert len(late) >= 9  # One or two may have begun before the pause was asked for.
    assert late[-1] - late[0] > (len(late) - 1) / 10 - 0.2
    assert most_in_a_second(late) <= 10 * TOLERANCE + 1


def test_r17_the_longest_of_several_holds_counts() -> None:
    """Also where a shorter one is asked for behind it."""
    begun: list[tuple[int, float]] = []
    asked: list[float] = []
    both_have_begun, the_first_has_failed = threading.Barrier(2), threading.Event()

    class Asks(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            begun.append((item, time.monotonic()))
            if item < 2:
                both_have_begun.wait(60)
            if item == 1:
                the_first_has_failed.wait(60)
            if item < 2:
                asked.append(time.monotonic())
                raise RetryAfter(0.1 if item else 0.8)
            return item

    def on_dead_letter(letter: object) -> None:
        the_first_has_failed.set()

    manager = PipelineManager(on_error="skip", on_dead_letter=on_dead_letter).add_worker(Asks, workers=2)
    assert list(manager.run(range(6))) == [2, 3, 4, 5]
    assert min(when for item, when in begun if item >= 2) - min(asked) > 0.75


@each_executor
@pytest.mark.parametrize("why", ["rate", "hold"])
def test_r7_a_stop_ends_the_wait_at_once(how: str, why: str, tmp_path: Path, until: Until) -> None:
    if how == "serial" or "serial" in how:
        pytest.skip("a stop comes from another thread")
    options: dict[str, Any] = {"retries": 1} | ({"rate_limit": 0.0001} if why == "rate" else {})
    manager = pipeline(how, tmp_path, options, at=0, seconds=1e6 if why == "hold" else 0.0)
    manager.start(itertools.count())
    until(lambda: (tmp_path / "asked").exists())
    manager.stop()
    report = manager.wait_for_completion(60)
    assert (report.state, report.failed, report.imbalances()) == ("stopped", 0, [])


@pytest.mark.parametrize("how", ["serial", "async serial"])
def test_r7_a_stop_ends_the_wait_of_serial_mode(how: str, tmp_path: Path, until: Until) -> None:
    manager = pipeline(how, tmp_path, {"rate_limit": 0.0001})

    def stop() -> None:
        until(lambda: manager.report.stages[0].processed or manager.report.delivered)
        manager.stop()

    stopper = threading.Thread(target=stop)
    stopper.start()
    assert len(list(manager.run(itertools.count(), serial=True))) <= 1
    stopper.join()
    assert manager.report.imbalances() == []


def test_r17_each_stage_has_a_rate_of_its_own(tmp_path: Path) -> None:
    """One that is held back holds no other stage."""
    others: list[float] = []

    class Other(BaseWorker[Any, Any]):
        def process_item(self, item: int) -> int:
            others.append(time.monotonic())
            return item

    manager = PipelineManager().add_worker(Other, rate_limit=1e6)
    manager.add_worker(workers.AsksToWait, worker_args={"folder": tmp_path, "at": 0, "seconds": 1.0}, retries=1)
    begins = list(manager.run(range(20)))
    assert others[-1] < max(begins) - 0.5
