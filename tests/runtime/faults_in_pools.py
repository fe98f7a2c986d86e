"""Faults in sub-task pools: threads here, and processes that die, refuse to pickle, or exit."""

import itertools
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from typing import Any

import pytest
from my_pipeline.pipeline_core import PipelineError, SubTaskPoolWorker

from fault_table import ERRORS, Counted, Custom, Same, fails, fault, gives, named, pipeline, settled, took


class Pool(SubTaskPoolWorker[Any, Any, Any, Any]):
    """Cuts an item in three; for item 3, `misdeed` is called where `where` says."""

    def __init__(self, where: str = "", misdeed: Callable[[], Any] = int, **options: Any) -> None:
        super().__init__(**({"sub_workers": 2} | options))
        self.where, self.misdeed = where, misdeed

    def misbehave(self, where: str, item: Any) -> None:
        if self.where == where and item == 3:
            self.misdeed()

    def split(self, item: Any) -> Iterator[Any]:
        yield item
        yield item
        self.misbehave("split", item)
        yield item

    def process_sub_task(self, sub: Any) -> Any:
        self.misbehave("process_sub_task", sub)
        return sub

    def merge(self, item: Any, results: list[Any]) -> Any:
        self.misbehave("merge", item)
        assert results == [item] * 3
        return item


