"""How the calls into one worker are made: for an item, or for a batch."""

from collections import deque
from collections.abc import Collection
from functools import partial
from threading import Event
from typing import Any

from .channel import Closed
from .clocks import Meter
from .errors import Failure, is_ctrl_c, short
from .policy import Call

MOST = 128  # Items that are worked on together.


class Calls:
    """How the calls of one worker are made: `one` for an item, `measured` with its time taken, `batch` for several."""

    executor = "thread"
    together, alone = 1.5e-4, 1e-5  # Seconds; see `most`.

    def __init__(self, worker: Any, method: str, meter: Meter, stop_event: Event, *, travel: bool) -> None:
        self.worker, self.meter, self._stop_event = worker, meter, stop_event
        self.batches = method == "process_batch"
        self.one: Call = self._batch_of_one if self.batches else getattr(worker, method)
        if travel:
            self.one = unless_failed(self.one)
        self.measured: Call = partial(meter.call, self.one)
        self.streams = not self.batches  # Whether outputs of an expansion leave as they come.

    def batch(self, items: Collection[Any]) -> Call:
        """Process the batch, and return what to call for each of its items: it gives their outputs, or tries each item alone."""
        wanted = [item for item in items if type(item) is not Failure]
        number = len(wanted)  # The list is the worker's, once it has it.
        if not self.batches or number < 2:
            return self.measured
        try:
            outputs = deque(self.meter.call(self._checked, wanted, items=number))
            return unless_failed(lambda item: outputs.popleft())
        except BaseException as error:
            if is_ctrl_c(error):
                raise
            self.worker.logger.debug("a batch of %d failed: %s; each is tried alone", number, short(error))
            errors = [None] * (number - 1) + [None if isinstance(error, Exception) else error]
        return unless_failed(partial(self._alone, deque(errors)))

    def most(self, each: float, lying: int, size: int) -> int:
        """How many calls to make together, of those that lie there for `size` workers and take `each` seconds.

        None waits for the others for more than `together` seconds; and at most a worker's share of them or, if that is
        more, `alone` seconds' worth, which is not worth to be shared.
        """
        share = max(-(-lying // size), int(self.alone / each))
        return max(1, min(1 + int(self.together / each), share, MOST))

    def chunk(self, place: Any, crew: Any) -> tuple[list[Any], Call]:
        """The places of a crew that are worked on together, this one first, and what to call for each of their items."""
        if self.batches:
            return [place], self.batch(place.items)
        number = len(place.todo)
        if number > self.meter.unmeasured:
            return [place], self.measured
        self.meter.unmeasured -= number
        return [place], self.one

    def sub_tasks(self, chunk: list[Any]) -> Call:
        """What to call for each of these sub-tasks of a pool: pairs of a job and a position there."""
        return self.measured

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
        if self._stop_event.is_set():
            raise Closed
        if (error := errors.popleft()) is not None:
            raise error
        return self.measured(item)


def unless_failed(call: Call) -> Call:
    """The same call, but a failure of an earlier stage passes."""
    return lambda item: item if type(item) is Failure else call(item)
