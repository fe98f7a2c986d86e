"""The loop of a stage, which one thread runs: it gets the items, hands on the outputs, and counts."""

from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import closing
from itertools import repeat, starmap
from operator import is_
from typing import Any

from .channel import Channel
from .clocks import Meter
from .errors import Failure, Passed, Raised
from .lineage import Lineage
from .policy import NOTHING, SPECIAL, Call, Part, Policy

Bursts = Generator[tuple[Call, Iterable[Any]], None, None]  # What to call, and the items to call it for.
COUNTERS = ("processed", "filtered", "failed", "aborted", "passed", "retried")


class Lane:
    """How a stage with one worker gets its items: it waits for one, measures its call, and takes more that are there.

    `surplus` counts the outputs beyond one for each processed item. `travelled` counts the failures of earlier stages that
    passed on their way to the end of the pipeline, and `parts` the outputs of expansions that came one by one: neither
    are items.
    """

    processed = filtered = failed = aborted = passed = retried = surplus = travelled = parts = 0
    attempt = 1  # At the item in hand.
    announce: Callable[[], object] = bool  # Called before a failure is handed on. In the plain loop nobody needs it.

    def __init__(self, inbox: Channel[Any], policy: Policy, calls: Any = None) -> None:
        self.inbox, self.policy, self.calls = inbox, policy, calls  # No calls: a crew makes them.
        self.meter: Meter = Meter() if calls is None else calls.meter
        self.lineage = Lineage()

    @property
    def received(self) -> int:
        return self.inbox.taken - self.travelled

    @property
    def emitted(self) -> int:
        return self.processed + self.passed + self.surplus

    @property
    def index(self) -> int:
        """The position of the item in hand among those that the stage received, from 0."""
        return self.processed + self.filtered + self.failed + self.aborted + self.passed

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
                        self.note()
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
            yield measured, starmap(inbox.get, once)  # It waits when the loop asks for it, and holds nothing.
            if meter.unmeasured and inbox and not self.policy.pace.holds:
                number, burst = inbox.burst(meter.unmeasured)
                meter.unmeasured -= number
                yield call, burst

    def hand_on(self, given: Any, item: Any) -> Generator[Any, None, None]:
        """Yield the outputs of what a call gave, and count the item. Raises the PipelineError that ends the run."""
        counter = "parts" if type(given) is Part else "aborted"
        try:
            if type(item) is Failure:  # A failure of an earlier stage, on its way to the end.
                counter = "travelled"
                self.announce()
                yield item
                return
            if type(given) is Passed and given.error is None:
                yield given.item
                counter = "passed"
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
                        if counter != "parts":  # Else it is counted below.
                            self.note()
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
                    self.announce()
                    yield travelling
        finally:
            setattr(self, counter, getattr(self, counter) + 1)
            self.note()
            outcome = last = None  # The traceback of an error may refer to this frame.

    def note(self) -> None:
        """Note from which item the next output comes."""
        self.lineage.note(self.emitted, self.index + (0 if self.lineage.ordered else self.parts))

    def abandon(self, items: Collection[Any]) -> None:
        """Count items that will not be processed as aborted."""
        self.travelled += (travelled := travellers(items))
        self.aborted += len(items) - travelled


def travellers(items: Collection[Any]) -> int:
    """How many of them are failures of earlier stages, on their way to the end."""
    return sum(map(is_, map(type, items), repeat(Failure)))  # Quick: there may be a million.


def drained(items: deque[Any]) -> Iterator[Any]:
    """An iterator over the items. Each leaves the deque when it is yielded."""
    return starmap(items.popleft, repeat((), len(items)))