class Raiser:
    """Raises when it is called; it can be pickled."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __call__(self) -> None:
        raise self.error("injected")


def pool(where: str = "", misdeed: Callable[[], Any] = int, workers: int = 1, **options: Any) -> Any:
    arguments = {key: options.pop(key) for key in ("on_error", "retries") if key in options}
    return Pool, {"worker_args": {"where": where, "misdeed": misdeed, **options}, "workers": workers, **arguments}


def enter_methods_that_raise() -> None:
    for kind, error in ERRORS.items():
        for where in ("split", "process_sub_task", "merge"):
            for workers in (1, 3):

                def call(where: str = where, error: type[BaseException] = error, workers: int = workers) -> None:
                    manager = pipeline(pool(where, Raiser(error), workers), Same, queue_size=2)
                    fails(manager, range(50), "process_item", error, results=[0, 1, 2])

                named(f"{where} raises {kind}, {workers} workers")(call)


enter_methods_that_raise()


@fault
def split_gives_nothing() -> None:
    class Nothing(SubTaskPoolWorker[int, int, int, int]):
        splits = 0

        def split(self, item: int) -> list[int]:
            Nothing.splits += 1
            return []

        def merge(self, item: int, results: list[int]) -> int:
            assert results == []
            return item

    gives(pipeline(Nothing), range(20), range(20))
    assert Nothing.splits == 20, "split() was called again"


@fault
def split_gives_too_much_for_the_default_merge() -> None:
    class Two(SubTaskPoolWorker[int, int, int, int]):
        def split(self, item: int) -> list[int]:
            return [item, item]

        def process_sub_task(self, sub: int) -> int:
            return sub

    fails(pipeline(Two), range(20), "process_item", results=[])


@fault
def process_sub_task_is_not_written() -> None:
    fails(pipeline(SubTaskPoolWorker), range(5), "process_item", NotImplementedError, results=[])


@fault
def process_sub_task_raises_cancelled_error() -> None:
    manager = pipeline(pool("process_sub_task", Raiser(CancelledError)))
    fails(manager, range(9), "process_item", CancelledError, results=[0, 1, 2])


@fault
def stop_with_sub_tasks_waiting_in_the_pool() -> None:
    class Many(SubTaskPoolWorker[int, int, int, int]):
        def split(self, item: int) -> range:
            return range(20)

        def process_sub_task(self, sub: int) -> int:
            time.sleep(0.02)
            return sub

        def merge(self, item: int, results: list[int]) -> int:
            return item

    for workers in (1, 2):
        manager = pipeline((Many, {"workers": workers, "worker_args": {"sub_workers": 1}}))
        manager.start(itertools.count())
        time.sleep(0.1)
        manager.stop()
        assert took(lambda manager=manager: manager.wait_for_completion(30)) < 2
        settled(manager, "stopped")


@fault
def a_failed_sub_task_cancels_its_siblings() -> None:
    class Many(SubTaskPoolWorker[int, int, int, int]):
        ran = 0

        def split(self, item: int) -> range:
            return range(50)

        def process_sub_task(self, sub: int) -> int:
            Many.ran += 1
            if sub == 0:
                raise ValueError("injected")
            time.sleep(0.01)
            return sub

    manager = pipeline((Many, {"worker_args": {"sub_workers": 1}}))
    fails(manager, [1], "process_item", results=[])
    assert Many.ran < 10, "R11: the siblings were not cancelled"


@fault
def the_window_of_a_pool_is_a_bound() -> None:
    gate = threading.Event()

    class Waits(SubTaskPoolWorker[int, int, int, int]):
        def process_sub_task(self, sub: int) -> int:
            if sub == 0:
                gate.wait()
            return sub

    source = Counted()
    manager = pipeline((Waits, {"worker_args": {"sub_workers": 2, "window": 3}}), queue_size=2)
    manager.start(source)
    time.sleep(0.2)
    assert source.read <= 3 + 1 + 2 + 1, f"R11: {source.read}"
    manager.stop()
    gate.set()
    manager.wait_for_completion(30)
    settled(manager, "stopped")


@fault
def a_pool_of_pools() -> None:
    class Outer(SubTaskPoolWorker[int, int, int, int]):
        def process_sub_task(self, sub: int) -> int:
            return sum(pipeline(pool(sub_workers=1)).run(range(sub % 5)))

    manager = pipeline((Outer, {"worker_args": {"sub_workers": 3}, "workers": 2}), queue_size=2)
    gives(manager, range(30), [sum(range(n % 5)) for n in range(30)])


# Processes: what follows is pickled, so it stands at the module's level.


def kill_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exit_hard() -> None:
    os._exit(3)


def exit_politely() -> None:
    sys.exit(3)


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise TypeError("cannot be pickled")


class Unloadable(Exception):
    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)  # Unpickling calls with `message` alone, and fails.


def raise_unloadable() -> None:
    raise Unloadable("injected", 3)


class LoadsOnlyInAChild(Exception):
    def __reduce__(self) -> Any:
        return load_only_in_a_child, (os.getpid(),)


def load_only_in_a_child(made_by: int) -> Exception:
    if os.getpid() != made_by:
        raise ValueError("injected: it does not load here")
    return LoadsOnlyInAChild()


class DiesWhenLoaded:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, DiesWhenLoaded)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> Any:
        return exit_hard, ()


class OddResult(Pool):
    def process_sub_task(self, sub: Any) -> Any:
        return (lambda: sub) if sub == 3 else sub


class SetupFailsInTheChild(Pool):
    def setup(self) -> None:
        if multiprocessing.parent_process() is not None:
            raise ValueError("injected")


class InitFailsInTheChild(Pool):
    def __init__(self) -> None:
        super().__init__(executor="process")
        if multiprocessing.parent_process() is not None:
            raise ValueError("injected")


def processes(where: str = "", misdeed: Callable[[], Any] = int, **options: Any) -> Any:
    arguments: dict[str, Any] = {"executor": "process", "window": 2} | options
    return pool(where, misdeed, **arguments)


def costs(stage: Any, cause: type[BaseException]) -> None:
    """Under "skip" the fault costs item 3 alone, and the rest goes on; under "stop" it is the error."""
    manager = pipeline(stage, on_error="skip")
    assert list(manager.run(range(12))) == [number for number in range(12) if number != 3]
    settled(manager, "completed")
    (letter,) = manager.report.dead_letters
    assert (letter.item, type(letter.error)) == (3, cause)
    fails(pipeline(stage), range(12), "process_item", cause, results=[0, 1, 2])


@fault
def a_child_is_killed_in_mid_task() -> None:
    costs(processes("process_sub_task", kill_self), RuntimeError)


@fault
def a_child_exits_hard() -> None:
    costs(processes("process_sub_task", exit_hard, workers=2), RuntimeError)


@fault
def a_child_is_killed_and_the_item_is_tried_again() -> None:
    manager = pipeline(processes("process_sub_task", kill_self, retries=2), on_error="skip")
    results = list(manager.run(range(12)))
    assert [number for number in range(12) if number != 3] == results
    settled(manager, "completed")
    assert manager.report.dead_letters[0].attempts == 3


@fault
def sys_exit_in_a_child() -> None:
    fails(pipeline(processes("process_sub_task", exit_politely)), range(9), "process_item", SystemExit)


@fault
def every_kind_of_exception_in_a_child() -> None:
    for error in (ValueError, KeyboardInterrupt, Custom):
        stage = processes("process_sub_task", Raiser(error))
        fails(pipeline(stage), range(9), "process_item", error, results=[0, 1, 2])


@fault
def an_exception_that_does_not_pickle() -> None:
    costs(processes("process_sub_task", Raiser(Unpicklable)), RuntimeError)


@fault
def an_exception_that_does_not_unpickle() -> None:
    costs(processes("process_sub_task", raise_unloadable), RuntimeError)


@fault
def an_exception_that_does_not_unpickle_in_the_parent() -> None:
    costs(processes("process_sub_task", Raiser(LoadsOnlyInAChild)), RuntimeError)


@fault
def an_argument_that_does_not_pickle() -> None:
    source = [0, 1, 2, lambda: 3, 4, 5]
    manager = pipeline(processes(), on_error="skip")
    assert list(manager.run(source)) == [0, 1, 2, 4, 5]
    settled(manager, "completed")


@fault
def an_argument_that_kills_the_child_when_loaded() -> None:
    manager = pipeline(processes(window=1), on_error="skip")
    results = list(manager.run([0, 1, DiesWhenLoaded(), 3, 4]))
    assert results == [0, 1, 3, 4]
    settled(manager, "completed")


@fault
def a_result_that_does_not_pickle() -> None:
    stage = (OddResult, {"worker_args": {"executor": "process"}})
    manager = pipeline(stage, on_error="skip")
    assert list(manager.run(range(6))) == [0, 1, 2, 4, 5]
    settled(manager, "completed")


@fault
def setup_fails_in_the_child() -> None:
    stage = (SetupFailsInTheChild, {"worker_args": {"executor": "process", "sub_workers": 1}})
    fails(pipeline(stage), range(9), "setup", ValueError, results=[])


@fault
def init_fails_in_the_child() -> None:
    fails(pipeline(InitFailsInTheChild), range(9), "setup", ValueError, results=[])


@fault
def worker_args_that_do_not_pickle() -> None:
    stage = (Pool, {"worker_args": {"executor": "process", "sub_workers": 1, "misdeed": lambda: None}})
    manager = pipeline(stage)
    with pytest.raises(PipelineError):
        list(manager.run(range(5)))
    settled(manager, "failed")


@fault
def stop_while_the_children_work() -> None:
    manager = pipeline(processes(workers=2))
    iterator = manager.run(itertools.count())
    assert [next(iterator) for _ in range(5)] == list(range(5))
    manager.stop()
    assert list(iterator) == []
    settled(manager, "stopped")
