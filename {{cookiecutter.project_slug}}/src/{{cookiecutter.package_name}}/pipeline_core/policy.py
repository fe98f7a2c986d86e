"""What becomes of an item whose call raises: it is tried again, it becomes a dead letter, or it ends the run."""

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass
from math import inf
from random import Random
from threading import Event, Lock
from types import GeneratorType
from typing import Any, Final

from .channel import Closed
from .errors import (
    Barrier,
    DeadLetter,
    FailedItem,
    Failure,
    Passed,
    PipelineError,
    Raised,
    RetryAfter,
    is_ctrl_c,
    release_frames,
    tried,
)
from .pace import Pace


class Nothing:
    """The class of NOTHING."""


NOTHING: Final[Any] = Nothing()  # Stands for no item, or no output: None may be either.
KEPT_DEAD_LETTERS = 1000
SHARE_FROM = 100  # A share of failures is judged of at least this many items.

Call = Callable[[Any], Any]
Hand = Any  # Whoever has an item in hand, a lane or a place of a crew: its `index`, `attempt`, `retried` and `meter`.
uniform = Random().uniform  # Not from the `random` that a stage may have seeded.
logger = logging.getLogger(__name__)


@dataclass(eq=False)
class Expansion:
    """The outcome of a generator: its first output, which belongs to the attempt, and the generator of the rest."""

    first: Any
    rest: Any
    index: int
    attempt: int


@dataclass(eq=False)
class Part:
    """An output of an expansion that a worker of a crew hands on before the others."""

    output: Any


# What is no plain output. By identity: a class of yours may have an equality and a hash of its own.
SPECIAL = frozenset(map(id, (GeneratorType, FailedItem, Raised, Failure, Passed, Expansion, Part, Nothing)))


def _itself(item: Any) -> Any:
    return item


