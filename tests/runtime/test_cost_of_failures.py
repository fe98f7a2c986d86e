"""R5: what a failure keeps and costs depends on its item and on the text of its error, and on nothing else."""

import gc
import itertools
import traceback
import weakref
from collections.abc import Callable, Generator, Iterator
from typing import Any, ClassVar

import pytest
from my_pipeline.pipeline_core import BaseWorker, FailedItem, PipelineManager, SubTaskPoolWorker

from watch import eventually

both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
one_worker_and_several = pytest.mark.parametrize("workers", [1, 3])


class Big:
    """What a failed call holds. The ones that are alive are counted."""

    alive: ClassVar["weakref.WeakSet[Any]"] = weakref.WeakSet()

    def __init__(self) -> None:
        self.alive.add(self)


@pytest.fixture(autouse=True)
def nothing_big() -> None:
    gc.collect()
    Big.alive.clear()


def read(item: int) -> None:
    """Fails, deep in calls that hold something big."""
    image = Big()
    if item % 3 == 0:
        raise ValueError("truncated")
    if item % 3 == 1:
        try:
            raise KeyError(item)
        except KeyError as error:
            raise ValueError("not found") from error
    try:
        read(item - 1)
    finally:
        del image


def read_often(item: int) -> None:
    """Fails with an error that has come from fifty others, each of which held something big."""
    image = Big()
    try:
        if item:
            read_often(item - 1)
    finally:
        if not item:
            raise ValueError("at first")
        raise ValueError(f"and then {image is None}")


def read_together(item: int) -> None:
    """Fails with a group of errors, as `asyncio.TaskGroup` does."""
    errors = []
    for each in range(3):
        try:
            read(each)
        except ValueError as error:
            errors.append(error)
    raise ExceptionGroup("all of them", [ExceptionGroup("two of them", errors[:2]), errors[2]])


def read_again(item: int) -> None:
    """Fails with an error that hides the one before it."""
    try:
        read(item)
    except ValueError:
        raise ValueError("truncated") from None


class Reads(BaseWorker[int, int]):
    def __init__(self, how: Callable[[int], None] = read) -> None:
        self.how = how

    def process_item(self, item: int) -> Any:
        image = Big()
        self.how(item)
        return image

    def process_batch(self, items: list[int]) -> list[Any]:
        return [self.process_item(item) for item in items]


class Yields(Reads):
    def process_item(self, item: int) -> Generator[Any, None, None]:
        image = Big()
        yield item
        self.how(item)
        yield image


class Returns(Reads):
    """Catches its error, and gives it as the outcome."""

    def process_item(self, item: int) -> Any:
        image = Big()
        try:
            self.how(item)
        except Exception as error:
            return FailedItem(item, error)
        return image


