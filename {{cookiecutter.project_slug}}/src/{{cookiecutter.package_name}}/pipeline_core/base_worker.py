"""The base class of your stages."""

import logging
from collections.abc import Callable, Iterator, Sequence
from threading import Event
from typing import Any, Generic, TypeVar

from .channel import Closed
from .errors import PipelineError
from .policy import ABORTED, Expansion, Failure, Policy
from .ports import Port

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
    _port: Port
    _new_port: Callable[[], Port]
    _policy: Policy
    _worker_args: dict[str, Any]
    _batch_size: int | None
    _batch_timeout: float | None

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
        """Take items and hand outcomes on, until Closed is raised."""
        if self._batch_size is not None:
            return self._run_batches(self._batch_size)
        port, attempt, process_item, settle = self._port, self._policy.attempt, self.process_item, self._settle
        while True:
            item = port.take()
            outcome = attempt(process_item, item, port)
            settle(port, outcome)
            del item, outcome  # While we wait for the next, the last one can go.

    def _run_batches(self, size: int) -> None:
        port = self._port
        while True:
            items = port.take_batch(size, self._batch_timeout)
            last, left = port.ticket, len(items)
            try:
                for outcome in self._outcomes(items, port):
                    left -= 1
                    self._settle(port, outcome)
            finally:
                port.count("aborted", left)
                port.ticket = last
            del items, outcome

    def _outcomes(self, items: list[In], port: Port) -> Iterator[Any]:
        """The outcome of each item, with the item's ticket as `port.ticket`, which was the last one's."""
        first = port.ticket - len(items) + 1
        outcomes: Any = None
        if len(items) > 1:
            try:
                outcomes = self._checked_batch(items)
            except BaseException as error:
                self.logger.debug("%s; each is tried alone", self._policy.blame(error, "process_batch", items, first))
        call: Callable[[In], Any]
        batched = self._batch_size is not None
        call, phase = (self._process_alone, "process_batch") if batched else (self.process_item, "process_item")
        for position, item in enumerate(items):
            if position and self.stop_event.is_set():
                return
            port.ticket = first + position
            if outcomes is not None:
                yield outcomes[position]
            else:
                yield self._policy.attempt(call, item, port, phase)

    def _checked_batch(self, items: list[In]) -> list[Out | None]:
        outputs = list(self.process_batch(items))
        if len(outputs) != len(items):
            raise ValueError(f"process_batch() returned {len(outputs)} outputs for {len(items)} items")
        return outputs

    def _process_alone(self, item: In) -> Out | None:
        return self._checked_batch([item])[0]

    def _settle(self, port: Port, outcome: Any) -> None:
        """Hand the outcome of the item in hand on. Raises Closed when the stage is over."""
        if outcome is None:
            port.finish("filtered")
            return
        kind = type(outcome)
        if kind is Failure:
            self._fail(port, outcome.error)
        elif kind is Expansion:
            self._expand(port, outcome)
        elif outcome is ABORTED:
            port.finish("aborted")
        else:
            port.deliver(outcome)

    def _expand(self, port: Port, outputs: Expansion) -> None:
        try:
            for output in outputs:
                if output is not None:
                    port.emit(output)
                elif self.stop_event.is_set():
                    raise Closed
        except Closed:
            port.count("aborted")
            raise
        finally:
            outputs.close()
        if outputs.failure is not None:
            self._fail(port, outputs.failure)
        else:
            port.finish("filtered" if outputs.empty else "processed")

    def _fail(self, port: Port, failure: PipelineError) -> None:
        verdict = self._policy.judge(failure)
        if verdict is None:
            port.finish("failed")
        else:
            port.fail(verdict)

    def _cancel(self) -> None:
        """Called by `stop()`, from any thread: wake whatever this worker waits for apart from its port."""
