"""Several workers of one stage: its loop submits places to them, and takes the outcomes back in the order of the items."""

from collections import deque
from collections.abc import Generator, Sequence
from functools import partial
from itertools import chain, groupby, islice, repeat, starmap
from time import perf_counter
from typing import Any

from .calls import Calls
from .channel import Closed
from .clocks import Waits
from .errors import Barrier, Failure
from .lane import Bursts, drained, travellers
from .policy import Call, Part
from .tasks import Place, Stream
from .workers import ANY, Owner, Workers

PATIENCE = 1e-3  # Seconds between two looks whether items wait for one another in a place.


class Crew(Workers):
    """Workers, and what the loop of their stage does with them.

    Only the loop of the stage, which gets its bursts here, reads the inbox, counts, judges and keeps the order. How it
    and the workers meet without a lock for each item, and why nobody sleeps for ever, is told in the README: store first,
    look second.

    Items whose calls take microseconds share a place. Where one of them takes much longer, the loop gives the others to
    other workers.

    `most`    places that may be in hand: one for each worker, and as many more as the stage's queue is long. Expansions,
              whose outputs wait for their turn in a stream each, are two for each worker
    `singly`  no two items share a place
    `fixed`   never more than `most`: else quick items for child processes may be, so that the next ones lie ready
    """

    def __init__(
        self, stage: Owner, callers: Sequence[Calls], most: int, *, singly: bool, pooled: bool, fixed: bool = False
    ) -> None:
        super().__init__(stage, callers, most, pooled=pooled)
        self.singly, self.apart = singly, callers[0].apart
        self.roomy = self.apart and not fixed
        self.batch_size, self.batch_timeout = stage.spec.batch_size or 1, stage.spec.batch_timeout
        stage.lane.lineage.ordered = self.ordered
        self.ordering = Waits()  # Of the loop, for the head of the order.
        self.in_hand, self.held = set[Place](), 0  # And how many items these are.
        self.told: list[Place] = []  # Without order: those from the window that are not finished.
        # Without order: places in hand, and what is between.
        self.epochs, self.barriers = deque([set[Place]()]), deque[Any]()
        self.received, self.complete = 0, False  # Items that came in; all of the stream is done.
        self._batch: list[Any] = []  # The next place.
        self._deadline: float | None = None  # When it must be submitted, complete or not.
        self._waiting, self._looked = set[Place](), 0.0  # Places in which items waited at the last look, and its time.
        self._least = 1  # Items that there must be room for, so that no chunk is tiny because little room was left.
        self._items, self._outcomes = deque[Any](), deque[Any]()  # What is being handed on.
        self._outcome: Call = partial(next, starmap(self._outcomes.popleft, repeat(())))  # Whatever it is called with.

    def bursts(self) -> Bursts:
        """What the loop hands on next, until nothing is left. Items that are in hand when it is closed are aborted."""
        try:
            while not self.outbox.closed:  # Else what is finished would be gathered for nobody.
                ended, idle = self._fill()
                for burst in self._ready():
                    idle = False
                    yield burst
                if idle:
                    if self.broken or (ended and not self.in_hand):
                        self.complete = not self.broken
                        return
                    self._sleep()
                if self.watched and perf_counter() > self._looked + PATIENCE:
                    self._look()
        finally:
            self._end()

    def room(self) -> int:
        """How many more items may be in hand."""
        room = self.most * self.batch_size + (self._least - 1) * self.size - self.held - len(self._batch)
        return room if room >= self._least else 0

    def _fill(self) -> tuple[bool, bool]:
        """Submit what lies in the inbox, as far as there is room in hand. Returns whether the stream has ended, and whether
        no more can be submitted now. Then, if room is left, the bell will ring for the next item and for the end.
        """
        ended, idle, size, held = False, True, self.batch_size, self.held
        try:
            if (room := self.room()) > 0 and self.inbox.ready():
                number = size
                if size == 1 and not self.singly:
                    # Of children the slowest counts: what was sent to one cannot be given to another.
                    each = (max if self.apart else min)([calls.meter.usual for calls in self.callers])
                    number = self.callers[0].most(each, min(room, len(self.inbox)), self.size)
                    self._least = number if self.roomy else 1
                    if self.apart:  # Whoever sends a message adds others.
                        number = min(number, int(self.callers[0].alone / each) or 1)
                there, items = self.inbox.burst(room)
                if not there:  # A failure is on its way: one at a time.
                    items = iter((self.inbox.get(),))
                while more := list(islice(items, number - len(self._batch))):
                    self._batch += more
                    if size == 1 or len(self._batch) == size:
                        self._submit()
                idle = self.room() <= 0
        except Closed:
            ended = True
        if self._batch:
            if self._deadline is None and self.batch_timeout is not None:
                self._deadline = perf_counter() + self.batch_timeout
            if ended or (self._deadline is not None and perf_counter() >= self._deadline):
                self._submit()
        if self.held > held:
            self.tasks.wake_one()
        return ended, idle

    def _submit(self) -> None:
        batch, self._batch, self._deadline = self._batch, [], None
        if self.ordered or not travellers(batch):
            self._submit_place(batch)
            return
        for is_barrier, items in groupby(batch, _is_barrier):
            if is_barrier:
                barriers = list(items)
                self.barriers += barriers
                self.epochs += [set[Place]() for _ in barriers]
            else:
                self._submit_place(list(items))

    def _submit_place(self, items: list[Any]) -> None:
        index, self.received = self.received, self.received + self._count(items)
        place = Place(items, index, self.received)
        self.held += len(items)
        self.watched = self.watched or (self.executor == "thread" and self.batch_size == 1 < len(items))
        self.in_hand.add(place)
        if self.ordered:
            self.window.append(place)
        else:
            self.epochs[-1].add(place)
        if place.end > index:
            self.tasks.append(place)
        else:  # Nothing to call.
            place.done[:], place.todo[:] = items, ()
            self.finish(place)

    def _count(self, items: list[Any]) -> int:
        """How many items these are: a failure of an earlier stage, on its way, is none."""
        if not self.lane.policy.dead_letters.travel:
            return len(items)
        return len(items) - travellers(items)

    def _ready(self) -> Bursts:
        """What can be handed on now: outcomes, and the outputs that lie in streams."""
        if self.ordered:
            while self.window:
                place = self.awaited = self.window[0]  # Stored before the look.
                if not (place.done or place.finished):
                    break
                if not (yield from self._collect(place)):
                    break
                self.window.popleft()
        else:
            self.awaited = ANY
            self.told += drained(self.window)
            while True:
                for place in [place for place in self.told if place in self.epochs[0]]:
                    if (yield from self._collect(place)):
                        self.told.remove(place)
                        self.epochs[0].discard(place)  # It may have been told of twice.
                if self.epochs[0] or not self.barriers:
                    break
                self.epochs.popleft()  # All before the barrier are done.
                self._items.append(self.barriers[0])
                self._outcomes.append(self.barriers.popleft())
        if self._items:
            self.awaited = None  # The loop does not sleep next.
            yield self._outcome, drained(self._items)

    def _collect(self, place: Place) -> Generator[Any, None, bool]:
        """Take what is done of a place, and hand on what lies in its stream. Returns whether that was all of it."""
        finished, number = place.finished, len(place.done)  # In this order: what is finished is whole.
        while number and place.expands:
            number, stream = 1, place.done[0]
            if type(stream) is Stream:
                if self._items:
                    yield self._outcome, drained(self._items)
                if place.todo:
                    self._cut()
                try:
                    ready = stream.ready()
                except Closed:
                    place.done[0], stream.left = stream.left, None
                else:
                    if ready:
                        number, parts = stream.burst(len(stream))
                        if not self.ordered:
                            self.lane.lineage.handed_on([place.end - self._count(place.items)] * number)
                        yield Part, parts
                    return False
            self._move(place, 1)
            number = len(place.done)
        self._move(place, number)
        if finished and place in self.in_hand:
            self.in_hand.remove(place)
            self.lane.retried += place.retried
        return finished

    def _move(self, place: Place, number: int) -> None:
        if not self.ordered:
            first = place.end - self._count(place.items)
            self.lane.lineage.handed_on(range(first, first + self._count(place.items[:number])))
        self._outcomes.extend(place.done[:number])
        self._items.extend(place.items[:number])
        del place.done[:number], place.items[:number]
        self.held -= number

    def _cut(self) -> None:
        """Give each item that waits in a thread's place a place of its own, so that others take it. Children have all theirs."""
        with self.tasks.taking:
            begun = [place for place in (self.window if self.ordered else self.in_hand) if place.begun and place.todo]
            for place in reversed(begun):
                while self.executor == "thread" and (own := place.split_off(self._count)) is not None:
                    self.in_hand.add(own)
                    self.tasks.push(own)
                    if self.ordered:
                        self.window.insert(self.window.index(place) + 1, own)
                    else:
                        next(epoch for epoch in self.epochs if place in epoch).add(own)
        self.tasks.wake_one()

    def _sleep(self) -> None:
        waits = self.inbox.reading if self.room() > 0 else self.ordering
        start, timeout = waits.begin(), PATIENCE if self.watched else None
        self.bell.wait(timeout if self._deadline is None else self._deadline - perf_counter())
        waits.end(start)

    def _look(self) -> None:
        """Cut all places if an item of one of them waits since the last look. Without order, take back what is done."""
        self.watched = False  # Stored before the look: a worker that takes several items stores the other way round.
        waiting = {place for place in self.in_hand if place.begun and place.todo}
        if not self.ordered:
            self.told += [place for place in self.in_hand if place.done and place not in self.told]
        if not waiting.isdisjoint(self._waiting):
            self._cut()
            waiting = set()
        self.watched, self._waiting, self._looked = self.watched or bool(waiting), waiting, perf_counter()

    def _end(self) -> None:
        """Count what is in hand as aborted, and end the streams."""
        self.inbox.cancel()
        self.tasks.end()
        for place in self.in_hand:
            if place.expands:
                for outcome in list(place.done):
                    if type(outcome) is Stream:
                        outcome.cancel()
        left = [*self._items, *self._batch, *self.barriers]
        self.lane.abandon([*left, *chain.from_iterable([place.items for place in self.in_hand])])

    def forget(self) -> None:
        """Release all items. No thread works on them any more."""
        for place in self.in_hand:
            if place.expands:
                for outcome in place.done:
                    if type(outcome) is Stream:
                        outcome.left = None
                        outcome.clear()
            del place.done[:], place.items[:], place.todo[:]  # Frames in the traceback of an error refer to the place.
        for places in self.window, self.told, self.in_hand, self._waiting, self._batch, self._items, self._outcomes:
            places.clear()
        self.epochs, self.barriers = deque([set()]), deque()
        self.awaited = None


def _is_barrier(item: Any) -> bool:
    return type(item) is Failure and type(item.error) is Barrier
