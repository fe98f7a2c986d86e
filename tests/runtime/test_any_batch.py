"""R1 and R5: what a stage gives does not depend on how its items fell into batches."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from my_pipeline.pipeline_core import BaseWorker, FailedItem, PipelineError, PipelineManager

from jitter import jitter

both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
one_worker_and_several = pytest.mark.parametrize("workers", [1, 3])
BATCH_SIZES = [1, 2, 3, 7, 100]
each_size = pytest.mark.parametrize("batch_size", BATCH_SIZES)


def work(item: int, calls: dict[int, int]) -> Any:
    """What an item gives: itself, nothing, an error in all of its attempts or in the first, or a failed item."""
    kind = item % 10
    calls[item] = calls.get(item, 0) + 1
    if kind == 3:
        raise ValueError(f"{item} is refused")
    if kind == 5:
        return FailedItem(item, LookupError(f"{item} is not found"))
    return None if kind == 7 else -item


class Batch(BaseWorker[int, int]):
    def setup(self) -> None:
        self.calls: dict[int, int] = {}

    def process_batch(self, items: list[int]) -> list[Any]:
        return [work(item, self.calls) for item in items]


def outcome(manager: PipelineManager, source: Any, serial: bool) -> Any:
    results, error = [], None
    try:
        for result in manager.run(source, serial=serial):
            results.append(result)
    except PipelineError as raised:
        error = raised
    report = manager.report
    assert report.imbalances() == []
    stage = report.stages[0]
    told = error and (error.phase, error.item, error.index, error.attempt, repr(error.__cause__))
    letters = [(letter.index, letter.item, repr(letter.error), letter.attempts) for letter in report.dead_letters]
    counts = (stage.processed, stage.filtered, stage.failed, stage.emitted) if error is None else None
    return results, told, letters, counts


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("max_failures", [None, 3, 1.0])
@pytest.mark.parametrize("on_error", ["stop", "skip"])
@each_size
def test_r1_a_stage_gives_the_same_whatever_the_size_of_its_batches(
    batch_size: int, on_error: Any, max_failures: Any, workers: int, serial: bool
) -> None:
    def run(batch_size: int, workers: int, serial: bool) -> Any:
        manager = PipelineManager(on_error=on_error, max_failures=max_failures)
        manager.add_worker(Batch, batch_size=batch_size, workers=workers)
        return outcome(manager, range(60), serial)

    assert run(batch_size, workers, serial) == run(1, 1, True)


class RaisesAt(BaseWorker[int, int]):
    """Raises what is no Exception at one item, in a batch and alone."""

    def __init__(self, item: int, error: type[BaseException]) -> None:
        self.item, self.error = item, error

    def process_batch(self, items: list[int]) -> list[int | None]:
        if self.item in items:
            raise self.error("enough")
        return list(items)


class Leaves(BaseException):
    pass


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, Leaves])
@each_size
def test_r5_what_is_no_exception_ends_the_run_at_its_item_whatever_the_batch(
    batch_size: int, error: type[BaseException], on_error: Any, workers: int, serial: bool
) -> None:
    manager = PipelineManager(on_error=on_error)
    manager.add_worker(
        RaisesAt, batch_size=batch_size, workers=workers, retries=2, worker_args={"item": 10, "error": error}
    )
    expected = list(range(10)), ("process_batch", 10, 10, 1, f"{error.__name__}('enough')"), [], None  # type: ignore[var-annotated]
    assert outcome(manager, range(30), serial) == expected


class RaisesForMany(BaseWorker[int, int]):
    """Raises for a batch, and for no item alone."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def process_batch(self, items: list[int]) -> list[int | None]:
        if len(items) > 1:
            raise self.error("too many at once")
        return list(items)


@both_modes
@one_worker_and_several
def test_r5_what_is_no_exception_ends_the_run_though_no_item_raises_it_alone(workers: int, serial: bool) -> None:
    """It was said, and it is not lost: `sys.exit()` is not called for nothing."""
    manager = PipelineManager(on_error="skip")
    manager.add_worker(RaisesForMany, batch_size=3, workers=workers, worker_args={"error": SystemExit})
    results, told, _, _ = outcome(manager, range(3), serial)
    assert results == [0, 1]
    assert told[-1] == "SystemExit('too many at once')"


@both_modes
@one_worker_and_several
def test_r5_an_exception_for_many_items_is_none_of_theirs(workers: int, serial: bool) -> None:
    manager = PipelineManager()
    manager.add_worker(RaisesForMany, batch_size=3, workers=workers, worker_args={"error": MemoryError})
    assert outcome(manager, range(20), serial)[:2] == (list(range(20)), None)


class UsesUpItsList(BaseWorker[int, int]):
    """The list of items belongs to the worker, which may do with it what it likes."""

    def process_batch(self, items: list[int]) -> list[int | None]:
        outputs: list[int | None] = []
        while items:
            item = items.pop(0)
            if item == 11:
                raise ValueError("eleven")
            outputs.append(-item)
        return outputs


class GivesItsListBack(BaseWorker[int, int]):
    def process_batch(self, items: list[int]) -> list[int | None]:
        if 11 in items:
            raise ValueError("eleven")
        items[:] = [-item for item in items]
        return items  # type: ignore[return-value]


