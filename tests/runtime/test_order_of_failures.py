"""R3: in an ordered run, which items become dead letters, and which one is too many, is decided in the order of the items."""

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager, SubTaskPoolWorker

from jitter import jitter

LATE = random.Random(7)  # Its random() is atomic, so threads may share it.


class RefusesMultiples(BaseWorker[int, int]):
    """Refuses the multiples of a number, sooner or later."""

    def __init__(self, number: int) -> None:
        self.number = number

    def pause(self) -> None:
        if LATE.random() < 0.1:
            time.sleep(LATE.random() * 0.002)

    def process_item(self, item: int) -> Any:
        self.pause()
        if item % self.number == self.number - 1:
            raise ValueError(f"{item} is refused by {self.number}")
        return item

    def process_batch(self, items: list[int]) -> list[Any]:
        return [self.process_item(item) for item in items]


def outcome(max_failures: Any, workers: int, batch_size: int | None, serial: bool) -> Any:
    told: list[Any] = []
    manager = PipelineManager(
        on_error="skip", max_failures=max_failures, queue_size=3, on_dead_letter=lambda letter: told.append(letter.item)
    )
    for number in 5, 7:
        manager.add_worker(
            RefusesMultiples,
            name=f"refuses {number}",
            workers=workers,
            batch_size=batch_size,
            worker_args={"number": number},
        )
    results, error = [], None
    try:
        for result in manager.run(range(120), serial=serial):
            results.append(result)
    except PipelineError as raised:
        error = (raised.stage, raised.phase.partition("_")[0], raised.item, raised.index, repr(raised.__cause__))
    report = manager.report
    assert report.imbalances() == []
    letters = [(letter.stage, letter.index, letter.item, repr(letter.error)) for letter in report.dead_letters]
    assert [letter[2] for letter in letters] == told
    return results, letters, error, report.skipped


@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("max_failures", [0, 1, 6, 17, 1000, 0.0, 0.2, 1.0])
def test_r3_dead_letters_and_the_last_error_are_those_of_the_plain_loop(
    max_failures: Any, batch_size: int | None
) -> None:
    """Two stages fail, several workers each are late at random, and it is the same every time."""
    expected = outcome(max_failures, 1, None, True)
    for seed in range(8):
        with jitter(seed):
            assert outcome(max_failures, 3, batch_size, False) == expected, seed
    assert outcome(max_failures, 1, batch_size, True) == expected


def test_r3_an_item_that_is_too_many_ends_the_run_before_the_items_behind_it(gate: Any, until: Any) -> None:
    """The second item fails at once, and the first one later: the first is one too many, and the second is no letter."""

    class FirstIsLate(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if item == 0:
                gate.wait()
            raise ValueError(item)

    manager = PipelineManager(on_error="skip", max_failures=0).add_worker(FirstIsLate, workers=2)
    manager.start(range(100))
    until(lambda: manager.report.read > 1)
    assert manager.report.skipped == 0
    gate.set()
    with pytest.raises(PipelineError) as caught:
        manager.wait_for_completion(60)
    assert (caught.value.item, manager.report.skipped) == (0, 1)
    assert manager.report.dead_letters == ()


@pytest.mark.parametrize("kind", ["threads", "pool"])
def test_r3_a_failure_reaches_the_end_though_nothing_comes_behind_it(kind: str, gate: Any, until: Any) -> None:
    """It travels through stages with several workers, which wake for it as they do for an item."""

    class Fails(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            raise ValueError(item)

    class Pass(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            return item

    class Pool(SubTaskPoolWorker[int, int, int, int]):
        def process_sub_task(self, sub: int) -> int:
            return sub

    def source() -> Iterator[int]:
        for item in range(5):
            yield item
            until(lambda: manager.report.skipped == item + 1)  # noqa: B023

    manager = PipelineManager(on_error="skip", max_failures=100).add_worker(Fails)
    manager.add_worker(Pass, workers=3) if kind == "threads" else manager.add_worker(Pool)
    assert list(manager.run(source())) == []
    assert manager.report.skipped == 5
