"""The base class of your stages."""

import logging
from collections import deque
from collections.abc import Generator, Iterator, MutableMapping, Sequence
from contextlib import suppress
from threading import Event, current_thread, get_ident
from types import GeneratorType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from .channel import Closed
from .errors import Failure
from .policy import Expansion
from .ports import NOTHING, Port

if TYPE_CHECKING:
    from .stage import Stage

In = TypeVar("In")
Out = TypeVar("Out")


class _WorkerLog(logging.LoggerAdapter[logging.Logger]):
    """Its records have the attributes `stage`, `worker` and `item_index`.

    `worker` is the thread's name. The index counts the items that the stage took in, from 0; of a batch it is the first
    one's; it is None where no item is in hand, as in `setup`, and in a child process.
    """

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        known: Any = self.extra
        where = {"stage": known["stage"], "worker": current_thread().name, "item_index": known["item_index"]()}
        kwargs["extra"] = where | (kwargs.get("extra") or {})
        return msg, kwargs


class BaseWorker(Generic[In, Out]):
    """One worker of a stage: an instance of its own, in a thread of its own, so its attributes need no lock.

    Write `process_item`, or `process_batch` for a stage that is added with `batch_size`. Load models and open files in
    `setup`, close them in `teardown`. Long work may look at `stop_event` and return early.
    """

    name: str
    stop_event: Event
    logger: "logging.LoggerAdapter[logging.Logger]"
    _stage: "Stage"
    _has_window = False  # Whether it works on several items at a time, in threads of its own.

    def _attach(self, name: str, stop_event: Event, ports: Sequence[Port] = ()) -> None:
        self.name, self.stop_event = name, stop_event
        self._ports = ports
        self.logger = _WorkerLog(
            logging.getLogger(f"{__package__}.{name}"), {"stage": name, "item_index": self._item_index}
        )

    def _item_index(self) -> int | None:
        """Which of the stage's items the calling thread has in hand."""
        return next((port.ticket for port in self._ports if port.thread == get_ident()), None)

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
        """The loop over the inbox. Ends by raising Closed."""
        port = self._stage.new_port()
        try:
            if self._stage.batch_size is None:
                self._run_items(port)
            for _ in self._steps(port):
                pass
        finally:
            port.times.end()

    def _run_items(self, port: Port) -> None:
        process_item, attempt, outbox = self.process_item, self._stage.policy.attempt, self._stage.outbox
        give, append = port.give, outbox.items.append
        item, outcome = cast(Any, NOTHING), cast(Any, NOTHING)
        try:
            for call, items in port.rounds(process_item):
                direct = call is process_item
                for item in items:
                    if outbox.closed:
                        raise Closed
                    try:
                        outcome = call(item)
                        plain = outcome is not None and type(outcome) is not GeneratorType
                    except BaseException as error:
                        outcome, plain = attempt(process_item, item, port, error=error), False
                    if plain and direct:  # What `give` does, without its call, which takes 0.05 µs.
                        append(outcome)
                        outbox.entered += 1
                        if outbox.reader_waits:
                            outbox.wake_reader()
                        port.processed += 1
                    elif plain:
                        give(outcome)
                        port.processed += 1
                    elif outcome is None and direct:
                        port.filtered += 1
                    else:
                        if type(outcome) is GeneratorType:
                            outcome = attempt(process_item, item, port, output=outcome)
                        direct = direct and type(outcome) is not Expansion  # Which takes room that others counted on.
                        handing_on = self._hand_on(outcome, item, port)
                        item = NOTHING  # It is counted there.
                        for _ in handing_on:
                            pass
                    item = outcome = NOTHING  # While we wait for the next, the last one can go.
        finally:
            port.aborted += item is not NOTHING

    def _steps(self, port: Port) -> Generator[None, None, None]:
        """Work through batches, or for the plain loop through items. After each output, control is the caller's."""
        policy, call, phase = self._stage.policy, self.process_item, "process_item"
        if self._stage.batch_size is not None:
            call, phase = lambda item: self._checked_batch([item])[0], "process_batch"
        while True:
            items = deque(port.take_batch(self._stage.batch_size or 1, self._stage.batch_timeout))
            outputs = self._outputs(items, port) if len(items) > 1 else deque()
            try:
                while items:
                    outcome = outputs.popleft() if outputs else policy.attempt(call, items[0], port, phase)
                    handing_on = self._hand_on(outcome, items.popleft(), port)
                    outcome = None  # Once it is handed on, it can go.
                    yield from handing_on
                    port.release()
                    yield
                    if self.stop_event.is_set():
                        raise Closed
                    port.ticket += 1
            finally:
                port.aborted += len(items)

    def _outputs(self, items: deque[In], port: Port) -> deque[Any]:
        """The outputs of a batch. None at all if it fails: then each item is tried alone."""
        try:
            return deque(port.times.call(self._checked_batch, list(items), items=len(items)))
        except BaseException as error:
            blame = self._stage.policy.blame  # What it gives gets no name here: it knows this frame, and makes a cycle.
            self.logger.debug("%s; each is tried alone", blame(error, "process_batch", list(items), port.ticket))
            return deque()

    def _checked_batch(self, items: list[In]) -> list[Out | None]:
        outputs = list(self.process_batch(items))
        if len(outputs) != len(items):
            raise ValueError(f"process_batch() returned {len(outputs)} outputs for {len(items)} items")
        return outputs

    def _hand_on(self, outcome: Any, item: In, port: Port) -> Generator[None, None, None]:
        """Hand on the outcome of the item in hand, and count it. Between outputs, control is the caller's."""
        fate = "aborted"
        try:
            if type(outcome) is Expansion:
                outcome = yield from self._emit(outcome, item, port)
            if type(outcome) is Failure:
                fate = "failed"
                failure = self._stage.policy.judge(outcome.error)
                if failure is not None:
                    self._stage.fail(failure)
                    port.fail(failure)
                    raise Closed
                with suppress(Closed):  # It has failed, whatever else is the matter.
                    port.finish(given_up=True)
            elif outcome is None or outcome is NOTHING:
                port.finish()
                fate = "filtered" if outcome is None else "processed"
            else:
                port.give(outcome)
                fate = "processed"
        finally:
            port.count(fate)

    def _emit(self, expansion: Expansion, item: In, port: Port) -> Generator[None, None, Any]:
        """Hand on what a generator gives. Returns the outcome that is left: NOTHING, None if it gave none, or a Failure."""
        output, left = expansion.first, None
        expansion.first = None
        try:
            while True:
                if output is not None:
                    port.emit(output)
                    output, left = None, NOTHING  # While the next is computed, this one can go.
                    yield
                elif self.stop_event.is_set():
                    raise Closed
                try:
                    output = port.times.call(next, expansion.rest)
                except StopIteration:
                    return left
                except BaseException as error:
                    blame = self._stage.policy.blame
                    return Failure(blame(error, "process_item", item, port.ticket, expansion.attempt))
        finally:
            expansion.close()
