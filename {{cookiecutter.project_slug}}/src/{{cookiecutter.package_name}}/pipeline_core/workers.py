"""What the workers of a crew do: they take places, make the calls, and give the places back to the loop of the stage."""

from collections import deque
from collections.abc import Sequence
from threading import get_ident
from typing import Any, Final

from .calls import Calls
from .channel import Channel
from .errors import Failure, tried
from .policy import NOTHING, SPECIAL, Call, Expansion
from .signals import Signal
from .tasks import Place, Stream, Tasks

ANY: Final[Any] = object()  # Stands for whichever place is finished next.
Owner = Any  # The Stage that a crew works for. Its module imports this one.


class Workers:
    """Threads, each with calls of its own to make. What they work on are places, and any thread may `finish` one.

    `most`    places that may be in hand
    `pooled`  the stage's workers are set up in the loop's thread, and serve all threads
    """

    def __init__(self, stage: Owner, callers: Sequence[Calls], most: int, *, pooled: bool) -> None:
        self.lane, self.inbox, self.outbox, self.hands = stage.lane, stage.inbox, stage.outbox, stage.hands
        self.callers = self.served = callers  # `served` are those that have a thread.
        self.size, self.executor = len(callers), callers[0].executor
        self.most, self.pooled, self.ordered = most, pooled, stage.ordered
        self.bell = stage.inbox.bell  # Wakes the loop: for an item, the end, the awaited place, or a worker that left.
        self.window: deque[Place] = deque()  # All places in order; without order, those that have news.
        self.awaited: Any = None  # The place that the loop sleeps for, or ANY.
        self.tasks, self.latest = Tasks(stage.outbox), 0  # What workers take; the last index that was told of (`tell`).
        self.watched = False  # The loop will soon look for items that wait.
        self.broken = False  # A worker has left before the end.
        self.endings = [Channel[Any](self.outbox.capacity) for _ in callers]  # What `finish` gives, by worker.

    def work(self, calls: Calls) -> None:
        """What the thread of a worker does between `setup` and `teardown`."""
        bell, me = Signal(), get_ident()
        place = places = call = None
        try:
            while (place := self.tasks.take(bell, calls.meter)) is not None:
                self.hands[me] = place
                places, call = calls.chunk(place, self)
                if self.tasks.ended:  # What a batch gave is not wanted any more.
                    return
                for place in places:
                    self.make(place, call, calls)
                place = places = call = self.hands[me] = None
        finally:
            place = places = call = None  # The traceback of an error refers to this frame.

    def make(self, place: Place, call: Call, calls: Calls) -> None:
        """Make the calls of a place, as far as the loop has not cut it."""
        policy, todo, done, several = self.lane.policy, place.todo, place.done, len(place.todo) > 1
        item = outcome = None
        try:
            place.meter, self.hands[get_ident()] = calls.meter, place
            if several and calls.streams and self.executor == "thread" and not self.watched:
                self.watched = True
                self.bell.set()
            while todo and not self.tasks.ended:
                try:
                    place.item = item = todo.pop()
                except IndexError:
                    break
                outcome = tried(call, item)
                if id(type(outcome)) in SPECIAL:
                    outcome = policy.outcome(outcome, calls.measured, item, place)
                if type(outcome) is Expansion and calls.streams:
                    self.stream(place, outcome, item)
                else:
                    done.append(outcome)
                if several:
                    place.index, place.attempt = place.index + (type(item) is not Failure), 1
                item = outcome = None
            place.item = NOTHING
            self.finish(place)
        finally:
            del place, todo, done, item, outcome  # The traceback of an error refers to this frame.

    def stream(self, place: Place, expansion: Expansion, item: Any) -> None:
        """Fill a stream with the outputs of an expansion, so that they leave as they come, within its bound."""
        self.new_stream(place).fill(self.lane.policy.outputs(expansion, item, place))

    def new_stream(self, place: Place) -> Stream:
        stream = Stream(max(1, self.inbox.capacity // self.most), self.bell)
        stream.writing, place.expands = place.meter.waits, True
        place.done.append(stream)
        self.tell(place)
        if self.tasks.ended:  # `_end` may not have seen the stream.
            stream.cancel()
        return stream

    def finish(self, place: Place) -> None:
        """Give a place back to the loop. Any thread may call."""
        place.finished = True
        self.tell(place)

    def tell(self, place: Place) -> None:
        """Have the loop look at a place."""
        if not self.ordered:
            self.window.append(place)
        self.latest = place.index  # This store takes the lock of `awaited =`: it stands between outcomes and look.
        awaited = self.awaited
        if awaited is place or awaited is ANY:
            self.awaited = None  # Before the bell rings: the loop sets it anew when it wakes.
            self.bell.set()

    def left(self) -> None:
        """Called when a worker has left. Before the end of the stream, this ends the stage."""
        self.broken = self.broken or not self.tasks.ended
        self.bell.set()

    def cancel(self) -> None:
        """Tell workers elsewhere that the run has stopped."""
        for ending in self.endings:
            ending.cancel()
        for calls in self.callers:
            calls.stop()
