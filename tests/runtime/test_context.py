"""R18: workers see the context variables of whoever called run() or start()."""

import decimal
import threading
from collections.abc import Iterator
from contextvars import ContextVar, copy_context
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, DeadLetter, PipelineManager, SubTaskPoolWorker, robust_put

both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
one_worker_and_several = pytest.mark.parametrize("workers", [1, 3])

REQUEST: ContextVar[str] = ContextVar("REQUEST", default="none")


@pytest.fixture(autouse=True)
def a_request() -> Iterator[None]:
    token = REQUEST.set("r-17")
    yield
    REQUEST.reset(token)


class Sees(BaseWorker[Any, Any]):
    """Adds what each of its methods sees."""

    def __init__(self, seen: list[tuple[str, str]]) -> None:
        self.seen = seen
        self.see("__init__")

    def see(self, method: str) -> None:
        self.seen.append((method, REQUEST.get()))

    def setup(self) -> None:
        self.see("setup")

    def process_item(self, item: Any) -> Any:
        self.see("process_item")
        return item

    def process_batch(self, items: list[Any]) -> list[Any]:
        self.see("process_batch")
        return items

    def teardown(self) -> None:
        self.see("teardown")


class Yields(Sees):
    def process_item(self, item: Any) -> Iterator[Any]:
        self.see("a generator")
        yield item
        self.see("a generator, later")


class Fails(Sees):
    def process_item(self, item: Any) -> Any:
        self.see("a failing call")
        raise ValueError(item)


class Pool(SubTaskPoolWorker[Any, Any, Any, Any]):
    def __init__(self, seen: list[tuple[str, str]]) -> None:
        super().__init__(sub_workers=2)
        self.seen = seen

    def see(self, method: str) -> None:
        self.seen.append((method, REQUEST.get()))

    def setup(self) -> None:
        self.see("setup of a pool")

    def split(self, item: Any) -> list[Any]:
        self.see("split")
        return [item, item]

    def process_sub_task(self, sub: Any) -> Any:
        self.see("process_sub_task")
        return sub

    def merge(self, item: Any, results: list[Any]) -> Any:
        self.see("merge")
        return item


@both_modes
@one_worker_and_several
@pytest.mark.parametrize("kind", ["iterator", "function"])
def test_r18_all_code_of_the_user_sees_the_context_of_the_caller(kind: str, workers: int, serial: bool) -> None:
    seen: list[tuple[str, str]] = []

    def iterator() -> Iterator[int]:
        for item in range(10):
            seen.append(("the source", REQUEST.get()))
            yield item

    def function(queue: Any, stop_event: threading.Event) -> None:
        seen.append(("the source", REQUEST.get()))
        for item in range(10):
            robust_put(queue, item, stop_event)

    def on_dead_letter(letter: DeadLetter) -> None:
        seen.append(("on_dead_letter", REQUEST.get()))

    manager = PipelineManager(on_error="skip", on_dead_letter=on_dead_letter)
    arguments = {"seen": seen}
    manager.add_worker(Sees, workers=workers, worker_args=arguments)
    manager.add_worker(Sees, name="batch", batch_size=2, workers=workers, worker_args=arguments)
    manager.add_worker(Yields, workers=workers, worker_args=arguments)
    manager.add_worker(Pool, workers=workers, worker_args=arguments)
    manager.add_worker(Fails, workers=workers, worker_args=arguments)
    assert list(manager.run(iterator() if kind == "iterator" else function, serial=serial)) == []
    assert {value for _, value in seen} == {"r-17"}
    assert {method for method, _ in seen} == {
        "__init__", "setup", "process_item", "process_batch", "teardown", "a generator", "a generator, later",
        "a failing call", "setup of a pool", "split", "process_sub_task", "merge", "the source", "on_dead_letter",
    }  # fmt: skip


def test_r18_a_background_run_sees_the_context_of_its_start() -> None:
    seen: list[tuple[str, str]] = []
    manager = PipelineManager().add_worker(Sees, workers=2, worker_args={"seen": seen})
    manager.start(range(3))
    REQUEST.set("another")
    manager.wait_for_completion(60)
    assert {value for _, value in seen} == {"r-17"}


def test_r18_it_is_the_context_of_the_call_of_run_and_not_of_the_first_next() -> None:
    seen: list[tuple[str, str]] = []
    manager = PipelineManager().add_worker(Sees, workers=2, worker_args={"seen": seen})
    results = manager.run(range(3))
    REQUEST.set("another")
    assert list(results) == [0, 1, 2]
    assert {value for _, value in seen} == {"r-17"}


def test_r18_two_runs_at_once_have_a_context_each() -> None:
    seen: dict[str, list[tuple[str, str]]] = {"a": [], "b": []}

    def run(name: str) -> list[int]:
        REQUEST.set(name)
        return list(PipelineManager().add_worker(Sees, workers=2, worker_args={"seen": seen[name]}).run(range(20)))

    threads = [threading.Thread(target=copy_context().run, args=(run, name)) for name in seen]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {name: {value for _, value in calls} for name, calls in seen.items()} == {"a": {"a"}, "b": {"b"}}


class Sets(BaseWorker[int, str]):
    """Sets the variable for the calls that follow in its own thread."""

    def setup(self) -> None:
        REQUEST.set(f"{self.name} {self.index}")

    def process_item(self, item: int) -> str:
        assert REQUEST.get() == f"{self.name} {self.index}"
        return REQUEST.get()


def test_r18_what_a_worker_sets_is_its_own() -> None:
    manager = PipelineManager().add_worker(Sets, name="sets", workers=3)
    seen: list[tuple[str, str]] = []
    manager.add_worker(Sees, worker_args={"seen": seen})
    assert set(manager.run(range(50))) <= {"sets 0", "sets 1", "sets 2"}
    assert REQUEST.get() == "r-17"
    assert {value for _, value in seen} == {"r-17"}


class Divides(BaseWorker[int, str]):
    def process_item(self, item: int) -> str:
        return str(decimal.Decimal(item) / 3)


@both_modes
@one_worker_and_several
def test_r18_decimals_have_the_precision_of_the_caller(workers: int, serial: bool) -> None:
    """What the standard library keeps in a context variable goes along."""
    with decimal.localcontext() as context:
        context.prec = 5
        assert list(PipelineManager().add_worker(Divides, workers=workers).run([1], serial=serial)) == ["0.33333"]