@dataclass(eq=False)
class Policy:
    """How one stage deals with errors: `retries` more attempts, then a dead letter (`skip`) or the end of the run.

    `retry_on`  classes of errors that are tried again, or a predicate
    `backoff`, `max_backoff`
                seconds: the most before the first retry, doubled with each one; and the limit of that
    """

    stage: str
    stop_event: Event
    dead_letters: "DeadLetters"
    pace: Pace
    skip: bool = False
    retries: int = 0
    phase: str = "read"
    retry_on: Any = Exception
    backoff: float = 0.1
    max_backoff: float = 30.0
    whole: Call = _itself  # What an item is that lies elsewhere.

    def outcome(self, given: Any, call: Any, item: Any, hand: Hand) -> Any:
        """What becomes of what the first call gave: an output, None, an Expansion or a Failure.

        An item that failed is tried again with `call`. Raises Closed after a stop.
        """
        try:
            given = self.begun(given, hand)
            while type(given) is Raised:
                given = self.give_up_or_wait(given.take(), item, hand) or self.begun(tried(call, item), hand)
            return self.concluded(given, hand)
        finally:
            given = None  # The traceback of an error refers to this frame.

    def concluded(self, given: Any, hand: Hand) -> Any:
        """What was given at last, where a failure is a Failure."""
        if type(given) is FailedItem:
            return self.failure(given.error, given.item, hand)
        if type(given) is Passed and given.error is not None:
            return Failure(self.blame(given.error, "when", given.item, hand.index))
        return given

    def begun(self, given: Any, hand: Hand) -> Any:
        """A generator is asked for its first output, which belongs to the attempt."""
        if type(given) is not GeneratorType:
            return given
        first = tried(hand.meter.call, next, given, None)
        return first if type(first) is Raised else Expansion(first, given, hand.index, hand.attempt)

    def give_up_or_wait(self, error: BaseException, item: Any, hand: Hand) -> Failure | None:
        """The Failure after the last attempt; None once the pause before the next one is over. Raises Closed after a stop."""
        pause = self.give_up_or_pause(error, item, hand)
        if isinstance(pause, Failure):
            return pause
        if self.stop_event.wait(pause):
            raise Closed
        hand.attempt, hand.retried = hand.attempt + 1, hand.retried + 1
        return None

    def give_up_or_pause(self, error: BaseException, item: Any, hand: Hand) -> Failure | float:
        """The Failure after the last attempt, or the seconds before the next one. Raises Closed after a stop."""
        if isinstance(error, Closed) and self.stop_event.is_set():  # Without a stop, it comes from another pipeline.
            raise Closed  # Not `error`, whose traceback would refer to this frame.
        again, pause = None, self.delay(hand.attempt)
        if isinstance(error, RetryAfter):
            again, pause = True, 0.0  # The pace holds back this attempt, too.
            self.pace.hold(error.seconds)
        if hand.attempt > self.retries or not isinstance(error, Exception):  # SystemExit and the like end the run.
            return self.failure(error, item, hand)
        if type(again := again or tried(self._to_be_tried_again, error)) is Raised:
            return Failure(self.blame(again.take(), "retry_on", item, hand.index, hand.attempt))
        if not again:
            return self.failure(error, item, hand)
        return pause

    def _to_be_tried_again(self, error: Exception) -> object:
        on = self.retry_on
        return bool(isinstance(error, on) if isinstance(on, (type, tuple)) else on(error))

    def delay(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt: exponential with full jitter.

        Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
        """
        return uniform(0, min(self.max_backoff, self.backoff * 2 ** min(attempt - 1, 30)))

    def outputs(self, outcome: Any, item: Any, hand: Hand) -> Generator[Any, None, None]:
        """Yield the outputs of an outcome and, if it has failed, a Failure behind them."""
        if type(outcome) is not Expansion:
            if type(outcome) is Part:
                yield outcome.output
            elif outcome is not None and outcome is not NOTHING:
                yield outcome
            return
        output, outcome.first, given = outcome.first, None, 0
        try:
            while not (type(output) is Raised and type(output.error) is StopIteration):
                if type(output) is Raised:
                    output = self.failure(output.take(), item, outcome, given)
                elif type(output) is FailedItem:
                    output = self.failure(output.error, output.item, outcome, given)
                if output is not None:
                    yield output
                    if type(output) is Failure:
                        return
                    given += 1
                elif self.stop_event.is_set():
                    raise Closed
                output = None  # It is not kept while the next one is computed.
                output = tried(hand.meter.call, next, outcome.rest)
        finally:
            output = None  # The traceback of an error refers to this frame.
            if type(closed := tried(outcome.rest.close)) is Raised:
                logger.error("a generator raised when it was closed", exc_info=closed.take())

    def judge(self, failure: Failure) -> Failure | None:
        """Make a dead letter of it, or raise the PipelineError that ends the run. A failure that is returned goes on in its place.

        Where `max_failures` is set in an ordered run, failures travel to the end of the pipeline, so that the order of the
        items decides which of them is one too many.
        """
        if not self.skip or not isinstance(failure.error.__cause__, Exception):
            raise failure.error
        if self.dead_letters.travel:
            self.dead_letters.travelling[failure] = None
            return failure
        self.dead_letters.add(failure.error)
        return None

    def failure(self, cause: BaseException, item: Any, hand: Hand, given: int = 0) -> Failure:
        error = self.blame(cause, self.phase, item, hand.index, hand.attempt)
        error.given = given
        return Failure(error)

    def blame(
        self, cause: BaseException, phase: str, item: object = None, index: int | None = None, attempt: int = 1
    ) -> PipelineError:
        """A PipelineError with this cause. Ctrl-C is raised instead, and Closed after a stop: they are no item's failure."""
        if is_ctrl_c(cause):
            raise cause
        if isinstance(cause, Closed) and self.stop_event.is_set():  # Without a stop, it comes from another pipeline.
            raise Closed  # Not `cause`, whose traceback would refer to this frame.
        if self.skip:
            release_frames(cause)
        return PipelineError(self.stage, phase, self.whole(item), index, attempt, cause)


class DeadLetters:
    """The dead letters of one run, which decide when there are too many. Any thread may call.

    `max_failures`  a count, or a share from 0.0 to 1.0 of the items that the failing stage has received so far
    `travel`        whether failures travel to the end of the pipeline, and are added there
    `origin`        tells, for a stage and an item's position there, the position of the source's item that it came from
    """

    origin: Callable[[str, int | None], int | None] | None = None

    def __init__(
        self, max_failures: float | None, callback: Callable[[DeadLetter], object] | None, *, ordered: bool
    ) -> None:
        self.kept: list[DeadLetter] = []  # The first KEPT_DEAD_LETTERS; the callback sees all.
        self.count = 0
        self.travel = ordered and max_failures is not None
        self.travelling: dict[Failure, None] = {}  # Failures that have not arrived; an ordered set.
        self._max_failures, self._callback = max_failures, callback
        self._lock = Lock()

    def add(self, failure: PipelineError) -> None:
        """Add a dead letter. Raises the PipelineError that ends the run: it was one too many, or the callback raised."""
        with self._lock:
            self.count += 1
            if self.too_many(inf if failure.index is None else max(failure.index + 1, SHARE_FROM)):
                raise failure
            origin = self.origin_of(failure.stage, failure.index)
            raised = tried(self._tell, failure, DeadLetter.of(failure, origin))
        if type(raised) is Raised:
            raise PipelineError(failure.stage, "on_dead_letter", failure.item, failure.index, cause=raised.take())

    def _tell(self, failure: PipelineError, letter: DeadLetter) -> None:
        if len(self.kept) < KEPT_DEAD_LETTERS:
            self.kept.append(letter)
        logger.warning("skipped: %s", failure, extra={"stage": failure.stage, "item_index": failure.index})
        if self._callback is not None:
            self._callback(letter)

    def origin_of(self, stage: str, index: int | None) -> int | None:
        """The position of the source's item that this item of the stage came from; None where that is not known."""
        origin = self.origin
        return None if origin is None else origin(stage, index)

    def arrives(self, result: Any) -> bool:
        """Whether this is a failure that has travelled here, which is then added, or a Barrier."""
        if type(result) is not Failure:
            return False
        if type(result.error) is Barrier:
            if type(raised := tried(result.error.reached)) is Raised:
                raise PipelineError("source", "a Barrier", cause=raised.take())
            return True
        self.travelling.pop(result, None)
        self.add(result.error)
        return True

    def too_many(self, items: float) -> bool:
        """Whether there are more than `max_failures`, of this many items."""
        limit = self._max_failures
        return limit is not None and self.count > (limit * items if isinstance(limit, float) else limit)
