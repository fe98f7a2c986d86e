"""Faults in what users write: the methods of a stage, and the items themselves."""

import functools
import itertools
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError

from fault_table import ERRORS, Counted, Raises, Same, fails, fault, gives, named, pipeline, settled


def enter_methods_that_raise() -> None:
    """Every method, with every kind of exception, alone and among others."""
    for kind, error in ERRORS.items():
        for workers in (1, 3):
            many = {"workers": workers}
            suffix = f"raises {kind}, {workers} workers"

            def item(error: type[BaseException] = error, many: Any = many) -> None:
                stage = (Raises, {"worker_args": {"error": error}, **many})
                fails(pipeline(stage, Same, queue_size=2), range(50), "process_item", error, results=[0, 1, 2])

            def generator(error: type[BaseException] = error, many: Any = many) -> None:
                class Midway(BaseWorker[int, int]):
                    def process_item(self, item: int) -> Generator[int, None, None]:
                        yield item
                        if item == 3:
                            raise error("injected")
                        yield -item

                expected = [0, 0, 1, -1, 2, -2, 3]
                fails(pipeline((Midway, many)), range(50), "process_item", error, results=expected)

            def batch(error: type[BaseException] = error, many: Any = many) -> None:
                class Batch(BaseWorker[int, int]):
                    def process_batch(self, items: list[int]) -> list[int]:
                        if 3 in items:
                            raise error("injected")
                        return items

                stage = (Batch, {"batch_size": 5, **many})
                fails(pipeline(stage, queue_size=2), range(50), "process_batch", error, results=[0, 1, 2])

            def setup(error: type[BaseException] = error, many: Any = many) -> None:
                class Setup(Same):
                    def setup(self) -> None:
                        raise error("injected")

                fails(pipeline((Setup, many), Same), range(50), "setup", error, results=[])

            def teardown(error: type[BaseException] = error, many: Any = many) -> None:
                class Teardown(Same):
                    def teardown(self) -> None:
                        raise error("injected")

                fails(pipeline((Teardown, many), Same), range(50), "teardown", error, results=list(range(50)))

            calls = {"process_item": item, "a generator midway": generator, "process_batch": batch}
            calls |= {"setup": setup, "teardown": teardown}
            for method, call in calls.items():
                named(f"{method} {suffix}")(call)


enter_methods_that_raise()


@fault
def init_raises() -> None:
    class Init(Same):
        def __init__(self) -> None:
            raise ValueError("injected")

    manager = pipeline(Same, Init)
    with pytest.raises(PipelineError) as caught:
        list(manager.run(range(3)))
    assert (caught.value.stage, caught.value.phase) == ("s1", "__init__")
    assert manager.report.state == "failed"


@fault
def init_raises_system_exit() -> None:
    class Init(Same):
        def __init__(self) -> None:
            raise SystemExit(3)

    manager = pipeline(Init)
    with suppress(PipelineError, SystemExit):
        list(manager.run(range(3)))
    assert manager.report.state == "failed"


@fault
def setup_of_one_worker_of_many_raises() -> None:
    class Setup(Same):
        number = itertools.count()

        def setup(self) -> None:
            if next(self.number) == 1:
                raise ValueError("injected")

    manager = pipeline((Setup, {"workers": 3}), Same, queue_size=1)
    fails(manager, range(500), "setup")


@fault
def teardown_is_no_plain_method() -> None:
    class Partial(Same):
        def __init__(self) -> None:
            self.teardown = functools.partial(int, "no number")  # type: ignore[assignment, method-assign]

    class Property(Same):
        @property
        def teardown(self) -> Callable[[], None]:
            raise ValueError("injected")

    for worker_class in (Partial, Property):
        fails(pipeline((worker_class, {"workers": 2})), range(3), "teardown", results=[0, 1, 2])


@fault
def setup_of_a_later_stage_raises_while_the_first_is_full() -> None:
    class Setup(Same):
        def setup(self) -> None:
            time.sleep(0.05)
            raise ValueError("injected")

    source = Counted()
    fails(pipeline(Same, Setup, queue_size=1), source, "setup", stage="s1", results=[])
    assert source.let_go()


@fault
def an_error_of_an_item_is_not_masked_by_a_later_teardown() -> None:
    class Teardown(Same):
        def teardown(self) -> None:
            raise OSError("injected")

    for serial in (False, True):
        manager = pipeline(Raises, (Teardown, {"workers": 3}))
        fails(manager, range(9), "process_item", results=[0, 1, 2], serial=serial)


def wrong_batch(outputs: Callable[[list[int]], Any], cause: type[BaseException]) -> None:
    class Wrong(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int]:
            return outputs(items)  # type: ignore[no-any-return]

    for workers in (1, 3):
        for serial in (False, True):
            stage = (Wrong, {"batch_size": 4, "workers": workers})
            fails(pipeline(stage, queue_size=1), range(50), "process_batch", cause, results=[], serial=serial)


