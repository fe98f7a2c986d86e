"""R4: errors are values. Nothing relies on the truth, length, equality, hash or text of a user's error or item."""

import copy
import dataclasses
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from my_pipeline.pipeline_core import (
    BaseWorker,
    DeadLetter,
    FailedItem,
    PipelineError,
    PipelineManager,
    PipelineReport,
    SubTaskPoolWorker,
)

both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
one_worker_and_several = pytest.mark.parametrize("workers", [1, 3])


class Hostile:
    """Raises for everything that it can be asked."""

    def refuse(self, *_: object) -> Any:
        raise AssertionError("asked")

    __bool__ = __len__ = __eq__ = __ne__ = __lt__ = __hash__ = __str__ = __repr__ = __format__ = refuse
    __iter__ = __contains__ = __getitem__ = __call__ = __await__ = __next__ = __enter__ = __exit__ = refuse
    __add__ = __radd__ = __int__ = __float__ = __index__ = __getattr__ = refuse


class Agreeable:
    """Is equal to everything, and of no length."""

    def __bool__(self) -> bool:
        return False

    def __len__(self) -> int:
        return 0

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


class Elementwise:
    """Compares as an array does."""

    def __eq__(self, other: object) -> Any:
        return Hostile()

    def __bool__(self) -> bool:
        raise ValueError("the truth of several elements is ambiguous")

    __hash__ = None  # type: ignore[assignment]


class HostileError(Hostile, Exception):
    pass


class AgreeableError(Agreeable, Exception):
    pass


class ElementwiseError(Elementwise, Exception):
    pass


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    code: int = 7


class StrangeNotesError(Exception):
    __notes__ = 5  # type: ignore[assignment]


class NotesThatRaiseError(Exception):
    def __init__(self) -> None:
        super().__init__()
        self.__notes__ = [Hostile(), "a note"]  # type: ignore[list-item]


class OwnTracebackError(Exception):
    def with_traceback(self, tb: object) -> Any:
        raise AssertionError("asked")


ITEMS: list[Any] = [Hostile, Agreeable, Elementwise, Exception, lambda: ValueError("an item"), lambda: int, list, dict]
ERRORS: list[Callable[[], Exception]] = [
    HostileError,
    AgreeableError,
    ElementwiseError,
    FrozenError,
    StrangeNotesError,
    NotesThatRaiseError,
    OwnTracebackError,
]


class Pass(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item

    def process_batch(self, items: list[Any]) -> list[Any]:
        return items


class Yields(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Iterator[Any]:
        yield item


class Pool(SubTaskPoolWorker[Any, Any, Any, Any]):
    def __init__(self) -> None:
        super().__init__(sub_workers=2)

    def process_sub_task(self, sub: Any) -> Any:
        return sub


class Fails(BaseWorker[Any, Any]):
    """Lets None pass."""

    def __init__(self, error: Callable[[], Exception]) -> None:
        self.error = error

    def process_item(self, item: Any) -> Any:
        if type(item) is int:
            return item
        raise self.error()

    def process_batch(self, items: list[Any]) -> list[Any]:
        return [self.process_item(item) for item in items]


class FailsAsAGenerator(Fails):
    def process_item(self, item: Any) -> Iterator[Any]:
        yield super().process_item(item)


class GivesFailedItems(Fails):
    def process_item(self, item: Any) -> Any:
        return item if type(item) is int else FailedItem(item, self.error())


class FailsInPool(SubTaskPoolWorker[Any, Any, Any, Any]):
    def __init__(self, error: Callable[[], Exception]) -> None:
        super().__init__(sub_workers=2)
        self.error = error

    def process_sub_task(self, sub: Any) -> Any:
        if type(sub) is int:
            return sub
        raise self.error()


WAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "an item": (Pass, {}),
    "a batch": (Pass, {"batch_size": 3}),
    "a generator": (Yields, {}),
    "a pool": (Pool, {}),
}
FAILING: dict[str, tuple[Any, dict[str, Any]]] = {
    "an item": (Fails, {}),
    "a batch": (Fails, {"batch_size": 3}),
    "a generator": (FailsAsAGenerator, {}),
    "a failed item": (GivesFailedItems, {}),
    "a pool": (FailsInPool, {}),
}


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("way", WAYS)
def test_r1_an_item_of_any_kind_comes_out_as_it_went_in(way: str, ordered: bool, workers: int, serial: bool) -> None:
    worker_class, arguments = WAYS[way]
    items = [make() for make in ITEMS * 3]
    manager = PipelineManager(ordered=ordered, queue_size=2)
    manager.add_worker(worker_class, name="first", workers=workers, **arguments)
    manager.add_worker(worker_class, name="second", **arguments)
    results = list(manager.run(items, serial=serial))
    if ordered:
        assert all(result is item for result, item in zip(results, items, strict=True))
    assert sorted(map(id, results)) == sorted(map(id, items))


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("max_failures", [None, 1.0])
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("way", FAILING)
def test_r5_an_item_of_any_kind_fails_with_an_error_of_any_kind(
    way: str, error: Any, max_failures: float | None, workers: int, serial: bool
) -> None:
    worker_class, arguments = FAILING[way]
    items: list[Any] = [0]
    for make in ITEMS:
        items += [make(), len(items)]
    manager = PipelineManager(on_error="skip", max_failures=max_failures)
    manager.add_worker(worker_class, name="failing", workers=workers, worker_args={"error": error}, **arguments)
    assert list(manager.run(items, serial=serial)) == [item for item in items if type(item) is int]
    letters = manager.report.dead_letters
    assert [type(letter.error) for letter in letters] == [error] * len(ITEMS)
    failed = [item for item in items if type(item) is not int]
    assert sorted(id(letter.item) for letter in letters) == sorted(map(id, failed))
    assert all(error.__name__ in letter.traceback for letter in letters)
    assert (manager.report.state, manager.report.imbalances()) == ("completed", [])


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("make", ITEMS)
@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("way", FAILING)
def test_r4_an_error_of_any_kind_ends_the_run_as_itself(
    way: str, error: Any, make: Any, workers: int, serial: bool
) -> None:
    worker_class, arguments = FAILING[way]
    manager = PipelineManager()
    manager.add_worker(worker_class, name="failing", workers=workers, worker_args={"error": error}, **arguments)
    item, results = make(), []
    with pytest.raises(PipelineError) as caught:  # noqa: PT012
        for result in manager.run([0, 1, item, 3], serial=serial):
            results.append(result)
    assert results == [0, 1]
    assert type(caught.value.__cause__) is error
    assert caught.value.item is item
    assert error.__name__ in str(caught.value)
    assert repr(caught.value).startswith("<PipelineError: stage 'failing' failed")


@both_modes
@pytest.mark.parametrize("place", ["setup", "teardown", "source", "on_dead_letter"])
@pytest.mark.parametrize("error", ERRORS)
def test_r4_an_error_of_any_kind_is_told_wherever_it_is_raised(error: Any, place: str, serial: bool) -> None:
    class Raises(Pass):
        def setup(self) -> None:
            if place == "setup":
                raise error()

        def process_item(self, item: Any) -> Any:
            if place == "on_dead_letter":
                raise ValueError(item)
            return item

        def teardown(self) -> None:
            if place == "teardown":
                raise error()

    def source() -> Iterator[int]:
        yield 1
        if place == "source":
            raise error()

    def on_dead_letter(letter: DeadLetter) -> None:
        raise error()

    manager = PipelineManager(on_error="skip", on_dead_letter=on_dead_letter).add_worker(Raises)
    with pytest.raises(PipelineError) as caught:
        list(manager.run(source(), serial=serial))
    assert type(caught.value.__cause__) is error
    assert caught.value.phase == ("read" if place == "source" else place)


# Copied and pickled.


COPIES = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}
each_copy = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


