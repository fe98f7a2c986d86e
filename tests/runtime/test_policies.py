"""R5: what becomes of an item that fails: tried again, given up, or the end of the run, as its stage says."""

import threading
import time
from collections.abc import Generator
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, DeadLetter, FailedItem, PipelineError, PipelineManager, RetryAfter

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
    letter = min(report.dead_letters, key=lambda letter: letter.index or 0)
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
        def process_item(self, item: int) -> Generator[int, None, None]:
            yield item
            raise ValueError("too late")

    manager = PipelineManager(on_error="skip").add_worker(FailsBehindItsFirst, retries=5)
    assert list(manager.run([1, 2])) == [1, 2]
    assert [letter.attempts for letter in manager.report.dead_letters] == [1, 1]


class Pauses(BaseWorker[int, int]):
    """Fails always. Its pauses take no time, and are written down; or take as long as `until_stopped`."""

    def __init__(self, pauses: list[list[float]], *, until_stopped: bool = False) -> None:
        self.pauses, self.until_stopped = pauses, until_stopped

    def setup(self) -> None:
        event, wait = self.stop_event, self.stop_event.wait

        def pause(timeout: float | None = None) -> bool:
            if timeout is None:
                return wait()
            self.pauses[-1].append(timeout)
            return wait(1e6 if self.until_stopped else 0)

        event.wait = pause  # type: ignore[method-assign]

    def process_item(self, item: int) -> int:
        if not self.pauses or len(self.pauses) <= item:
            self.pauses.append([])
        raise ValueError("always")


@both_modes
def test_r5_pauses_grow_exponentially_up_to_a_limit_and_have_full_jitter(serial: bool) -> None:
    """0.1 seconds at most before the first retry, twice as much before each that follows, and never more than 30."""
    pauses: list[list[float]] = []
    manager = PipelineManager(on_error="skip").add_worker(Pauses, retries=40, worker_args={"pauses": pauses})
    assert list(manager.run(range(300), serial=serial)) == []
    assert {len(of_an_item) for of_an_item in pauses} == {40}
    for attempt, delays in enumerate(zip(*pauses, strict=True)):
        longest = min(30.0, 0.1 * 2**attempt)
        assert 0 <= min(delays) < longest * 0.1
        assert longest * 0.9 < max(delays) <= longest


def test_r5_a_stop_interrupts_the_pause_before_a_retry(until: Any) -> None:
    pauses: list[list[float]] = []
    manager = PipelineManager()
    manager.add_worker(Pauses, retries=1, worker_args={"pauses": pauses, "until_stopped": True})
    manager.start([0])
    until(lambda: pauses and pauses[0])
    manager.stop()
    report = manager.wait_for_completion(60)
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
    letters: list[Any] = []
    inside = threading.Lock()

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


class FailsWith(BaseWorker[int, int]):
    """The first two attempts at an item raise what its number says; each call is written down."""

    errors = ValueError("no value"), LookupError("no key"), ConnectionError("no server"), RetryAfter(0)

    def __init__(self, calls: list[int]) -> None:
        self.calls = calls

    def process_item(self, item: int) -> int:
        self.calls.append(item)
        if self.calls.count(item) < 3:
            raise self.errors[item]
        return item


class AsyncFailsWith(FailsWith):
    async def process_item(self, item: int) -> int:  # type: ignore[override]
        return FailsWith.process_item(self, item)