@fault
def process_batch_gives_too_few() -> None:
    wrong_batch(lambda items: items[1:], ValueError)


@fault
def process_batch_gives_too_many() -> None:
    wrong_batch(lambda items: [*items, 1], ValueError)


@fault
def process_batch_gives_none_at_all() -> None:
    wrong_batch(lambda items: None, TypeError)


@fault
def process_batch_gives_what_has_no_positions() -> None:
    class Batch(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> Any:
            return dict.fromkeys(items, 1)

    for workers in (1, 3):
        for serial in (False, True):
            manager = pipeline((Batch, {"batch_size": 4, "workers": workers}), queue_size=1)
            results = []
            with suppress(PipelineError):
                results = list(manager.run(range(20), serial=serial))
            error = manager.report.error
            assert len(results) == 20 if error is None else error.phase == "process_batch"
            settled(manager)


@fault
def a_bad_item_of_a_batch_costs_only_itself() -> None:
    class Batch(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int]:
            if 3 in items:
                raise ValueError("injected")
            return items

    for workers in (1, 3):
        manager = pipeline((Batch, {"batch_size": 7, "workers": workers}), on_error="skip")
        gives(manager, range(50), [number for number in range(50) if number != 3])
        assert [(letter.item, letter.index) for letter in manager.report.dead_letters] == [(3, 3)]


@fault
def a_generator_that_ignores_its_close() -> None:
    class Stubborn(BaseWorker[int, int]):
        def process_item(self, item: int) -> Generator[int, None, None]:
            with suppress(GeneratorExit):
                while True:
                    yield item
            yield item

    for workers in (1, 3):
        manager = pipeline((Stubborn, {"workers": workers}), queue_size=2)
        iterator = manager.run(itertools.count())
        assert [next(iterator) for _ in range(5)] == [0] * 5
        iterator.close()
        settled(manager)


@fault
def an_endless_generator_that_is_not_the_head_of_the_order() -> None:
    class Endless(BaseWorker[int, int]):
        given = 0

        def process_item(self, item: int) -> Generator[int, None, None]:
            if item == 0:
                time.sleep(0.2)
                yield 0
                return
            while True:
                Endless.given += 1
                yield item

    manager = pipeline((Endless, {"workers": 3}), queue_size=4)
    iterator = manager.run(range(3))
    assert next(iterator) == 0
    assert Endless.given <= 4 + 4 + 4 + 6, "it piles up"
    assert [next(iterator) for _ in range(50)] == [1] * 50
    iterator.close()
    settled(manager, "stopped")


@fault
def an_endless_generator_of_none() -> None:
    class Endless(BaseWorker[int, int]):
        def process_item(self, item: int) -> Generator[None, None, None]:  # type: ignore[override]
            while True:
                yield None

    manager = pipeline((Endless, {"workers": 2}))
    manager.start([1, 2])
    time.sleep(0.02)
    manager.stop()
    manager.wait_for_completion(20)
    settled(manager, "stopped")


@fault
def all_filtered_behind_a_stuck_head_stays_bounded() -> None:
    class Filter(BaseWorker[int, int]):
        def process_item(self, item: int) -> None:
            if item == 0:
                time.sleep(0.3)

    source = Counted()
    manager = pipeline((Filter, {"workers": 3}), queue_size=5)
    manager.start(source)
    time.sleep(0.2)
    assert source.read <= 5 + 5 + 3 + 1 + 5, f"R2: {source.read} read while the head is stuck"
    manager.stop()
    manager.wait_for_completion(20)
    settled(manager, "stopped")
    assert source.let_go()


@fault
def not_implemented_where_add_worker_cannot_see_it() -> None:
    class Later(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            return super().process_item(item)  # type: ignore[return-value]

    fails(pipeline(Later), [1], "process_item", NotImplementedError, results=[])


@fault
def stop_iteration_from_process_item() -> None:
    stage = (Raises, {"worker_args": {"error": StopIteration}})
    for serial in (False, True):
        fails(pipeline(stage), range(9), "process_item", StopIteration, results=[0, 1, 2], serial=serial)


@fault
def generator_exit_from_process_item() -> None:
    for serial in (False, True):
        stage = (Raises, {"worker_args": {"error": GeneratorExit}})
        fails(pipeline(stage), range(9), "process_item", GeneratorExit, results=[0, 1, 2], serial=serial)


@fault
def recursion_without_end() -> None:
    class Deep(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            return self.process_item(item)

    fails(pipeline(Deep, (Same, {"workers": 2})), range(3), "process_item", RecursionError, results=[])
