"""R12: what cannot work is refused at the call that says it, in a line that names it."""

import abc
import multiprocessing
from collections.abc import AsyncIterator, Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, Observer, PipelineError, PipelineManager, SubTaskPoolWorker


class Pass(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item

    def process_batch(self, items: list[Any]) -> list[Any]:
        return items


class Pool(SubTaskPoolWorker[Any, Any, Any, Any]):
    def process_sub_task(self, sub: Any) -> Any:
        return sub


async def asynchronous(self: Any, *arguments: Any) -> Any:
    return arguments[-1]


async def asynchronous_generator(self: Any, *arguments: Any) -> Any:
    yield arguments[-1]


def generator(self: Any, *arguments: Any) -> Any:
    yield arguments[-1]


METHODS = "setup", "process_item", "process_batch", "teardown", "split", "process_sub_task", "merge", "finish"
SET_BY_THE_MANAGER = "name", "index", "stop_event", "logger"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("function", [asynchronous, asynchronous_generator])
@pytest.mark.parametrize("executor", [None, "thread", "process"])
def test_r12_an_asynchronous_method_of_a_stage_that_is_called_in_a_thread_is_refused(
    method: str, function: Any, executor: Any
) -> None:
    """Without an executor, an async process_item() makes it an async stage."""
    worker_class = type("Odd", (Pool if method in METHODS[4:7] else Pass,), {method: function})
    executor = "thread" if (method, executor) == ("process_item", None) else executor
    with pytest.raises(TypeError, match=rf"worker_class Odd: {method}\(\) must not be async"):
        PipelineManager().add_worker(
            worker_class, executor=executor, batch_size=2 if method == "process_batch" else None
        )


class Async(Pass):
    process_item = asynchronous  # type: ignore[assignment]


class AsyncPool(Pool):
    process_item = asynchronous  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("worker_class", "arguments", "said"),
    [
        (Pass, {"executor": "async"}, r"executor 'async' needs an async process_item\(\), and that of Pass is not"),
        (Pool, {"executor": "async"}, r"executor 'async'"),
        (Async, {"batch_size": 2}, r"takes no batch_size"),
        (Async, {"batch_size": 2, "executor": "async"}, r"takes no batch_size"),
        (AsyncPool, {}, r"no sub-task pool"),
        (AsyncPool, {"executor": "async"}, r"no sub-task pool"),
        (type("Batch", (Async,), {"process_batch": asynchronous}), {}, r"process_batch\(\) must not be async"),
        (type("Generator", (Async,), {"setup": generator}), {}, r"setup\(\) must not be a generator"),
        (
            type("Generator", (Async,), {"teardown": asynchronous_generator}),
            {},
            r"teardown\(\) must not be a generator",
        ),
    ],
)
def test_r12_an_async_stage_that_cannot_work_is_refused(worker_class: Any, arguments: Any, said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=said) as caught:
        PipelineManager().add_worker(worker_class, **arguments)
    assert "\n" not in str(caught.value)


def test_r15_an_async_stage_may_have_other_methods_of_either_kind() -> None:
    for function in asynchronous, lambda self: None:
        methods = dict.fromkeys(("setup", "teardown"), function) | {"finish": lambda self: None}
        worker_class = type("Either", (Async,), methods if function is not asynchronous else {})
        assert list(PipelineManager().add_worker(worker_class).run(range(3))) == [0, 1, 2]


@pytest.mark.parametrize("argument", ["when", "retry_on"])
@pytest.mark.parametrize("function", [asynchronous, asynchronous_generator, generator])
def test_r12_a_predicate_that_is_always_true_by_mistake_is_refused(argument: str, function: Any) -> None:
    """A coroutine, or a generator, is an object, and so is true."""
    predicate = type("Predicate", (), {"__call__": function})()
    with pytest.raises(TypeError, match=rf"{argument} must not be (async|a generator)"):
        PipelineManager().add_worker(Pass, **{argument: predicate})


def test_r12_what_is_on_the_border_is_taken() -> None:
    taken: list[dict[str, Any]] = [
        {"backoff": 0, "max_backoff": 0},
        {"backoff": 10, "max_backoff": 1},
        {"timeout": 1e9, "rate_limit": 1e9},
        {"timeout": float("inf"), "rate_limit": float("inf")},
        {"retry_on": ()},
        {"retry_on": (ValueError, OSError)},
        {"retry_on": ExceptionGroup},
        {"when": bool, "retry_on": lambda error, more=1: True},
    ]
    for arguments in taken:
        assert list(PipelineManager().add_worker(Pass, retries=1, **arguments).run([1, 2])) == [1, 2]


