"""The protocol between the core and whatever observes a run, such as a report, a trace or metrics."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from .report import PipelineReport

logger = logging.getLogger(__name__)


class Observer:
    """Subclass it, define what you want to be told, and pass it to `PipelineManager.observe` before the start.

    `called` and `waited` are called in the threads of the run, several at a time, and delay what they tell of: be quick.
    What they raise is logged. Times are of `time.perf_counter`. What you do not define costs nothing.

    `every_call`  whether each call is measured, at some 3 µs a call; else enough of them for a sum, which costs 1%
    """

    every_call = False

    def called(
        self, stage: str, index: int | None, start: float, seconds: float, cpu_seconds: float, calls: int, items: int
    ) -> None:
        """A call into a worker is over: it stands for `calls` calls, of `items` items each, that took `seconds` together.

        `index` is the position of its item among those that the stage received. Here `sys.exception()` is what
        it raised. Each output of a generator is a call.
        """

    def waited(self, stage: str, what: str, start: float, seconds: float) -> None:
        """A thread of the stage has waited: for "input", for room for its "output", for the "order", for a "task", or for its "rate".

        Several of these, and calls, go on at a time in the thread of an event loop."""

    def ended(self, report: PipelineReport) -> None:
        """The run is over. Called once."""


def teller(observers: Sequence[Observer], what: str, *first: Any) -> Callable[..., None] | None:
    """What calls the method `what` of the observers that define it, with these first arguments. None if none does."""
    methods = [getattr(observer, what) for observer in observers]
    told = [method for method in methods if getattr(method, "__func__", None) is not getattr(Observer, what)]

    def tell(*arguments: Any) -> None:
        for method in told:
            try:
                method(*first, *arguments)
            except Exception:
                logger.exception("an observer raised in %s", what)

    return tell if told else None
