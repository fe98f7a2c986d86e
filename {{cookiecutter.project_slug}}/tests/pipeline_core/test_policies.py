"""R5: what becomes of an item that fails: tried again, given up, or the end of the run, as its stage says."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from {{ cookiecutter.package_name }}.pipeline_core import (
    BaseWorker,
    DeadLetter,
    FailedItem,
    PipelineError,
    PipelineManager,
)
from {{ cookiecutter.package_name }}.pipeline_core.policy import (
    Policy,
)

pytestmark = pytest.mark.usefixtures("no_thread_left")

both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
one_worker_and_several = pytest.mark.parametrize("workers", [1, 3])


class RefuseOdd(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        if item % 2:
            raise ValueError(f"{item} is odd")
        return item


@both_modes
@one_worker_and_several
def test_r5_under_skip_a_failing_item_becomes_a_dead_letter_and_the_rest_goes_on(workers: int, serial: bool) -> None:
    manager = PipelineManager(on_error="skip").add_worker(RefuseOdd, name="even", workers=workers)
    assert list(manager.run(range(10), serial=serial)) == [0, 2, 4, 6, 8]
    report = manager.report
    assert (report.state, report.skipped) == ("completed", 5)
    letter = min(report.dead_letters, key=lambda letter: letter.item)
    assert (letter.stage, letter.index, letter.item, letter.attempts) == ("even", 1, 1, 1)
    assert isinstance(letter.error, ValueError)
    assert "1 is odd" in letter.traceback
    assert "process_item" in letter.traceback


@pytest.mark.parametrize(("manager_says", "stage_says", "goes_on"), [("stop", "skip", True), ("skip", "stop", False)])
def test_r5_the_policy_of_a_stage_goes_before_that_of_the_manager(
    manager_says: Any, stage_says: Any, goes_on: bool
) -> None:
    manager = PipelineManager(on_error=manager_says).add_worker(RefuseOdd, on_error=stage_says)
    if goes_on:
        assert list(manager.run(range(3))) == [0, 2]
    else:
        with pytest.raises(PipelineError, match="1 is odd"):
            list(manager.run(range(3)))


@both_modes
def test_r5_an_item_that_the_source_cannot_make_is_skipped_like_any_other(serial: bool) -> None:
    source = [0, FailedItem("two", ValueError("no number")), 4]
    manager = PipelineManager(on_error="skip").add_worker(RefuseOdd)
    assert list(manager.run(source, serial=serial)) == [0, 4]
    (letter,) = manager.report.dead_letters
    assert (letter.stage, letter.index, letter.item) == ("source", 1, "two")
    assert manager.report.source_failed == 1


class SucceedsAt(BaseWorker[int, int]):
    """Fails until its nth attempt."""

    def __init__(self, nth: int) -> None:
        self.nth = nth
        self.attempts = 0

    def process_item(self, item: int) -> int:
        self.attempts += 1
        if self.attempts < self.nth:
            raise ValueError(f"attempt {self.attempts}")
        return item


@both_modes
def test_r5_an_item_is_tried_again_as_often_as_its_stage_allows(serial: bool) -> None:
    manager = PipelineManager().add_worker(SucceedsAt, retries=2, worker_args={"nth": 3})
    assert list(manager.run([7], serial=serial)) == [7]
    assert manager.report.stages[0].retried == 2


def test_r5_the_last_attempt_is_the_one_that_counts() -> None:
    manager = PipelineManager(on_error="skip").add_worker(SucceedsAt, retries=1, worker_args={"nth": 3})
    assert list(manager.run([7])) == []
    (letter,) = manager.report.dead_letters
    assert letter.attempts == 2
    assert str(letter.error) == "attempt 2"


@pytest.mark.parametrize("final", [SystemExit, KeyboardInterrupt])
def test_r5_what_is_no_exception_is_neither_tried_again_nor_skipped(final: type[BaseException]) -> None:
    calls = []

    class Exits(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            calls.append(item)
            raise final

    manager = PipelineManager(on_error="skip").add_worker(Exits, retries=5)
    with pytest.raises(PipelineError) as caught:
        list(manager.run(range(3)))
    assert isinstance(caught.value.__cause__, final)
    assert calls == [0]


def test_r5_a_generator_that_has_given_an_output_is_not_tried_again() -> None:
    class FailsBehindItsFirst(BaseWorker[int, int]):
        def process_item(self, item: int) -> Iterator[int]:
            yield item
            raise ValueError("too late")

    manager = PipelineManager(on_error="skip").add_worker(FailsBehindItsFirst, retries=5)
    assert list(manager.run([1, 2])) == [1, 2]
    assert [letter.attempts for letter in manager.report.dead_letters] == [1, 1]


def test_r5_pauses_grow_exponentially_up_to_a_limit_and_have_full_jitter() -> None:
    policy = Policy("stage", threading.Event(), backoff=1.0, max_backoff=8.0)
    for attempt, longest in enumerate([1, 2, 4, 8, 8, 8], start=1):
        delays = [policy.delay(attempt) for _ in range(300)]
        assert all(0 <= delay <= longest for delay in delays)
        assert max(delays) > longest * 0.9
        assert min(delays) < longest * 0.1
    assert policy.delay(100_000) <= 8


def test_r5_a_stop_interrupts_the_pause_before_a_retry(
    monkeypatch: pytest.MonkeyPatch, until: Any, blocks_in: Callable[[str, str], bool]
) -> None:
    monkeypatch.setattr(Policy, "delay", lambda self, attempt: 1e6)
    manager = PipelineManager().add_worker(SucceedsAt, name="fails", retries=1, worker_args={"nth": 2})
    manager.start([7])
    until(lambda: blocks_in("pipeline-fails-0", "wait"))
    manager.stop()
    report = manager.wait_for_completion(20)
    assert (report.state, report.stages[0].aborted, report.stages[0].retried) == ("stopped", 1, 0)


def test_r5_all_dead_letters_are_counted_and_logged_and_the_first_thousand_are_kept(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager = PipelineManager(on_error="skip").add_worker(RefuseOdd)
    assert list(manager.run(range(2004))) == list(range(0, 2004, 2))
    assert (manager.report.skipped, len(manager.report.dead_letters)) == (1002, 1000)
    assert caplog.text.count("skipped: ") == 1002


@both_modes
@one_worker_and_several
@pytest.mark.parametrize(("max_failures", "skipped"), [(0, 1), (3, 4)])
def test_r5_more_failures_than_max_failures_end_the_run(
    max_failures: int, skipped: int, workers: int, serial: bool
) -> None:
    manager = PipelineManager(on_error="skip", max_failures=max_failures).add_worker(RefuseOdd, workers=workers)
    with pytest.raises(PipelineError, match="is odd"):
        list(manager.run(range(1000), serial=serial))
    assert manager.report.skipped >= skipped
    assert manager.report.read < 1000


def test_r5_as_many_failures_as_max_failures_are_still_skipped() -> None:
    manager = PipelineManager(on_error="skip", max_failures=5).add_worker(RefuseOdd)
    assert list(manager.run(range(10))) == [0, 2, 4, 6, 8]


@pytest.mark.parametrize(("share", "ends"), [(0.4, True), (0.5, False), (1.0, False)])
def test_r5_a_fraction_as_max_failures_is_a_share_of_the_items_read(share: float, ends: bool) -> None:
    manager = PipelineManager(on_error="skip", max_failures=share).add_worker(RefuseOdd)
    if ends:
        with pytest.raises(PipelineError, match="more items than max_failures"):
            list(manager.run(range(10)))  # Too few to judge on the way, so it is judged at the end.
    else:
        assert list(manager.run(range(10))) == [0, 2, 4, 6, 8]


def test_r5_a_fraction_ends_a_long_run_on_the_way() -> None:
    manager = PipelineManager(on_error="skip", max_failures=0.1, queue_size=1).add_worker(RefuseOdd)
    with pytest.raises(PipelineError, match="is odd"):
        list(manager.run(range(10_000)))
    assert manager.report.read < 1000


@one_worker_and_several
def test_r5_the_callback_sees_every_dead_letter_one_at_a_time(workers: int) -> None:
    letters, inside = [], threading.Lock()

    def callback(letter: DeadLetter) -> None:
        assert inside.acquire(blocking=False)
        letters.append(letter.item)
        time.sleep(0.001)  # Long enough for another one to come in, if it may.
        inside.release()

    manager = PipelineManager(on_error="skip", on_dead_letter=callback).add_worker(RefuseOdd, workers=workers)
    list(manager.run(range(40)))
    assert sorted(letters) == list(range(1, 40, 2))


@both_modes
@one_worker_and_several
def test_r5_a_bad_item_in_a_batch_costs_only_itself(workers: int, serial: bool) -> None:
    class RefuseSeven(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int | None]:
            if 7 in items:
                raise ValueError("seven")
            return [-item for item in items]

    manager = PipelineManager(on_error="skip")
    manager.add_worker(RefuseSeven, name="batch", workers=workers, batch_size=5)
    assert list(manager.run(range(20), serial=serial)) == [-item for item in range(20) if item != 7]
    (letter,) = manager.report.dead_letters
    assert (letter.item, letter.index) == (7, 7)