@pytest.mark.parametrize("method", ["setup", "teardown", "process_sub_task", "merge"])
def test_r12_a_method_that_is_a_generator_by_mistake_is_refused(method: str) -> None:
    """Its body would never run."""
    worker_class = type("Odd", (Pool,), {method: generator})
    with pytest.raises(TypeError, match=rf"worker_class Odd: {method}\(\) must not be a generator"):
        PipelineManager().add_worker(worker_class)


def no_item(self: Any) -> None:
    pass


def two_items(self: Any, item: Any, other: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("method", "function"),
    [
        ("process_item", no_item),
        ("process_item", two_items),
        ("process_batch", two_items),
        ("setup", two_items),
        ("teardown", two_items),
        ("finish", two_items),
        ("split", no_item),
        ("process_sub_task", two_items),
        ("merge", no_item),
        ("process_item", 5),
        ("setup", None),
    ],
)
def test_r12_a_method_that_cannot_be_called_as_it_will_be_is_refused(method: str, function: Any) -> None:
    worker_class = type("Odd", (Pool if method in METHODS[4:7] else Pass,), {method: function})
    with pytest.raises(TypeError, match=rf"worker_class Odd.*{method}"):
        PipelineManager().add_worker(worker_class, batch_size=2 if method == "process_batch" else None)


def test_r12_methods_may_be_of_any_kind_that_can_be_called() -> None:
    class Helper:
        def __call__(self, item: int) -> int:
            return item + 1

    class Static(BaseWorker[int, int]):
        @staticmethod
        def process_item(item: int, step: int = 1) -> int:
            return item + step

    class Anything(BaseWorker[int, int]):
        def process_item(self, *items: int, **_: int) -> int:
            return items[0] + 1

    class Class(BaseWorker[int, int]):
        @classmethod
        def process_item(cls, item: int) -> int:
            return item + 1

    class Attribute(BaseWorker[int, int]):
        process_item = Helper()

    class Builtin(BaseWorker[int, int]):
        process_item = abs  # type: ignore[assignment]

    manager = PipelineManager()
    for worker_class in Static, Anything, Class, Attribute, Builtin:
        manager.add_worker(worker_class)
    assert list(manager.run([1])) == [5]


def test_r12_an_abstract_class_is_refused_and_what_it_lacks_is_told() -> None:
    class Abstract(Pass, abc.ABC):
        @abc.abstractmethod
        def load(self) -> None: ...

    with pytest.raises(TypeError, match=r"worker_class Abstract must define load\(\)"):
        PipelineManager().add_worker(Abstract)


@pytest.mark.parametrize("name", SET_BY_THE_MANAGER)
@pytest.mark.parametrize("kind", ["method", "property"])
def test_r12_a_method_in_the_place_of_what_the_manager_sets_is_refused(name: str, kind: str) -> None:
    """It would be overwritten, or could not be."""
    odd: Any = no_item if kind == "method" else property(no_item)
    with pytest.raises(TypeError, match=f"worker_class Odd.*{name}"):
        PipelineManager().add_worker(type("Odd", (Pass,), {name: odd}))


class SetsIn(Pass):
    """Its `__init__` sets an attribute."""

    def __init__(self, attribute: str) -> None:
        setattr(self, attribute, "mine")


class PoolSetsIn(Pool):
    def __init__(self, attribute: str, executor: Any = "thread") -> None:
        super().__init__(sub_workers=2, executor=executor)
        setattr(self, attribute, "mine")


class SetsInAChild(SetsIn):
    """The same in a child process alone."""

    def __init__(self, attribute: str) -> None:
        if multiprocessing.parent_process() is not None:
            super().__init__(attribute)


class PoolSetsInAChild(PoolSetsIn):
    def __init__(self, attribute: str) -> None:
        here = multiprocessing.parent_process() is None
        super().__init__("own" if here else attribute, "process")


@pytest.mark.parametrize("attribute", SET_BY_THE_MANAGER)
@pytest.mark.parametrize("worker_class", [SetsIn, PoolSetsIn])
@pytest.mark.parametrize("how", ["run", "serial", "start", "several workers"])
def test_r12_an_init_that_sets_what_the_manager_sets_is_refused_at_the_start(
    worker_class: Any, attribute: str, how: str
) -> None:
    """It would be overwritten."""
    workers = 3 if how == "several workers" else 1
    manager = PipelineManager().add_worker(worker_class, workers=workers, worker_args={"attribute": attribute})
    said = rf"{worker_class.__name__}\.__init__ must not set self\.{attribute}: .*rename yours"
    with pytest.raises(PipelineError, match=f"failed in __init__: TypeError: {said}"):
        manager.start([1]) if how == "start" else manager.run([1], serial=how == "serial")
    assert (manager.report.state, manager.report.imbalances()) == ("failed", [])


