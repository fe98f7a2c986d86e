"""The channel between two stages: a bounded queue that either of its ends can close."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from itertools import filterfalse, repeat, starmap
from queue import Empty, Full
from time import perf_counter
from typing import Any, Generic, TypeVar

from .clocks import Waits
from .errors import Failure, PipelineError
from .signals import Signal

T = TypeVar("T")


class Closed(Exception):
    """The channel is closed or cancelled: no more items come, or no more are read."""


class Channel(Generic[T]):
    """A bounded queue for one writer and one reader, each a thread.

    `close` is the writer's: the end of the stream, perhaps with the failure that ended it; what is in is still read.
    `cancel` is the reader's or the supervisor's: nothing more is read, and both sides wake at once. Any thread and any
    signal handler may call both, any number of times.

    No lock is taken for an item. Both sides *store first and look second*: a reader sets `_reader_waits` and then looks for
    an item; a writer appends an item, counts it, and then looks at `_reader_waits`. One of them sees the other, so that
    no wake-up is lost. `entered` is stored between the append and the look and must stay there: without a GIL it is the
    memory barrier, since both stores take this object's lock. The same holds for room, and for closing.

    A writer that waits is woken when an eighth of the capacity is left to read, so that the threads take turns once for
    many items.

    What only passes the reader on its way to the end of the pipeline, a Failure, is announced before it is put. While one is
    in, items are read one at a time; so a burst has none, and nobody looks at each of its items.

    `bell` wakes the reader; a reader that waits for several things at once passes its own.
    """

    def __init__(self, capacity: int, bell: Signal | None = None) -> None:
        self.capacity = self._room = capacity  # Room is 0 once the channel is closed.
        self.failure: PipelineError | None = None
        self.closed = self.cancelled = False
        self.entered = 0  # Items that were put.
        self.announced = self.arrived = 0  # Failures that were put, and that were read.
        self.admit: Callable[[T], T] | None = None  # What the reader gets for each item.
        self.reading, self.writing = Waits(), Waits()  # How long the reader waited for items, and the writer for room.
        self.bell = bell or Signal()
        self.room_bell: Any = Signal()
        self._items: deque[T] = deque()
        self._readable = self._items  # An empty deque after `cancel`.
        self._reader_waits = self._writer_waits = False

    def __len__(self) -> int:
        return len(self._items)

    @property
    def taken(self) -> int:
        """How many items have left the channel. It may be one too low while an item is being put."""
        return max(0, self.entered - len(self._items))

    def put_all(self, outputs: Generator[T, None, None]) -> None:
        """Put each output of the generator, waiting for room. Throws Closed into it at an output that will not be read."""
        items, append = self._items, self._items.append
        for output in outputs:
            if len(items) >= self._room:
                try:
                    self._wait(self.room_bell, self.writing, self._has_room)
                except Closed as closed:
                    outputs.throw(closed)
            append(output)
            self.entered += 1
            if self._reader_waits:
                self._reader_waits = False
                self.bell.set()
            del output

    def put(self, item: T, timeout: float | None = None) -> None:
        """Put one item. Raises Closed, or queue.Full after `timeout` seconds without room; the item is then not in."""
        if len(self._items) >= self._room and not self._wait(self.room_bell, self.writing, self._has_room, timeout):
            raise Full
        self._items.append(item)
        self.entered += 1
        if self._reader_waits:
            self._reader_waits = False
            self.bell.set()

    def get(self, timeout: float | None = None) -> T:
        """The oldest item. Raises Closed at the end of the stream (see `failure`), and queue.Empty after `timeout`."""
        if not self._readable and not self._wait(self.bell, self.reading, self.ready, timeout):
            raise Empty
        item = self._items.popleft()
        if self._writer_waits and len(self._items) <= self.capacity // 8:
            self._wake_writer()
        if self.announced != self.arrived and type(item) is Failure:
            self.arrived += 1
        return item if self.admit is None else self.admit(item)

    def ready(self) -> bool:
        """Whether an item can be read now. If not, the bell will ring for the next one. Raises Closed at the end."""
        closed, self._reader_waits = self.closed, True  # `closed` before the look: no item is missed.
        if self._readable:
            self._reader_waits = False
            return True
        if closed:
            raise Closed
        if self._writer_waits:
            self._wake_writer()
        return False

    def burst(self, limit: int) -> tuple[int, Iterator[T]]:
        """As many items as can be read now, at most `limit`: each leaves the channel when the iterator yields it.

        There are none while a Failure is in, or has been announced; `get` reads it, and the items before it.
        """
        number = min(limit, len(self._readable))
        if self.announced != self.arrived:  # Looked at last, as it is stored first.
            number = 0
        if self._writer_waits and len(self._items) - number <= self.capacity // 8:
            self._wake_writer()
        items = starmap(self._items.popleft, repeat((), number))
        return number, items if self.admit is None else map(self.admit, items)

    def bursts(self, arrives: Callable[[T], bool]) -> Iterator[Iterator[T]]:
        """Wait for items, and yield all that can be read then, again and again. Raises Closed at the end of the stream.

        `arrives` is called with each Failure, which is left out, and tells whether an item is one.
        """
        while self._readable or self._wait(self.bell, self.reading, self.ready):
            number, items = self.burst(self.capacity)
            yield items if number else filterfalse(arrives, (self.get(),))

    def announce(self) -> None:
        """Say that the next item that is put is a Failure."""
        self.announced += 1

    def close(self, failure: PipelineError | None = None) -> None:
        """End the stream behind the items that are in the channel. Only the first call has an effect."""
        if not self.closed:
            self.failure, self.closed, self._room = failure, True, 0
        self.bell.set()
        self.room_bell.set()

    def cancel(self) -> None:
        """End reading. Items that are in the channel stay there until they are counted."""
        self.cancelled, self._readable = True, deque()
        self.close()

    def clear(self) -> list[T]:
        """Remove and return the items that will not be read. To be called when both sides have left."""
        left = list(self._items)
        self._items.clear()
        return left

    def _has_room(self) -> bool:
        """Whether an item can be put now. If not, the bell of the room will ring. Raises Closed."""
        self._writer_waits = True
        if self.closed:
            raise Closed
        if len(self._items) >= self.capacity:
            return False
        self._writer_waits = False
        return True

    def _wake_writer(self) -> None:
        self._writer_waits = False
        self.room_bell.set()

    def _wait(self, bell: Signal, waits: Waits, possible: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until it is possible. Returns False after `timeout` seconds."""
        start = waits.begin()
        try:
            while not possible():
                if not bell.wait(None if timeout is None else start + timeout - perf_counter()):
                    return False
            return True
        finally:
            waits.end(start)
