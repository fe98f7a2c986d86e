"""Where the threads of a stage take items in and hand outputs on: one alone, or several that share both sides.

Who lets go of an item without passing it on counts it, in a counter of its own; a report adds them up.
"""

from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import repeat, starmap
from queue import Empty
from threading import Condition, Lock, RLock, get_ident
from time import perf_counter
from typing import Any, Final

from .channel import Channel, Closed
from .clocks import ServiceTimes, Waits
from .errors import Failure, PipelineError

FATES = ("processed", "filtered", "failed", "aborted", "retried")
NOTHING: Final = object()  # Stands where an output would: there is none, but the item is over.


class Outlet:
    """Where the outputs of a stage's threads go out: in the order of their items' tickets, or as they are completed.

    Any number of threads put; one at a time releases. Who comes too early goes straight back to work, until `window`
    entries are held; then only the head of the order goes on, so that neither a slow item nor a generator without end
    lets the rest pile up. The `last` entry of an item lets the next one's go.
    """

    def __init__(self, outbox: Channel[Any], window: int, *, ordered: bool) -> None:
        self.room_waits, self.turn_waits = Waits(), Waits()  # For what comes behind; for the head of the order.
        self.outbox = outbox
        self.window = window
        self._ordered = ordered
        self._head = 0  # The ticket whose entries go out now. Without an order, all entries stand under it.
        self._early: defaultdict[int, deque[tuple[int, Any, bool]]] = defaultdict(deque)
        self._held = 0
        self._releasing = self._closed = self._waking = False
        self._lock = RLock()  # Guards it all. Reentrant: a garbage collection in here may call `close`.
        self._changed = Condition(self._lock)
        self._waiting = 0  # How many threads wait for a change.

    def put(self, ticket: int, output: Any, last: bool) -> bool:
        """Hand on an output of that item, or NOTHING, or None if it was given up, or the Failure that ends the stream there.

        Raises Closed when nobody wants more: it is still yours. What is put is the outlet's, even if it never goes out.
        True: what lies at the head goes out when you `release` it.
        """
        with self._lock:
            place = ticket if self._ordered else self._head
            if self._held >= self.window and self._must_wait(place):
                waits = self.room_waits if self._releasing else self.turn_waits
                start = waits.begin()
                self._waiting += 1
                self._changed.wait_for(lambda: not self._must_wait(place))
                self._waiting -= 1
                waits.end(start)
            if self._closed:
                raise Closed
            self._held += 1
            self._early[place].append((ticket, output, last))
            if self._releasing or place != self._head:
                return False
            self._releasing = True
            return True

    def close(self) -> None:
        """Nothing more goes out; who waits here, or comes later, gets Closed."""
        with self._lock:
            self._closed = True
            self._wake()

    def dropped(self) -> int:
        """After the last thread has left: how many items, of those processed, have outputs here that never went out."""
        entries = [entry for early in self._early.values() for entry in early]
        self._early.clear()
        outputs = {ticket for ticket, output, _ in entries if output is not NOTHING}
        processed = (entry for entry in entries if entry[1] is not None and type(entry[1]) is not Failure)
        return sum(last and ticket in outputs for ticket, _, last in processed)

    def _wake(self) -> None:
        if not self._waking:  # A signal handler, or a garbage collection, may call `close` in the middle of this.
            self._waking = True
            try:
                self._changed.notify_all()
            finally:
                self._waking = False

    def _must_wait(self, place: int) -> bool:
        at_head = place == self._head and not self._releasing
        return self._held >= self.window and not at_head and not self._closed

    def release(self) -> None:
        """Put out all that lies ready, without a gap. May take long: others go on to put behind it."""
        early = self._early[self._head]
        while True:
            _, output, last = early[0]  # Others only append.
            try:
                if type(output) is Failure:
                    self.outbox.close(output.error)
                    raise Closed
                if output is not NOTHING and output is not None:
                    self.outbox.put(output)
            except Closed:
                return self.close()
            with self._lock:
                early.popleft()
                self._held -= 1
                if last and self._ordered:
                    del self._early[self._head]
                    self._head += 1
                if self._waiting:
                    self._wake()
                early = self._early[self._head]
                if not early or self._closed:
                    self._releasing = False
                    return None


class Intake:
    """What the ports of a stage share where they take items in."""

    def __init__(self) -> None:
        self.turn = Lock()  # Whose turn it is to take; guards the rest.
        self.tickets = 0  # How many are given out.

    def wait(self, waits: Waits) -> None:
        """Have the turn. Whoever calls this releases it."""
        if not self.turn.acquire(blocking=False):
            start = waits.begin()
            self.turn.acquire()
            waits.end(start)