class Pool(SubTaskPoolWorker[int, Any, Any, Any]):
    def __init__(self, place: str) -> None:
        super().__init__(sub_workers=2)
        self.place = place

    def fail_in(self, place: str, item: int) -> Any:
        image = Big()
        if place == self.place:
            read(item)
        return image and item

    def split(self, item: int) -> list[int]:
        return [self.fail_in("split", item)] * 3

    def process_sub_task(self, sub: int) -> int:
        self.fail_in("process_sub_task", sub)
        return sub

    def merge(self, item: int, results: list[int]) -> int:
        self.fail_in("merge", item)
        return item


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "an item": (Reads, {}),
    "a retried item": (Reads, {"retries": 1}),
    "an item of a batch": (Reads, {"batch_size": 4}),
    "a generator": (Yields, {}),
    "a failed item": (Returns, {}),
    "split": (Pool, {"worker_args": {"place": "split"}}),
    "a sub-task": (Pool, {"worker_args": {"place": "process_sub_task"}}),
    "merge": (Pool, {"worker_args": {"place": "merge"}}),
    "many errors, one from another": (Reads, {"worker_args": {"how": lambda item: read_often(50)}}),
    "an error that hides another": (Reads, {"worker_args": {"how": read_again}}),
    "a group of errors": (Reads, {"worker_args": {"how": read_together}}),
}


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("max_failures", [None, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_r5_a_dead_letter_keeps_nothing_that_the_failed_call_held(
    kind: str, max_failures: float | None, workers: int, serial: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker_class, arguments = KINDS[kind]
    letters = []  # type: ignore[var-annotated]
    manager = PipelineManager(on_error="skip", max_failures=max_failures, on_dead_letter=letters.append)
    if "retries" in arguments:
        monkeypatch.setattr(manager.stop_event, "wait", lambda timeout=None: False)  # No pause before an attempt.
    manager.add_worker(worker_class, name="kind", workers=workers, **arguments)
    for _ in manager.run(range(20), serial=serial):
        pass
    assert len(letters) == 20
    assert eventually(lambda: gc.collect() is not None and not Big.alive, 2)
    assert all(any(said in letter.traceback for said in ("truncated", "not found", "then")) for letter in letters)
    if kind == "a group of errors":
        assert "ExceptionGroup: two of them" in letters[0].traceback


@both_modes
def test_r5_a_source_that_cannot_make_an_item_keeps_nothing_of_how(serial: bool) -> None:
    def source() -> Iterator[Any]:
        for item in range(20):
            try:
                read(item)
            except ValueError as error:
                yield FailedItem(item, error)

    manager = PipelineManager(on_error="skip").add_worker(Reads)
    assert list(manager.run(source(), serial=serial)) == []
    assert "in read" in manager.report.dead_letters[0].traceback
    assert not Big.alive


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("kind", KINDS)
def test_r5_an_error_refers_to_none_that_failed_before_it(
    kind: str, workers: int, serial: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the hundredth letter is no larger than the first."""
    worker_class, arguments = KINDS[kind]
    manager = PipelineManager(on_error="skip").add_worker(worker_class, name="kind", workers=workers, **arguments)
    if "retries" in arguments:
        monkeypatch.setattr(manager.stop_event, "wait", lambda timeout=None: False)
    list(manager.run([0] * 60, serial=serial))
    letters = manager.report.dead_letters
    lengths = [len(letter.traceback) for letter in letters]
    assert max(lengths[-20:]) < max(lengths[:20]) + 1000  # Calls that are measured have a frame more.
    assert len(lengths) == 60
    if kind not in ("many errors, one from another", "an error that hides another"):
        assert all(letter.error.__context__ is None for letter in letters)


ALWAYS_THE_SAME = ValueError("always the same")


class RaisesTheSame(BaseWorker[int, int]):
    """Python adds each raise to the traceback that the exception has."""

    def process_item(self, item: int) -> int:
        raise ALWAYS_THE_SAME


class RaisesFromTheLast(BaseWorker[int, int]):
    """A client that remembers its last error, and blames it."""

    last: Exception | None = None

    def process_item(self, item: int) -> int:
        try:
            raise ValueError("no connection") from self.last
        except ValueError as error:
            self.last = error
            raise


class RaisesDeeply(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return self.process_item(item)


@both_modes
@pytest.mark.parametrize("worker_class", [RaisesTheSame, RaisesFromTheLast, RaisesDeeply])
def test_r5_the_text_of_a_letter_is_bounded_whatever_raises(worker_class: Any, serial: bool) -> None:
    manager = PipelineManager(on_error="skip").add_worker(worker_class)
    list(manager.run(range(60), serial=serial))
    lengths = [len(letter.traceback) for letter in manager.report.dead_letters]
    assert len(lengths) == 60
    assert lengths[-1] < lengths[20] + 1000  # A call that is measured has a frame more.
    assert max(lengths) < 20_000


@both_modes
def test_r4_a_failure_that_ends_the_run_keeps_its_traceback(serial: bool) -> None:
    manager = PipelineManager().add_worker(Reads)
    with pytest.raises(Exception, match="truncated") as caught:
        list(manager.run([0], serial=serial))
    assert "in read" in "".join(traceback.format_exception(caught.value))


class Remembers(BaseWorker[int, int]):
    """Has a generator that goes on after an error that it handed out, and is in the frames of that error."""

    def setup(self) -> None:
        self.answers = self.ask()

    def ask(self) -> Iterator[Any]:
        for number in itertools.count():
            try:
                raise ValueError(f"question {number}")
            except ValueError as error:
                yield error

    def process_item(self, item: int) -> int:
        raise next(self.answers)


@both_modes
def test_r5_what_a_failed_call_has_left_open_goes_on(serial: bool) -> None:
    manager = PipelineManager(on_error="skip").add_worker(Remembers)
    list(manager.run(range(3), serial=serial))
    assert [str(letter.error) for letter in manager.report.dead_letters] == [
        "question 0",
        "question 1",
        "question 2",
    ]
