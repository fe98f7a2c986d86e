"""The base class of your stages."""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any, Generic, TypeVar

from .channel import Closed
from .policy import Expansion, Failure, Policy
from .ports import NOTHING, Port

In = TypeVar("In")
Out = TypeVar("Out")


class BaseWorker(Generic[In, Out]):
    """One worker of a stage: an instance of its own, in a thread of its own, so its attributes need no lock.

    Write `process_item`, or `process_batch` for a stage that is added with `batch_size`. Load models and open files in
    `setup`, close them in `teardown`. Long work may look at `stop_event` and return early.
    """

    name: str
    stop_event: Event
    logger: logging.Logger
    _policy: Policy
    _new_port: Callable[[], Port]
    _spawn: Callable[[Callable[[], None], str], Thread]
    _worker_args: dict[str, Any]
    _batch_size: int | None
    _batch_timeout: float | None
    _has_window = False  # Whether it works on several items at a time, in threads of its own.

    def _attach(self, name: str, stop_event: Event) -> None:
        self.name = name
        self.stop_event = stop_event
        self.logger = logging.getLogger(f"{__package__}.{name}")

    def setup(self) -> None:
        """Called once, in the worker's thread, before its first item."""

    def process_item(self, item: In) -> Out | Iterator[Out] | None:
        """Return the item for the next stage, or None to drop it; or yield any number of items.

        What it raises fails the item: the stage's `retries` and `on_error` say what happens then.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no process_item()")

    def process_batch(self, items: list[In]) -> Sequence[Out | None]:
        """Return one output for each item, in their order; None drops one.

        When it raises, each item is tried again alone, so that a bad item costs only itself.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no process_batch()")

    def teardown(self) -> None:
        """Called once, in the worker's thread, after its last item, whatever happened: also when `setup` raised."""

    def _run(self) -> None:
        """Take items and hand outcomes on. Ends by raising Closed."""
        port = self._new_port()
        if self._batch_size is None:
            self._run_items(port)
        else:
            while True:
                items = port.take_batch(self._batch_size, self._batch_timeout)
                for _ in self._work_through(items, port):
                    pass
                del items

    def _run_items(self, port: Port) -> None:
        take, give, attempt, process_item = port.take, port.give, self._policy.attempt, self.process_item
        item: Any = NOTHING
        try:
            while True:
                item = take()
                outcome = attempt(process_item, item, port)
                if outcome is None:
                    port.finish()
                    port.filtered += 1
                elif type(outcome) is Failure or type(outcome) is Expansion:
                    for _ in self._hand_on(outcome, port):
                        pass
                else:
                    give(outcome)
                    port.processed += 1
                item = outcome = NOTHING  # While we wait for the next, the last one can go.
        finally:
            if item is not NOTHING:
                port.aborted += 1

    def _work_through(self, items: list[In], port: Port) -> Generator[None, None, None]:
        """Do the items that are in hand, one after the other. After each output, control is the caller's."""
        left = len(items)
        try:
            for outcome in self._outcomes(items, port):
                yield from self._hand_on(outcome, port)
                left -= 1
                yield
                if port.failure is not None or self.stop_event.is_set():
                    break
                outcome = None
                port.ticket += 1
        finally:
            port.aborted += left

    def _outcomes(self, items: list[In], port: Port) -> Iterator[Any]:
        """The outcome of each item. Batches of one are what a failed batch is tried again as."""
        if self._batch_size is None:
            for item in items:
                yield self._policy.attempt(self.process_item, item, port)
            return
        if len(items) > 1:
            try:
                outputs = self._checked_batch(items)
            except BaseException as error:
                failure = self._policy.blame(error, "process_batch", items, port.ticket)
                self.logger.debug("%s; each is tried alone", failure)
            else:
                yield from outputs
                return
        for item in items:
            yield self._policy.attempt(lambda item: self._checked_batch([item])[0], item, port, "process_batch")

    def _checked_batch(self, items: list[In]) -> list[Out | None]:
        outputs = list(self.process_batch(items))
        if len(outputs) != len(items):
            raise ValueError(f"process_batch() returned {len(outputs)} outputs for {len(items)} items")
        return outputs

    def _hand_on(self, outcome: Any, port: Port) -> Generator[None, None, None]:
        """Hand on the outcome of the item in hand, and count it. Between outputs, control is the caller's."""
        if type(outcome) is Expansion:
            try:
                for output in outcome:
                    if output is not None:
                        port.emit(output)
                        yield
                    elif self.stop_event.is_set():
                        raise Closed
            finally:
                outcome.close()
            if outcome.failure is None:
                port.finish()
                if outcome.empty:
                    port.filtered += 1
                else:
                    port.processed += 1
                return
            outcome = Failure(outcome.failure)
        if type(outcome) is Failure:
            port.failed += 1
            failure = self._policy.judge(outcome.error)
            with suppress(Closed):  # It has failed, whatever else is the matter.
                if failure is None:
                    port.finish()
                else:
                    port.fail(failure)
        elif outcome is None:
            port.finish()
            port.filtered += 1
        else:
            port.give(outcome)
            port.processed += 1
