"""Several workers of one stage: its loop submits places to them, and takes the outcomes back in the order of the items."""

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import suppress
from functools import partial
from inspect import isgeneratorfunction
from itertools import chain
from threading import get_ident
from time import perf_counter
from typing import Any, Final

from .channel import Channel, Closed, Signal
from .clocks import Meter, Waits
from .errors import Failure, tried
from .lane import Bursts, Calls, drained
from .policy import NOTHING, SPECIAL, Call, Expansion, Part

ANY: Final[Any] = object()  # Stands for whichever place is finished next.
Owner = Any  # The Stage that a crew works for. Its module imports this one.


class Place:
    """The items of one call of a crew. It belongs to its worker until `outcomes` is set, and then to the loop."""

    __slots__ = ("attempt", "index", "items", "left", "meter", "outcomes", "retried")
    meter: Meter  # Of the thread that works on it.
    left: Any  # Of an expansion: NOTHING if it gave something, a Failure if it failed, else None.
    outcomes: Any  # A list: one for each item, or the stream of an expansion.

    def __init__(self, items: list[Any], index: int) -> None:
        self.items, self.index, self.retried, self.attempt, self.outcomes = items, index, 0, 1, None


class Crew:
    """Threads, each with calls of its own to make. What they work on are places, and any thread may `finish` one.

    Only the loop of the stage, which gets its bursts here, reads the inbox, counts, judges and keeps the order. How it and the
    workers meet without a lock for each item, and why nobody sleeps for ever, is told in the README: store first, look
    second.

    `most`  places that may be in hand: one for each worker, and as many more as the stage's queue is long. Expansions, whose
            outputs wait for their turn in a stream each, are two for each worker
    """

    shares_workers = False  # Whether the workers are set up in the loop's thread, and serve all threads of the crew.

    def __init__(self, stage: Owner, callers: Sequence[Calls], most: int, ordered: bool) -> None:
        self.lane, self.inbox, self.outbox, self.hands = stage.lane, stage.inbox, stage.outbox, stage.hands
        self.callers, self.size, self.executor = callers, len(callers), callers[0].executor
        self.most, self.ordered = most, ordered
        self.batch_size: int = 1
        self.batch_timeout: float | None = None
        # Who is set up in each thread, what it measures, and what it does.
        self.members = [(calls.worker, calls.meter, partial(self.work, calls)) for calls in callers]
        self.bell = stage.inbox.bell  # Wakes the loop: for an item, the end, the awaited place, or a worker that left.
        self.ordering = Waits()  # Of the loop, for the head of the order.
        self.in_hand: set[Place] = set()
        self.window: deque[Place] = deque()  # To be handed on: in the order of the items, or as they are finished.
        self.streaming: list[Place] = []  # Expansions that are being handed on.
        self.awaited: Any = None  # The place that the loop sleeps for, or ANY.
        self.latest = 0  # The index of the place finished last; see `finish`.
        self.tasks: deque[Any] = deque()  # What workers take.
        self.idle: deque[Signal] = deque()  # The bells of the workers that sleep.
        self.taken = 0  # Items that came in.
        self.ended = self.broken = False  # The loop has left; a worker has left before the end.
        self._batch: list[Any] = []  # The next place.
        self._deadline: float | None = None  # When it must be submitted, complete or not.
        self._items, self._outcomes = deque[Any](), deque[Any]()  # What is being handed on.
        popleft = self._outcomes.popleft
        self._outcome: Call = lambda item: popleft()

    # What the loop does.

    def run(self) -> Generator[Any, None, None]:
        """The loop of the stage, where others make the calls."""
        return self.lane.run(self.bursts())  # type: ignore[no-any-return]

    def bursts(self) -> Bursts:
        """What the loop hands on next, again and again, until all is done. What is in hand then is aborted."""
        try:
            while not self.outbox.closed:  # Else what is finished would be gathered for nobody.
                ended, nothing_ready = self._fill(), True
                self.awaited = (self.window[0] if self.window else None) if self.ordered else ANY
                for burst in self._ready():
                    nothing_ready = False
                    yield burst
                if nothing_ready:
                    if self.broken or (ended and not self.in_hand):
                        return
                    self._sleep()
        finally:
            self._end()

    def _fill(self) -> bool:
        """Submit the items in the inbox, up to the most that may be in hand. Returns whether the stream has ended.

        If room is left, the bell will ring for the next item and for the end.
        """
        ended, size = False, self.batch_size
        try:
            while (
                not self.outbox.closed
                and (room := (self.most - len(self.in_hand)) * size - len(self._batch)) > 0
                and self.inbox.ready()
            ):
                if size == 1:
                    for item in self.inbox.burst(room)[1]:
                        self._batch.append(item)
                        self._submit()
                    continue
                self._batch.extend(self.inbox.burst(size - len(self._batch))[1])
                if len(self._batch) == size:
                    self._submit()
        except Closed:
            ended = True
        if self._batch:
            if self._deadline is None and self.batch_timeout is not None:
                self._deadline = perf_counter() + self.batch_timeout
            if ended or (self._deadline is not None and perf_counter() >= self._deadline):
                self._submit()
        if self.tasks:
            self.wake_one()
        return ended

    def _submit(self) -> None:
        place = Place(self._batch, self.taken)
        self.taken += len(self._batch)
        if self.lane.policy.dead_letters.travel:  # A failure of an earlier stage is no item of this one.
            self.taken -= sum(type(item) is Failure for item in self._batch)
        self._batch, self._deadline = [], None
        self.in_hand.add(place)
        if self.ordered:
            self.window.append(place)
        self.tasks.append(place)

    def _ready(self) -> Bursts:
        """What can be handed on now: the outcomes of finished places, and the outputs that lie in streams."""
        while self.window and self.window[0].outcomes is not None and not (self.ordered and self.streaming):
            place, self.awaited = self.window.popleft(), None
            self.lane.retried += place.retried
            if type(place.outcomes[0]) is Channel:
                self.streaming.append(place)
            else:
                self._take_back(place, place.outcomes)
        if self._items:
            yield self._outcome, drained(self._items)
        for place in list(self.streaming):
            stream = place.outcomes[0]
            try:
                if stream.ready():
                    yield Part, stream.burst(len(stream))[1]
            except Closed:
                self.streaming.remove(place)
                self._take_back(place, [place.left])
                yield self._outcome, drained(self._items)

    def _take_back(self, place: Place, outcomes: list[Any]) -> None:
        self.in_hand.remove(place)
        self._items.extend(place.items)
        self._outcomes.extend(outcomes)
        place.items.clear()  # Each is let go of when it has been handed on.
        outcomes.clear()

    def _sleep(self) -> None:
        waits = self.inbox.reading if len(self.in_hand) < self.most else self.ordering
        start = waits.begin()
        self.bell.wait(None if self._deadline is None else self._deadline - perf_counter())
        waits.end(start)

    def _end(self) -> None:
        """Count what is in hand as aborted, and end the streams."""
        self.inbox.cancel()
        self.dismiss()
        self.lane.abandon([*self._items, *self._batch, *chain.from_iterable([place.items for place in self.in_hand])])
        for place in self.in_hand:
            if place.outcomes and type(place.outcomes[0]) is Channel:
                place.outcomes[0].cancel()

    def dismiss(self) -> None:
        """Tell the workers to leave."""
        self.ended = True
        self.tasks.clear()
        while self.wake_one():
            pass

    def forget(self) -> None:
        """Drop all references to items, after the workers have left."""
        for places in self.window, self.in_hand, self.streaming, self._batch, self._items, self._outcomes:
            places.clear()
        self.awaited = None

    # What workers do.

    def work(self, calls: Calls) -> None:
        """What the thread of a worker does between `setup` and `teardown`."""
        bell, policy, me = Signal(), self.lane.policy, get_ident()
        while (place := self.next_task(bell, calls.meter)) is not None:
            self.hands[me] = place
            places, call = calls.chunk(place, self)
            if self.ended:  # What a batch gave is not wanted any more.
                return
            for place in places:
                place.meter, self.hands[me], outcomes = calls.meter, place, []
                for item in place.items:
                    place.attempt, outcome = 1, tried(call, item)
                    if id(type(outcome)) in SPECIAL:
                        outcome = policy.outcome(outcome, calls.measured, item, place)
                    outcomes.append(outcome)
                    if len(place.items) > 1:
                        place.index += type(item) is not Failure
                self.hand_over(place, outcomes)
            self.hands[me] = None
            del place, places, outcomes, outcome, item, call

    def next_task(self, bell: Signal, meter: Meter) -> Any:
        """Wait for the next task, and return it; None at the end."""
        tasks, idle = self.tasks, self.idle
        while not (self.ended or self.outbox.closed):
            try:
                task = tasks.popleft()
            except IndexError:
                start = meter.waits.begin()
                idle.append(bell)
                if tasks or self.ended:  # They came before the bell was there, and rang nobody.
                    self.wake_one()
                bell.wait()
                meter.waits.end(start)
            else:
                if tasks and idle:
                    self.wake_one()  # It does the same, so that one ring is enough for many tasks.
                return task
        return None

    def more_tasks(self, most: int) -> list[Any]:
        """Take up to this many more tasks, without waiting."""
        found: list[Any] = []
        with suppress(IndexError):
            while len(found) < most:
                found.append(self.tasks.popleft())
        return found

    def add_task(self, task: Any) -> None:
        """Put a task in front of the others."""
        self.tasks.appendleft(task)
        self.wake_one()

    def wake_one(self) -> bool:
        """Wake one worker, after a task was added. Returns False if none sleeps: only this `popleft`, with its lock, may say so."""
        try:
            self.idle.popleft().set()
        except IndexError:
            return False
        return True

    def hand_over(self, place: Place, outcomes: list[Any]) -> None:
        """Finish the place. An expansion gets a channel, which is then filled: outputs leave as they come, within its bound."""
        if type(outcomes[0]) is not Expansion or len(outcomes) > 1:
            self.finish(place, outcomes)
            return
        stream: Channel[Any] = Channel(max(1, self.inbox.capacity // self.most), self.bell)
        stream.writing = place.meter.waits
        self.finish(place, [stream])
        if self.ended:  # `_end` may not have seen the stream.
            stream.cancel()
        stream.put_all(self._streamed(outcomes.pop(), place))
        stream.close()

    def _streamed(self, expansion: Expansion, place: Place) -> Generator[Any, None, None]:
        """The outputs of an expansion. What is left for its item is then in its place."""
        place.left = None
        for output in self.lane.policy.outputs(expansion, place.items[0], place):
            place.left = output if type(output) is Failure else NOTHING
            if place.left is NOTHING:
                yield output
            del output

    def finish(self, place: Place, outcomes: list[Any]) -> None:
        """Give a place back to the loop. Any thread may call."""
        place.outcomes = outcomes
        if not self.ordered:
            self.window.append(place)
        self.latest = place.index  # This store takes the lock of `awaited =`: it stands between outcomes and look.
        awaited = self.awaited
        if awaited is place or awaited is ANY:
            self.awaited = None  # Before the bell rings: the loop sets it anew when it wakes.
            self.bell.set()

    def left(self) -> None:
        """Called when a worker has left. Before the end of the stream, this ends the stage."""
        self.broken = self.broken or not self.ended
        self.bell.set()

    def cancel(self) -> None:
        """End the expansions: their outputs will not be read."""
        for calls in self.callers:
            calls.stop()


def build_crew(stage: Owner, ordered: bool) -> Crew:
    """The crew of a stage with several workers, or of one in child processes."""
    spec = stage.spec
    if spec.executor == "process":
        from .children import Child  # Imported here: it takes 20 ms, and few pipelines need it.

        callers: list[Calls] = [Child(stage, index) for index in range(spec.workers)]
    else:
        callers = [stage.calls(worker) for worker in stage.workers]
    expands, most = isgeneratorfunction(spec.worker_class.process_item), stage.inbox.capacity // (spec.batch_size or 1)
    return Crew(stage, callers, len(callers) + (len(callers) if expands else most), ordered)
