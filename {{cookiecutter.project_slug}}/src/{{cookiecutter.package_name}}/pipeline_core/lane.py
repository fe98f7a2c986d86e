"""The loop of a stage, and the lanes on which it gets its items. One thread does all of it, and counts."""

from collections import deque
from collections.abc import Collection, Generator, Iterable, Iterator
from contextlib import closing, suppress
from functools import partial
from itertools import islice, repeat, starmap
from operator import is_
from queue import Empty
from threading import Event
from time import perf_counter
from typing import Any

from .channel import Channel, Closed
from .clocks import Meter
from .errors import Failure, PipelineError, Raised, is_ctrl_c, short
from .policy import NOTHING, SPECIAL, Call, Part, Policy

Bursts = Generator[tuple[Call, Iterable[Any]], None, None]  # What to call, and the items to call it for.
MOST = 128  # Items that are worked on together.
COUNTERS = ("processed", "filtered", "failed", "aborted", "retried")


class Calls:
    """How the calls of one worker are made: `one` for an item, `measured` with its time taken, `batch` for several."""

    executor = "thread"
    together, alone = 5e-5, 1e-5  # Seconds; see `most`.

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

        At most `together` seconds' worth; and a worker's share of them or, if that is more, `alone` seconds' worth, which
        is not worth to be shared.
        """
        share = max(-(-lying // size), int(self.alone / each))
        return max(1, min(int(self.together / each), share, MOST))

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


class Lane:
    """How a stage with one worker gets its items: it waits for one, measures its call, and takes more that are there.

    `surplus` counts the outputs beyond one for each processed item. `travelled` counts the failures of earlier stages that
    passed on their way to the end of the pipeline, and `parts` the outputs of expansions that came one by one: neither
    are items.
    """

    processed = filtered = failed = aborted = retried = surplus = travelled = parts = 0
    attempt = 1  # At the item in hand.

    def __init__(self, inbox: Channel[Any], policy: Policy, calls: Any = None) -> None:
        self.inbox, self.policy, self.calls = inbox, policy, calls  # No calls: a crew makes them.
        self.meter: Meter = Meter() if calls is None else calls.meter

    @property
    def received(self) -> int:
        return self.inbox.taken - self.travelled

    @property
    def emitted(self) -> int:
        return self.processed + self.surplus

    @property
    def index(self) -> int:
        """The position of the item in hand among those that the stage received, from 0."""
        return self.processed + self.filtered + self.failed + self.aborted

    def run(self, bursts: Bursts) -> Generator[Any, None, None]:
        """The loop of every stage: yields its outputs, one after another, and ends with the items.

        Closed is thrown in at an output that nobody wants.
        """
        item = output = NOTHING
        try:
            for call, items in bursts:
                for item in items:
                    try:
                        output = call(item)
                    except BaseException as error:
                        output = Raised(error)
                    if output is None:
                        self.filtered += 1
                    elif id(type(output)) in SPECIAL:
                        outputs = self.hand_on(output, item)
                        item = output = NOTHING  # The item is counted there.
                        yield from outputs
                    else:
                        yield output
                        self.processed += 1
                    item = output = NOTHING  # Nothing is kept while the next item is waited for.
        finally:
            bursts.close()
            if item is not NOTHING:
                self.abandon([item])
            del item, output

    def bursts(self) -> Bursts:
        """What the loop does next, again and again. Raises Closed at the end of the stream."""
        inbox, meter, call, measured, once = self.inbox, self.meter, self.calls.one, self.calls.measured, ((),)
        while True:
            yield measured, starmap(inbox.get, once)
            if meter.unmeasured:
                number, burst = inbox.burst(meter.unmeasured)
                meter.unmeasured -= number
                yield call, burst

    def hand_on(self, given: Any, item: Any) -> Generator[Any, None, None]:
        """Yield the outputs of what a call gave, and count the item. Raises the PipelineError that ends the run."""
        counter = "parts" if type(given) is Part else "aborted"
        try:
            if type(item) is Failure:  # A failure of an earlier stage, on its way to the end.
                counter = "travelled"
                yield item
                return
            self.attempt = 1
            outcome = self.policy.outcome(given, self.calls and self.calls.measured, item, self)
            last = NOTHING if outcome is NOTHING else None
            with closing(self.policy.outputs(outcome, item, self)) as outputs:
                for output in outputs:
                    last = output if type(output) is Failure else NOTHING
                    if last is NOTHING:
                        yield output
                        self.surplus += 1
                    del output
            if last is None:
                counter = "filtered"
            elif type(last) is not Failure:
                if counter == "aborted":
                    counter = "processed"
                    self.surplus -= 1  # One of the outputs that were counted is the item's own.
            else:
                counter = "failed"
                if (travelling := self.policy.judge(last)) is not None:
                    yield travelling
        finally:
            setattr(self, counter, getattr(self, counter) + 1)
            outcome = last = None  # The traceback of an error may refer to this frame.

    def abandon(self, items: Collection[Any]) -> None:
        """Count items that will not be processed as aborted."""
        travelled = sum(map(is_, map(type, items), repeat(Failure)))  # Quick: there may be a million.
        self.aborted += len(items) - travelled
        self.travelled += travelled


class BatchLane(Lane):
    """How a stage with one worker gets its batches."""

    def __init__(
        self, inbox: Channel[Any], policy: Policy, calls: Any, size: int, timeout: float | None = None
    ) -> None:
        super().__init__(inbox, policy, calls)
        self.size, self.timeout = size, timeout

    def bursts(self) -> Bursts:
        items: deque[Any] = deque()
        try:
            while True:
                self.gather(items)
                yield self.calls.batch(list(items)), drained(items)
        finally:
            self.abandon(items)

    def gather(self, items: deque[Any]) -> None:
        """Add the items of the next batch, one or more. Raises Closed at the end of the stream."""
        items.append(self.inbox.get())
        deadline = None if self.timeout is None else perf_counter() + self.timeout
        with suppress(Closed, Empty):
            while len(items) < self.size:
                items.append(self.inbox.get(None if deadline is None else deadline - perf_counter()))
        if self.inbox.cancelled:
            raise Closed


class SerialLane(BatchLane):
    """How the plain loop gets its items: from the generator of the stage before, in the caller's thread."""

    items: Generator[Any, None, None]
    received = 0
    failure: PipelineError | None = None  # What ended the items.

    def gather(self, items: deque[Any]) -> None:
        try:
            items.extend(islice(self.items, self.size))
        except PipelineError as error:
            self.failure = error  # What came before it is in `items`, and is worked on first.
        self.received += sum(type(item) is not Failure for item in items)
        if self.policy.stop_event.is_set():
            raise Closed
        if not items:
            raise self.failure or Closed


def drained(items: deque[Any]) -> Iterator[Any]:
    """An iterator over the items. Each leaves the deque when it is yielded."""
    return starmap(items.popleft, repeat((), len(items)))
