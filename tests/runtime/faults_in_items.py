"""Faults of the items themselves, of exceptions, callbacks and logging handlers."""

import gc
import logging
from contextlib import suppress
from typing import Any

from my_pipeline.pipeline_core import BaseWorker, DeadLetter, PipelineError

from fault_table import ERRORS, Counted, Raises, Same, Slow, fails, fault, gives, pipeline, settled
from watch import CORE_LOG


class Awkward:
    """An item that wants to be asked nothing."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def refuse(self, *_: object) -> Any:
        raise self.error("an item was asked")

    __eq__ = __bool__ = __len__ = __iter__ = __lt__ = refuse
    __hash__ = __repr__ = __str__ = __format__ = __getitem__ = __contains__ = refuse


class RaisesAlways(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        raise ValueError("injected")


def awkward_items(error: type[BaseException]) -> None:
    handler = logging.StreamHandler(open("/dev/null", "w"))  # noqa: SIM115
    CORE_LOG.addHandler(handler)
    try:
        items = [Awkward(error) for _ in range(20)]
        for workers in (1, 3):
            results = list(pipeline((Same, {"workers": workers}), Same, queue_size=2).run(items))
            assert all(a is b for a, b in zip(results, items, strict=True))
            fails(pipeline((RaisesAlways, {"workers": workers})), items, "process_item", results=[])
            manager = pipeline((RaisesAlways, {"workers": workers}), on_error="skip", queue_size=1)
            gives(manager, items, [])
            assert manager.report.skipped == 20
    finally:
        CORE_LOG.removeHandler(handler)
        handler.stream.close()


@fault
def items_whose_every_method_raises() -> None:
    awkward_items(ValueError)


@fault
def items_whose_every_method_raises_system_exit() -> None:
    awkward_items(SystemExit)


class Mute(Exception):
    def __str__(self) -> str:
        raise ValueError("an exception was asked")

    __repr__ = __str__


@fault
def exceptions_whose_text_raises() -> None:
    stage = (Raises, {"worker_args": {"error": Mute}, "workers": 2})
    assert "Mute" in str(fails(pipeline(stage), range(9), "process_item", Mute, results=[0, 1, 2]))
    manager = pipeline(stage, on_error="skip")
    gives(manager, range(9), [0, 1, 2, 4, 5, 6, 7, 8])
    assert "Mute" in manager.report.dead_letters[0].traceback


@fault
def exceptions_that_cannot_be_formatted() -> None:
    class Odd(SyntaxError):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            self.text, self.lineno, self.offset = 5, "x", object()  # type: ignore[assignment]

    for workers in (1, 3):
        stage = (Raises, {"worker_args": {"error": Odd}, "workers": workers})
        gives(pipeline(stage, on_error="skip", queue_size=1), range(9), [0, 1, 2, 4, 5, 6, 7, 8])


@fault
def a_pipeline_error_as_an_item() -> None:
    class Collects(BaseWorker[Any, Any]):
        def process_item(self, item: Any) -> PipelineError:
            return PipelineError("elsewhere", "process_item", item)

    for serial in (False, True):
        results = list(pipeline((Collects, {"workers": 2})).run(range(5), serial=serial))
        assert [result.item for result in results] == list(range(5))


@fault
def on_dead_letter_raises() -> None:
    for error in ERRORS.values():
        for workers in (1, 3):

            def refuse(letter: DeadLetter, error: type[BaseException] = error) -> None:
                raise error("injected")

            manager = pipeline((Raises, {"workers": workers}), on_error="skip", on_dead_letter=refuse)
            fails(manager, range(9), "on_dead_letter", error, results=[0, 1, 2])


@fault
def on_dead_letter_stops_and_asks_for_the_report() -> None:
    seen: list[Any] = []

    def stop(letter: DeadLetter) -> None:
        seen.append((letter.item, manager.report.skipped))
        manager.stop()

    manager = pipeline((Raises, {"workers": 3}), on_error="skip", on_dead_letter=stop)
    list(manager.run(Counted()))
    assert seen == [(3, 1)]
    settled(manager, "stopped")


@fault
def too_many_failures() -> None:
    for limit, failed in ((0, 1), (4, 5), (0.0, 1)):
        manager = pipeline((RaisesAlways, {"workers": 1}), on_error="skip", max_failures=limit)
        fails(manager, range(50), "process_item", results=[])
        assert manager.report.failed == failed


@fault
def a_logging_handler_that_raises() -> None:
    class Full(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OSError("disk full")

    handler = Full()
    CORE_LOG.addHandler(handler)
    try:
        for workers in (1, 3):
            manager = pipeline((Raises, {"workers": workers}), Slow, on_error="skip", queue_size=1)
            with suppress(OSError, PipelineError):
                list(manager.run(range(20)))
            settled(manager)
    finally:
        CORE_LOG.removeHandler(handler)


@fault
def garbage_collection_everywhere() -> None:
    class Collects(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            gc.collect(0)
            return item

    gives(pipeline((Collects, {"workers": 3}), Collects, queue_size=2), range(100), range(100))