class IsAGenerator(BaseWorker[int, int]):
    def process_batch(self, items: list[int]) -> Iterator[int]:  # type: ignore[override]
        for item in items:
            if item == 11:
                raise ValueError("eleven")
            yield -item


@both_modes
@one_worker_and_several
@each_size
@pytest.mark.parametrize("worker_class", [UsesUpItsList, GivesItsListBack, IsAGenerator])
def test_r1_whatever_a_worker_does_with_its_list_of_items(
    worker_class: Any, batch_size: int, workers: int, serial: bool
) -> None:
    manager = PipelineManager(on_error="skip").add_worker(worker_class, batch_size=batch_size, workers=workers)
    results, _, letters, _ = outcome(manager, range(30), serial)
    assert results == [-item for item in range(30) if item != 11]
    assert letters == [(11, 11, "ValueError('eleven')", 1)]


class AnswersWrongly(BaseWorker[int, int]):
    """Gives as many outputs as it is told, also for one item."""

    def __init__(self, surplus: int) -> None:
        self.surplus = surplus

    def process_batch(self, items: list[int]) -> Any:
        return None if self.surplus == 0 else [0] * (len(items) + self.surplus)


@both_modes
@one_worker_and_several
@each_size
@pytest.mark.parametrize("surplus", [-1, 0, 1])
def test_r5_a_wrong_number_of_outputs_fails_each_item(
    surplus: int, batch_size: int, workers: int, serial: bool
) -> None:
    manager = PipelineManager(on_error="skip")
    manager.add_worker(AnswersWrongly, batch_size=batch_size, workers=workers, worker_args={"surplus": surplus})
    results, _, letters, _ = outcome(manager, range(10), serial)
    assert results == []
    assert [letter[0] for letter in letters] == list(range(10))


class FailsOften(BaseWorker[int, int]):
    """An item fails so many times as its last digit says, once it is worked on alone."""

    def __init__(self, calls: dict[int, int]) -> None:
        self.calls = calls

    def process_batch(self, items: list[int]) -> list[int | None]:
        if len(items) > 1:
            raise ValueError("one of them will fail")
        (item,) = items
        self.calls[item] = self.calls.get(item, 0) + 1
        if self.calls[item] <= item % 5:
            raise ValueError(f"attempt {self.calls[item]}")
        return [item]


@both_modes
@one_worker_and_several
@each_size
def test_r5_an_item_has_its_attempts_whatever_its_batch(
    batch_size: int, workers: int, serial: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = PipelineManager(on_error="skip")
    monkeypatch.setattr(manager.stop_event, "wait", lambda timeout=None: False)  # No pause before an attempt.
    manager.add_worker(FailsOften, batch_size=batch_size, workers=workers, retries=2, worker_args={"calls": {}})
    results, _, letters, _ = outcome(manager, range(20), serial)
    assert results == [item for item in range(20) if item % 5 <= 2]
    assert letters == [(item, item, "ValueError('attempt 3')", 3) for item in range(20) if item % 5 > 2]
    assert manager.report.stages[0].retried == 4 * (1 + 2 + 2 + 2)


@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    items=st.lists(st.integers(0, 30), max_size=40),
    sizes=st.tuples(st.integers(1, 8), st.integers(1, 8)),
    workers=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    timeout=st.sampled_from([None, 1e-6, 1e-3]),
    on_error=st.sampled_from(["stop", "skip"]),
    seed=st.integers(0, 1000),
)
def test_r1_two_stages_give_the_same_whatever_their_batches(
    items: list[int], sizes: Any, workers: Any, timeout: Any, on_error: Any, seed: int
) -> None:
    def run(sizes: Any, workers: Any, serial: bool, timeout: Any) -> Any:
        manager = PipelineManager(on_error=on_error)
        for number in range(2):
            manager.add_worker(
                (Batch, RaisesForSeven)[number],
                name=f"s{number}",
                batch_size=sizes[number],
                workers=workers[number],
                batch_timeout=timeout,
            )
        results, told, letters, _ = outcome(manager, items, serial)
        return results, told, sorted(letters)

    expected = run((1, 1), (1, 1), True, None)
    with jitter(seed):
        found = run(sizes, workers, False, timeout)
    assert found[0] == expected[0]
    assert found[1] == expected[1]
    assert found[2] == expected[2] or on_error == "stop"


class RaisesForSeven(BaseWorker[int, int]):
    def process_batch(self, items: list[int]) -> list[int | None]:
        if any(item % 7 == 6 for item in items):
            raise ValueError("seven")
        return list(items)


@one_worker_and_several
def test_r7_a_stop_ends_the_attempts_of_a_failed_batch(workers: int, gate: threading.Event, until: Any) -> None:
    """Its items that have not been tried alone are aborted."""
    begun = threading.Event()

    class FailsAndWaits(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int | None]:
            if len(items) > 1:
                raise ValueError("each alone")
            begun.set()
            gate.wait()
            return list(items)

    manager = PipelineManager(queue_size=1000).add_worker(FailsAndWaits, batch_size=1000, workers=workers)
    manager.start(range(1000))
    assert begun.wait(20)
    manager.stop()
    gate.set()
    report = manager.wait_for_completion(60)
    assert (report.state, report.imbalances()) == ("stopped", [])
    assert report.stages[0].aborted >= 999
