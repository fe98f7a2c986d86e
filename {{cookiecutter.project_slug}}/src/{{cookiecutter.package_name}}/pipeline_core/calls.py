"""How the calls into one worker are made: for an item, or for a batch."""

from collections import deque
from collections.abc import Collection
from functools import partial
from itertools import count
from typing import Any

from .channel import Closed
from .clocks import Meter
from .errors import Failure, Passed, Raised, RetryAfter, short, tried
from .pace import Pace
from .policy import Call, Hand

MOST = 128  # Items that are worked on together.
# A failure of an earlier stage, on its way to the end, and an item that `when` lets pass.
PASSING = frozenset(map(id, (Failure, Passed)))


class Calls:
    """How the calls of one worker are made: `one` for an item, `measured` with its time taken, `batch` for several.

    `passing`  whether there may be a Passed among the items of a burst. A Failure comes to `measured` and `batch` alone.
    """

    executor, apart = "thread", False  # Whether calls are made in another process.
    together, alone = 1.5e-4, 1e-5  # Seconds; see `most`.
    limited = False  # Whether each call has a time limit.

    def __init__(
        self, worker: Any, method: str, meter: Meter, pace: Pace, *, retries: int | None = None, passing: bool = False
    ) -> None:
        self.worker, self.method, self.meter, self.pace, self._retries = worker, method, meter, pace, retries
        self.batches = method == "process_batch"
        self.one: Call = self._batch_of_one if self.batches else getattr(worker, method)
        self.measured = unless_passing(pace.paced(partial(meter.call, self.one)))
        if pace.rate is not None:
            self.one = pace.paced(self.one)
        if passing:
            self.one = unless_passing(self.one)
        self.streams = not self.batches  # Whether outputs of an expansion leave as they come.

    def batch(self, items: Collection[Any], hand: Hand) -> Call:
        """Process the batch, and return what to call for each of its items: it gives their outputs, or tries each item alone.

        After RetryAfter the whole batch is tried again, `retries` times.
        """
        wanted = [item for item in items if id(type(item)) not in PASSING]
        number = len(wanted)
        if not self.batches or number < 2:
            return self.measured
        for attempt in count(1):
            self.pace.wait()
            outputs = tried(lambda: deque(self.meter.call(self._checked, [*wanted], items=number)))
            if type(outputs) is not Raised:
                return unless_passing(partial(_next_of, outputs))
            error = outputs.take()
            if self._retries is None and isinstance(error, Exception):  # In a child process: the parent tries again.
                try:
                    raise error
                finally:
                    del error
            if self._retries is None or not isinstance(error, RetryAfter):
                break
            self.pace.hold(error.seconds)
            if attempt > self._retries:
                break
            hand.retried += number
        self.worker.logger.debug("a batch of %d failed: %s; each is tried alone", number, short(error))
        errors = [None] * (number - 1) + [None if isinstance(error, Exception) else error]
        del error  # Its traceback refers to this frame.
        return unless_passing(partial(self._alone, deque(errors)))

    def most(self, each: float, lying: int, size: int) -> int:
        """How many calls to make together, of those that lie there for `size` workers and take `each` seconds.

        None waits for the others for more than `together` seconds; and at most a worker's share of them or, if that is
        more, `alone` seconds' worth, which is not worth to be shared.
        """
        if self.pace.rate is not None or self.pace.holds or self.limited:
            return 1
        share = max(-(-lying // size), int(self.alone / each))
        return max(1, min(1 + int(self.together / each), share, MOST))

    def chunk(self, place: Any, crew: Any) -> tuple[list[Any], Call]:
        """The places of a crew that are worked on together, this one first, and what to call for each of their items."""
        if self.batches:
            return [place], self.batch(place.items, place)
        number = len(place.todo)
        if number > self.meter.unmeasured or self.pace.holds:
            return [place], self.measured
        self.meter.unmeasured -= number
        return [place], self.one

    def sub_tasks(self, chunk: list[Any]) -> Call:
        """What to call for each of these sub-tasks of a pool: pairs of a job and a position there."""
        return self.measured

    def finish(self) -> Any:
        """What the worker still has to give at the end of the stream."""
        return self.worker.finish()

    def stop(self) -> None:
        """Tell a worker elsewhere that the run has stopped."""

    def _checked(self, items: list[Any]) -> list[Any]:
        number = len(items)
        outputs = list(self.worker.process_batch(items))
        if len(outputs) != number:
            raise ValueError(f"process_batch() returned {len(outputs)} outputs for {number} items")
        return outputs

    def _batch_of_one(self, item: Any) -> Any:
        return self._checked([item])[0]

    def _alone(self, errors: deque[BaseException | None], item: Any) -> Any:
        """Try an item of a failed batch. An error that is no Exception is raised at the last item, if none raised it alone."""
        if self.pace.stop_event.is_set():
            raise Closed
        if (error := errors.popleft()) is not None:
            raise error
        return self.measured(item)


def unless_passing(call: Call) -> Call:
    """The same call, but what only passes the stage is its own outcome."""
    return lambda item: item if id(type(item)) in PASSING else call(item)


def _next_of(outputs: deque[Any], item: Any) -> Any:
    return outputs.popleft()