@both_modes
@pytest.mark.parametrize("kind", [FailsWith, AsyncFailsWith])
@one_worker_and_several
@pytest.mark.parametrize(
    ("retry_on", "again"),
    [
        (Exception, {0, 1, 2, 3}),
        (ValueError, {0, 3}),
        ((LookupError, OSError), {1, 2, 3}),  # A ConnectionError is an OSError.
        ((), {3}),
        (lambda error: "key" in str(error), {1, 3}),
        (lambda error: 1 if isinstance(error, ConnectionError) else [], {2, 3}),
    ],
)
def test_r5_only_the_errors_that_retry_on_names_are_tried_again(
    retry_on: Any, again: set[int], workers: int, kind: Any, serial: bool
) -> None:
    """And RetryAfter, which asks for it."""
    calls: list[int] = []
    manager = PipelineManager(on_error="skip")
    manager.add_worker(kind, workers=workers, worker_args={"calls": calls}, retries=2, retry_on=retry_on, backoff=0)
    assert list(manager.run(range(4), serial=serial)) == sorted(again)
    assert sorted(calls) == sorted([*range(4), *again, *again])
    letters = [(letter.item, letter.attempts, letter.error) for letter in manager.report.dead_letters]
    assert letters == [(item, 1, kind.errors[item]) for item in range(4) if item not in again]
    assert manager.report.stages[0].retried == 2 * len(again)


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("kind", [FailsWith, AsyncFailsWith])
@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_r4_a_retry_on_that_raises_fails_the_item_and_is_told(
    on_error: Any, kind: Any, workers: int, serial: bool
) -> None:
    def retry_on(error: Exception) -> bool:
        raise AttributeError("it has no status")

    manager = PipelineManager(on_error=on_error)
    manager.add_worker(kind, workers=workers, worker_args={"calls": []}, retries=2, retry_on=retry_on)
    if on_error == "skip":
        assert list(manager.run(range(1), serial=serial)) == []
        (letter,) = manager.report.dead_letters
        assert (letter.item, letter.attempts, repr(letter.error)) == (0, 1, "AttributeError('it has no status')")
    else:
        with pytest.raises(PipelineError, match="failed in retry_on on item 0: 0: AttributeError: it has no status"):
            list(manager.run(range(1), serial=serial))
    assert manager.report.imbalances() == []


def test_r5_retry_on_is_not_asked_after_the_last_attempt_nor_about_what_is_no_exception() -> None:
    asked: list[BaseException] = []

    def retry_on(error: Exception) -> bool:
        asked.append(error)
        return True

    class Exits(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            raise SystemExit if item else ValueError

    manager = PipelineManager(on_error="skip")
    manager.add_worker(Exits, retries=1, backoff=0, retry_on=retry_on)
    with pytest.raises(PipelineError):
        list(manager.run(range(2)))
    assert list(map(type, asked)) == [ValueError]


@both_modes
def test_r5_backoff_and_max_backoff_are_the_pauses(serial: bool) -> None:
    pauses: list[list[float]] = []
    manager = PipelineManager(on_error="skip")
    manager.add_worker(Pauses, retries=20, worker_args={"pauses": pauses}, backoff=0.5, max_backoff=3)
    assert list(manager.run(range(300), serial=serial)) == []
    for attempt, delays in enumerate(zip(*pauses, strict=True)):
        longest = min(3.0, 0.5 * 2**attempt)
        assert 0 <= min(delays) < longest * 0.1
        assert longest * 0.9 < max(delays) <= longest


@both_modes
def test_r5_retry_after_says_how_long_the_pause_is(serial: bool) -> None:
    begun: list[float] = []

    class Asks(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            begun.append(time.monotonic())
            if len(begun) == 1:
                raise RetryAfter(0.5, "429 Too Many Requests")
            return item

    manager = PipelineManager().add_worker(Asks, retries=1, backoff=1e6, max_backoff=1e6)
    assert list(manager.run([1], serial=serial)) == [1]
    assert 0.5 <= begun[1] - begun[0] < 60


def test_r5_retry_after_is_an_error_like_any_other_after_the_last_attempt() -> None:
    class Asks(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            raise RetryAfter(0.01, "busy")

    manager = PipelineManager().add_worker(Asks, retries=2)
    with pytest.raises(PipelineError, match=r"on item 0: 7 \(attempt 3\): RetryAfter: \(0.01, 'busy'\)"):
        list(manager.run([7]))


@pytest.mark.parametrize("seconds", [-5, float("nan"), "0", "-1"])
def test_r5_retry_after_a_time_that_is_over_is_at_once(seconds: Any) -> None:
    assert RetryAfter(seconds).seconds == 0