@pytest.mark.parametrize("attribute", SET_BY_THE_MANAGER)
@pytest.mark.parametrize("worker_class", [SetsIn, SetsInAChild, PoolSetsInAChild])
def test_r15_an_init_that_sets_what_the_manager_sets_is_refused_in_a_child_process(
    worker_class: Any, attribute: str
) -> None:
    executor: Any = "thread" if worker_class is PoolSetsInAChild else "process"
    manager = PipelineManager().add_worker(worker_class, executor=executor, worker_args={"attribute": attribute})
    said = rf"failed in setup: TypeError: {worker_class.__name__}\.__init__ must not set self\.{attribute}: "
    with pytest.raises(PipelineError, match=said):
        list(manager.run([1]))
    assert manager.report.imbalances() == []


PRIVATE = (
    "stage",
    "pool",
    "lane",
    "crew",
    "calls",
    "meter",
    "policy",
    "hands",
    "lock",
    "queue",
    "thread",
    "worker",
    "items",
)


@pytest.mark.parametrize("base", [Pass, Pool])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_r10_a_worker_may_call_its_own_attributes_what_it_likes(base: Any, workers: int, serial: bool) -> None:
    class Own(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            for name in PRIVATE:
                setattr(self, name, None)
                setattr(self, f"_{name}", None)

        def setup(self) -> None:
            for name in (*PRIVATE, "name", "index"):
                setattr(self, name, "mine")
                setattr(self, f"_{name}", "mine")

    assert list(PipelineManager().add_worker(Own, workers=workers).run(range(9), serial=serial)) == list(range(9))


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_r11_a_pool_whose_init_forgets_that_of_its_base_has_the_defaults(serial: bool) -> None:
    class Forgetful(Pool):
        def __init__(self, factor: int) -> None:
            self.factor = factor

        def process_sub_task(self, sub: int) -> int:
            return sub * self.factor

    manager = PipelineManager().add_worker(Forgetful, worker_args={"factor": 3})
    assert list(manager.run([1, 2], serial=serial)) == [3, 6]


@pytest.mark.parametrize("name", [5, b"name", None, ["name"], ""])
def test_r12_a_name_is_text(name: Any) -> None:
    with pytest.raises(ValueError, match="name must be text"):
        PipelineManager(name=name)
    if name is not None:
        with pytest.raises(ValueError, match="name must be text"):
            PipelineManager().add_worker(Pass, name=name)


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("ordered", "no"),
        ("ordered", None),
        ("ordered", 0),
        ("max_failures", float("nan")),
        ("max_failures", True),
        ("stall_timeout", float("nan")),
        ("stall_timeout", True),
        ("on_error", ["skip"]),
        ("queue_size", float("inf")),
    ],
)
def test_r12_a_manager_refuses_what_it_would_misread(argument: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=argument):
        PipelineManager(**{argument: value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("worker_args", 5),
        ("worker_args", ["path"]),
        ("worker_args", {1: 2}),
        ("retries", True),
        ("batch_timeout", float("nan")),
        ("executor", "threads"),
        ("executor", "Process"),
        ("on_error", True),
        ("queue_size", "100"),
        ("workers", 2.0),
        ("timeout", 0),
        ("timeout", -1.0),
        ("timeout", "1"),
        ("timeout", float("nan")),
        ("timeout", True),
        ("rate_limit", 0),
        ("rate_limit", -5),
        ("rate_limit", "10/s"),
        ("rate_limit", float("nan")),
        ("rate_limit", False),
        ("backoff", -0.1),
        ("backoff", "0.1"),
        ("backoff", float("nan")),
        ("max_backoff", -1),
        ("max_backoff", [30]),
        ("max_backoff", float("nan")),
        ("retry_on", BaseException),
        ("retry_on", KeyboardInterrupt),
        ("retry_on", (ValueError, SystemExit)),
        ("retry_on", [ValueError]),
        ("retry_on", (ValueError, "KeyError")),
        ("retry_on", ValueError("an error")),
        ("retry_on", int),
        ("retry_on", None),
        ("retry_on", lambda: True),
        ("when", "item > 3"),
        ("when", True),
        ("when", lambda: True),
        ("when", lambda item, other: True),
        ("executor", "asyncio"),
        ("executor", ["async"]),
    ],
)
def test_r12_add_worker_refuses_what_it_would_misread(argument: str, value: Any) -> None:
    arguments = {"batch_size": 2} if argument == "batch_timeout" else {}
    with pytest.raises((TypeError, ValueError), match=argument) as caught:
        PipelineManager().add_worker(Pass, **arguments, **{argument: value})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_r12_a_pool_in_child_processes_is_told_where_to_say_so() -> None:
    with pytest.raises(ValueError, match="executor of a sub-task pool is said in its worker_args"):
        PipelineManager().add_worker(Pool, executor="process")