def refuse(item: int) -> int:
    raise KeyError(item)


class Refuses(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        if item % 2:
            raise KeyError(item) from ValueError("odd")
        return item


@each_copy
def test_r4_a_copy_of_an_error_has_all_that_the_error_has(copied: Any) -> None:
    with pytest.raises(PipelineError) as caught:
        list(PipelineManager().add_worker(Refuses, retries=1).run([0, 1]))
    error, again = caught.value, copied(caught.value)
    fields = "stage", "phase", "item", "index", "attempt"
    assert [getattr(again, name) for name in fields] == [getattr(error, name) for name in fields]
    assert (str(again), repr(again)) == (str(error), repr(error))
    assert type(again.__cause__) is KeyError
    assert again.__cause__.args == (1,)


@each_copy
def test_r4_an_error_is_copied_with_its_notes(copied: Any) -> None:
    error = PipelineError("stage", "setup", cause=ValueError("why"))
    error.add_note("seen by the night shift")
    assert copied(error).__notes__ == ["seen by the night shift"]


@each_copy
def test_r4_a_subclass_of_an_error_and_one_without_a_cause_are_copied(copied: Any) -> None:
    again = copied(PipelineError("source", "read"))
    assert (again.__cause__, str(again)) == (None, "the source failed in read:")


@each_copy
def test_r4_a_failed_item_and_a_report_with_dead_letters_are_copied(copied: Any) -> None:
    failed = copied(FailedItem("x", ValueError("why")))
    assert (failed.item, repr(failed.error)) == ("x", "ValueError('why')")
    manager = PipelineManager(on_error="skip").add_worker(Refuses)
    list(manager.run(range(4)))
    report: PipelineReport = copied(manager.report)
    assert [(letter.item, repr(letter.error)) for letter in report.dead_letters] == [
        (1, "KeyError(1)"),
        (3, "KeyError(3)"),
    ]
    assert report.stages == manager.report.stages


@pytest.mark.parametrize("make", ITEMS)
def test_r4_errors_and_letters_have_a_text_whatever_the_item(make: Any) -> None:
    for error in ERRORS:
        failure = PipelineError("stage", "process_item", make(), 3, 2, error())
        assert "on item 3: " in repr(failure)
        assert "(attempt 2)" in str(failure)
        assert failure != PipelineError("stage", "process_item", make(), 3, 2, error())
        assert len({failure, failure}) == 1


def test_r4_the_report_and_its_letters_have_a_text_whatever_the_items() -> None:
    """As a notebook shows them."""
    manager = PipelineManager(on_error="skip").add_worker(Fails, worker_args={"error": HostileError})
    list(manager.run([make() for make in ITEMS]))
    assert "Hostile" in repr(manager.report)
    assert "HostileError" in repr(manager.report.dead_letters[0])
    assert repr(FailedItem(Hostile(), HostileError()))
