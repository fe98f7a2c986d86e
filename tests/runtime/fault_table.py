"""The table of faults, and what they share: small stages, and checks that a run ended as it should."""

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager, SubTaskPoolWorker

from watch import eventually

FAULTS: dict[str, Callable[[], None]] = {}


class Custom(BaseException):
    """No Exception, and nothing that Python knows."""


ERRORS: dict[str, type[BaseException]] = {
    "Exception": ValueError,
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "Custom": Custom,
}


def fault(call: Callable[[], None]) -> Callable[[], None]:
    """Enter a fault in the table, under the function's name."""
    return named(call.__name__.replace("_", " "))(call)


def named(name: str) -> Callable[[Callable[[], None]], Callable[[], None]]:
    def enter(call: Callable[[], None]) -> Callable[[], None]:
        assert name not in FAULTS, name
        FAULTS[name] = call
        return call

    return enter


class Same(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item


class Slow(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        time.sleep(0.002)
        return item


class Raises(BaseWorker[Any, Any]):
    """Raises `error` for the item that equals `at`."""

    def __init__(self, error: type[BaseException] = ValueError, at: Any = 3) -> None:
        self.error, self.at = error, at

    def process_item(self, item: Any) -> Any:
        if item == self.at:
            raise self.error("injected")
        return item


class SubTaskSame(SubTaskPoolWorker[int, int, int, int]):
    def __init__(self) -> None:
        super().__init__(sub_workers=1)

    def process_sub_task(self, sub: int) -> int:
        return sub


def pipeline(*stages: Any, **options: Any) -> PipelineManager:
    """A manager with these stages: classes, or pairs of a class and the arguments of `add_worker`."""
    manager = PipelineManager(**options)
    for number, stage in enumerate(stages):
        worker_class, arguments = stage if isinstance(stage, tuple) else (stage, {})
        manager.add_worker(worker_class, **({"name": f"s{number}"} | arguments))
    return manager


def settled(manager: PipelineManager, state: str | None = None) -> None:
    """The run is over, and its accounts balance."""
    report = manager.report
    assert report.imbalances() == [], report
    assert state is None or report.state == state, report


def gives(manager: PipelineManager, source: Any, expected: Iterable[Any], **options: Any) -> None:
    assert list(manager.run(source, **options)) == list(expected)
    settled(manager, "completed")


def fails(
    manager: PipelineManager,
    source: Any,
    phase: str,
    cause: type[BaseException] = ValueError,
    *,
    stage: str = "s0",
    results: list[Any] | None = None,
    serial: bool = False,
) -> PipelineError:
    """The run gives `results`, and then the error, which says what and where."""
    got: list[Any] = []
    failure: PipelineError | None = None
    try:
        for result in manager.run(source, serial=serial):
            got.append(result)
    except PipelineError as error:
        failure = error
    assert failure is not None, f"no error; results {got}"
    assert (failure.stage, failure.phase) == (stage, phase), repr(failure)
    assert type(failure.__cause__) is cause, repr(failure.__cause__)
    assert failure.__cause__.__traceback__ is not None or phase == "read"  # A FailedItem was never raised.
    assert str(failure)
    assert results is None or got == results
    settled(manager, "failed")
    assert manager.report.error is failure
    return failure


class Counted:
    """An endless source that knows how far it was read, and that it was let go of."""

    def __init__(self, pause: float = 0.0) -> None:
        self.read = 0
        self.ended = False
        self.pause = pause

    def __iter__(self) -> Iterator[int]:
        try:
            for number in itertools.count():
                self.read += 1
                if self.pause:
                    time.sleep(self.pause)
                yield number
        finally:
            self.ended = True

    def let_go(self) -> bool:
        return eventually(lambda: self.ended)


def later(seconds: float, call: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(seconds, call)
    timer.daemon = True
    timer.start()
    return timer


def took(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start
