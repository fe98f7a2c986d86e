"""What becomes of an item whose stage raises: tried again, given up, or the end of the run.

Threads, batches, sub-task pools and serial mode all share what stands here.
"""

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from random import Random
from threading import Event, Lock, current_thread, main_thread
from types import GeneratorType
from typing import Any

from .channel import Closed
from .errors import DeadLetter, Failure, PipelineError
from .ports import NOTHING, Port

KEPT_DEAD_LETTERS = 1000
FRACTION_FROM = 100  # Items read before a fraction of failures says anything.

_uniform = Random().uniform  # Not from the `random` that a stage may have seeded.

logger = logging.getLogger(__name__)


@dataclass
class Expansion:
    """The outcome of a generator stage: its first output, and the generator of the rest."""

    first: Any
    rest: Generator[Any, None, None]
    attempt: int

    def close(self) -> None:
        """Let go of the generator, so that its `finally` runs: after its end, or after a stop."""
        try:
            self.rest.close()
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and current_thread() is main_thread():
                raise
            logger.exception("a generator raised when it was closed")


@dataclass(frozen=True)
class Policy:
    """How one stage deals with errors: `retries` more attempts, then the dead letters, or the end of the run."""

    stage: str
    stop_event: Event
    dead_letters: "DeadLetters | None" = None  # None: a failure ends the run.
    retries: int = 0
    backoff: float = 0.1  # seconds before the first retry; doubles with each
    max_backoff: float = 30.0

    def attempt(
        self,
        call: Callable[[Any], Any],
        item: Any,
        port: Port,
        phase: str = "process_item",
        *,
        output: Any = NOTHING,
        error: BaseException | None = None,
    ) -> Any:
        """Call, perhaps several times, and say what became of it: the output, None, an Expansion, or a Failure.

        Whoever has called once gives the `output` or the `error`. Only an Exception is tried again: SystemExit and its
        like mean it. Raises Closed after a stop.
        """
        attempt = 1
        while True:
            try:
                if error is not None:
                    raise error
                if output is NOTHING:
                    output = port.times.call(call, item)
                if type(output) is GeneratorType:  # What fails before it gave anything can be tried again.
                    return Expansion(port.times.call(next, output, None), output, attempt)
                return output
            except BaseException as raised:
                if isinstance(raised, Closed) and self.stop_event.is_set():  # Before that, it is another pipeline's.
                    raise
                if attempt > self.retries or not isinstance(raised, Exception):
                    return Failure(self.blame(raised, phase, item, port.ticket, attempt))
            finally:
                output, error = NOTHING, None  # It knows this frame: no cycle.
            if self.stop_event.wait(self.delay(attempt)):
                raise Closed
            port.retried += 1
            attempt += 1

    def judge(self, failure: PipelineError) -> PipelineError | None:
        """None if the item is given up and the run goes on, else the failure that ends the run."""
        return failure if self.dead_letters is None else self.dead_letters.add(failure)

    def delay(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt: exponential with full jitter.

        Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        return _uniform(0, min(self.max_backoff, self.backoff * 2 ** min(attempt - 1, 30)))

    def blame(
        self, cause: BaseException, phase: str, item: object = None, index: int | None = None, attempt: int = 1
    ) -> PipelineError:
        """The failure that `cause` makes. Ctrl-C in the main thread, where serial mode runs, is nobody's: it goes on."""
        if isinstance(cause, KeyboardInterrupt) and current_thread() is main_thread():
            raise cause
        return PipelineError(self.stage, phase, item, index, attempt, cause)


class DeadLetters:
    """The items given up in one run, and the judgement of how many are too many. Any thread may call."""

    def __init__(
        self,
        max_failures: float | None,
        callback: Callable[[DeadLetter], object] | None,
        items_read: Callable[[], int],
    ) -> None:
        self.kept: list[DeadLetter] = []  # The first KEPT_DEAD_LETTERS; a callback sees them all.
        self.count = 0
        self._max_failures, self._callback, self._items_read = max_failures, callback, items_read
        self._lock = Lock()

    def add(self, failure: PipelineError) -> PipelineError | None:
        """Give an item up. Returns the failure to stop with, if this was one too many or the callback raised."""
        if not isinstance(failure.__cause__, Exception):
            return failure
        letter = DeadLetter.of(failure)
        with self._lock:
            self.count += 1
            if self.too_many(at_least=FRACTION_FROM):
                return failure
            if len(self.kept) < KEPT_DEAD_LETTERS:
                self.kept.append(letter)
            try:
                logger.warning("skipped: %s", failure, extra={"stage": failure.stage, "item_index": failure.index})
                if self._callback is not None:
                    self._callback(letter)
            except BaseException as error:
                return PipelineError(failure.stage, "on_dead_letter", failure.item, failure.index, cause=error)
        return None

    def too_many(self, at_least: int = 1) -> bool:
        """Whether `max_failures` is passed: a whole number counts items, a float is the share of the items read."""
        limit = self._max_failures
        if isinstance(limit, float):
            limit = limit * max(self._items_read(), at_least)
        return limit is not None and self.count > limit