async def source_coroutine(queue: Any, stop_event: Any) -> None:
    queue.put(1)


async def source_async_generator() -> AsyncIterator[int]:
    yield 1


def generator_of_two(queue: Any, stop_event: Any) -> Iterator[int]:
    yield 1


def generator_of_none() -> Iterator[int]:
    yield 1


def takes_one(queue: Any) -> None:
    queue.put(1)


class CallableCoroutine:
    async def __call__(self, queue: Any, stop_event: Any) -> None:
        queue.put(1)


SOURCES: dict[str, Any] = {
    "a coroutine function": source_coroutine,
    "a callable object that is a coroutine function": CallableCoroutine(),
    "an asynchronous generator": source_async_generator,
    "a generator function, not called": generator_of_none,
    "a generator function of a queue": generator_of_two,
    "a function of too few arguments": takes_one,
    "a class": Pass,
    "a number": 5,
    "None": None,
}


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("source", SOURCES.values(), ids=SOURCES)
def test_r12_a_source_that_would_give_nothing_is_refused(source: Any, serial: bool) -> None:
    """And not a run that completes without an item."""
    with pytest.raises(TypeError, match="source"):
        PipelineManager().add_worker(Pass).run(source, serial=serial)
    with pytest.raises(TypeError, match="source"):
        PipelineManager().add_worker(Pass).start(source)


async def on_dead_letter_coroutine(letter: object) -> None:
    pass


def on_dead_letter_of_none() -> None:
    pass


@pytest.mark.parametrize("callback", [on_dead_letter_coroutine, on_dead_letter_of_none, generator_of_none, 5])
def test_r12_a_callback_that_cannot_be_called_with_a_letter_is_refused(callback: Any) -> None:
    with pytest.raises(TypeError, match="on_dead_letter"):
        PipelineManager(on_dead_letter=callback)


class Fails(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        raise ValueError(item)


def test_r12_a_callback_may_be_anything_that_takes_a_letter() -> None:
    letters: list[Any] = []
    for callback in letters.append, lambda letter, more=1: letters.append(letter), SimpleQueue().put, print:  # type: ignore[var-annotated]
        list(PipelineManager(on_error="skip", on_dead_letter=callback).add_worker(Fails).run([1]))
    assert [letter.item for letter in letters] == [1, 1]


@pytest.mark.parametrize("observer", [5, Observer, object(), print])
def test_r12_what_is_no_observer_is_refused(observer: Any) -> None:
    with pytest.raises(TypeError, match="observer"):
        PipelineManager().observe(observer)


@pytest.mark.parametrize("workers", [5, ["pass"], "pass"])
def test_r12_tune_takes_a_mapping(workers: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="workers"):
        PipelineManager().add_worker(Pass).tune(workers=workers)


@pytest.mark.parametrize("timeout", [-1, "1", float("nan"), True])
def test_r12_a_deadline_is_a_number_of_seconds(timeout: Any) -> None:
    manager = PipelineManager().add_worker(Pass)
    manager.start([1])
    with pytest.raises(ValueError, match="timeout"):
        manager.wait_for_completion(timeout)
    manager.wait_for_completion(60)


def test_r12_a_refused_stage_leaves_the_pipeline_as_it_was() -> None:
    manager = PipelineManager().add_worker(Pass, name="first")
    for arguments in {"name": "first"}, {"workers": 0}, {"executor": "x"}, {"worker_args": {"colour": 1}}:
        with pytest.raises((TypeError, ValueError)):
            manager.add_worker(Pass, **arguments)
    assert manager.stage_names == ["first"]
    assert list(manager.run([1])) == [1]


def test_r12_a_refused_source_does_not_use_up_the_manager() -> None:
    manager = PipelineManager().add_worker(Pass)
    with pytest.raises(TypeError, match="source"):
        manager.run(5)  # type: ignore[arg-type]
    assert list(manager.run([1])) == [1]
