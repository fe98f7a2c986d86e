"""The base class of your stages."""

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from threading import Event
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from .channel import Closed
from .errors import Failure
from .policy import Expansion
from .ports import NOTHING, Port

if TYPE_CHECKING:
    from .stage import Stage

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
    _stage: "Stage"
    _has_window = False  # Whether it works on several items at a time, in threads of its own.

    def _attach(self, name: str, stop_event: Event) -> None:
        self.name, self.stop_event = name, stop_event
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
        port, plan = self._stage.new_port(), self._stage.plan
        if plan.batch_size is None:
            self._run_items(port)
        while True:
            items = port.take_batch(plan.batch_size or 1, plan.batch_timeout)
            for _ in self._work_through(items, port):
                pass
            del items

    def _run_items(self, port: Port) -> None:
        take, give, attempt, process_item = port.take, port.give, self._stage.policy.attempt, self.process_item
        item: Any = NOTHING
        try:
            while True:
                item = take()
                outcome = attempt(process_item, item, port)
                if outcome is None or type(outcome) is Failure or type(outcome) is Expansion:
                    for _ in self._hand_on(outcome, item, port):
                        pass
                else:
                    give(outcome)
                    port.processed += 1
                item = outcome = NOTHING  # While we wait for the next, the last one can go.
        finally:
            port.aborted += item is not NOTHING

    def _work_through(self, items: list[In], port: Port) -> Generator[None, None, None]:
        """Do the items that are in hand, one after the other. After each output, control is the caller's."""
        left, outcomes = len(items), self._outcomes(items, port)
        try:
            for item in items:
                outcome = next(outcomes)
                yield from self._hand_on(outcome, item, port)
                left -= 1
                yield
                if port.failure is not None or self.stop_event.is_set():
                    break
                outcome = None
                port.ticket += 1
        finally:
            port.aborted += left

    def _outcomes(self, items: list[In], port: Port) -> Iterator[Any]:
        """The outcome of each item. A batch that fails is tried again as batches of one."""
        policy, phase = self._stage.policy, "process_item"
        call: Callable[[In], Any] = self.process_item
        if self._stage.plan.batch_size is not None:
            call, phase = self._process_alone, "process_batch"
            if len(items) > 1:
                try:
                    return iter(self._checked_batch(items))
                except BaseException as error:
                    self.logger.debug("%s; each is tried alone", policy.blame(error, phase, items, port.ticket))
        return (policy.attempt(call, item, port, phase) for item in items)

    def _process_alone(self, item: In) -> Out | None:
        return self._checked_batch([item])[0]

    def _checked_batch(self, items: list[In]) -> list[Out | None]:
        outputs = list(self.process_batch(items))
        if len(outputs) != len(items):
            raise ValueError(f"process_batch() returned {len(outputs)} outputs for {len(items)} items")
        return outputs

    def _hand_on(self, outcome: Any, item: In, port: Port) -> Generator[None, None, None]:
        """Hand on the outcome of the item in hand, and count it. Between outputs, control is the caller's."""
        if type(outcome) is Expansion:
            outcome = yield from self._emit(outcome, item, port)
        if type(outcome) is Failure:
            port.failed += 1
            failure = self._stage.policy.judge(outcome.error)
            if failure is not None:
                return port.fail(failure)
            with suppress(Closed):  # It has failed, whatever else is the matter.
                port.finish()
        elif outcome is None:
            port.finish()
            port.filtered += 1
        else:
            if outcome is NOTHING:
                port.finish()
            else:
                port.give(outcome)
            port.processed += 1

    def _emit(self, expansion: Expansion, item: In, port: Port) -> Generator[None, None, Any]:
        """Hand on what a generator gives. Returns the outcome that is left: NOTHING, None if it gave none, or a Failure."""
        output, expansion.first = expansion.first, None
        left = None
        try:
            while True:
                if output is not None:
                    port.emit(output)
                    left = NOTHING
                    yield
                elif self.stop_event.is_set():
                    raise Closed
                try:
                    output = next(expansion.rest)
                except StopIteration:
                    return left
                except BaseException as error:
                    blame = self._stage.policy.blame
                    return Failure(blame(error, "process_item", item, port.ticket, expansion.attempt))
        finally:
            expansion.close()