class Port:
    """One thread's side of a stage.

    `take` brings the next item in hand. `give` hands its only output on; or `emit` does each of several, and `finish`
    says that it is over. All raise Closed: when the stream has ended, or nobody wants more. One thread writes the
    counts of items that had each fate, any may read them.
    """

    processed = filtered = failed = aborted = retried = 0  # Attributes: counting in a dict takes 30 ns more.
    ticket = -1  # Which of the stage's items is in hand, in the order of the input, from 0.
    _releases = False  # Whether it is this thread that lets outputs go out.

    def __init__(self, inbox: Channel[Any], intake: Intake, outlet: Outlet) -> None:
        self.waits = Waits()  # For its turn to take.
        self.times = ServiceTimes()
        self.thread = get_ident()  # 0 once it has left.
        self._inbox, self._intake, self._outlet = inbox, intake, outlet

    def rounds(self, function: Callable[[Any], Any]) -> Iterator[tuple[Callable[[Any], Any], Iterator[Any]]]:
        """What to call, and for which items, in turns without end. Called with `function` itself, its outputs find room."""
        while True:
            yield partial(self.times.call, function), starmap(self.take, repeat(()))

    def count(self, fate: str) -> None:
        setattr(self, fate, getattr(self, fate) + 1)

    @property
    def over(self) -> int:
        """How many of its items had their fate."""
        return self.processed + self.filtered + self.failed + self.aborted

    def take(self) -> Any:
        self.release()
        self._intake.wait(self.waits)
        try:
            item = self._inbox.get()
            self.ticket = self._intake.tickets
            self._intake.tickets += 1
            if self._inbox.cancelled:  # It is still our turn: who comes next may find the end, leave, and cancel.
                self.aborted += 1
                raise Closed
            return item
        finally:
            self._intake.turn.release()

    def take_batch(self, size: int, timeout: float | None = None) -> list[Any]:
        """The next items, at least one and at most `size`, waiting at most `timeout` seconds after the first.

        Their tickets are consecutive, and the first one's is `ticket`.
        """
        self._intake.wait(self.waits)
        try:
            items = [self._inbox.get()]
            self.ticket = self._intake.tickets
            deadline = None if timeout is None else perf_counter() + timeout
            with suppress(Closed, Empty):
                while len(items) < size:
                    items.append(self._inbox.get(None if deadline is None else deadline - perf_counter()))
            self._intake.tickets += len(items)
            if self._inbox.cancelled:
                self.aborted += len(items)
                raise Closed
            return items
        finally:
            self._intake.turn.release()

    def give(self, output: Any) -> None:
        self._releases = self._outlet.put(self.ticket, output, last=True)

    def emit(self, output: Any) -> None:
        if self._outlet.put(self.ticket, output, last=False):
            self._outlet.release()

    def finish(self, *, given_up: bool = False) -> None:
        self._releases = self._outlet.put(self.ticket, None if given_up else NOTHING, last=True)

    def fail(self, failure: PipelineError) -> None:
        """End the stream here; what comes before the item in hand still goes out."""
        with suppress(Closed):
            if self._outlet.put(self.ticket, Failure(failure), last=True):
                self._outlet.release()

    def release(self) -> None:
        """Let go out what was given, now that the item is no longer in hand: this may go on for the items of others."""
        if self._releases:
            self._releases = False
            self._outlet.release()


class LonePort(Port):
    """The port of a stage's only thread: order keeps itself, and nothing stands between it and the channels."""

    def __init__(self, inbox: Channel[Any], intake: Intake, outlet: Outlet) -> None:
        super().__init__(inbox, intake, outlet)
        self.take = inbox.get  # type: ignore[method-assign]
        self.give = self.emit = outlet.outbox.put  # type: ignore[assignment, method-assign]

    def rounds(self, function: Callable[[Any], Any]) -> Iterator[tuple[Callable[[Any], Any], Iterator[Any]]]:
        """One item is waited for, and measured; then come those that lie there, as far as there is room for the outputs."""
        inbox, outbox, times = self._inbox, self._outlet.outbox, self.times
        measured = partial(times.call, function)
        while True:
            yield measured, starmap(self.take, ((),))
            number = min(times.passing, inbox.ready(), outbox.room())
            if number > 0:
                times.passing -= number
                yield function, inbox.next(number)

    def finish(self, *, given_up: bool = False) -> None:
        pass

    @property
    def ticket(self) -> int:  # type: ignore[override]
        return self.over
