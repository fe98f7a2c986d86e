"""The channel that joins two stages: bounded, and closable from both of its ends."""

from collections import deque
from collections.abc import Generator, Iterator
from contextlib import suppress
from itertools import repeat, starmap
from queue import Empty
from threading import TIMEOUT_MAX, Lock
from time import perf_counter
from typing import Generic, TypeVar

from .clocks import Waits
from .errors import PipelineError

T = TypeVar("T")


class Closed(Exception):
    """The other end is gone: nothing more comes (`get`), or nothing more is wanted (`put`)."""


class Signal:
    """Wakes one waiting thread. A `set` that comes before the `wait` is not lost."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until `set`, at most `timeout` seconds. False: the time ran out."""
        return self._lock.acquire(timeout=-1 if timeout is None else min(max(timeout, 0), TIMEOUT_MAX))

    def set(self) -> None:
        with suppress(RuntimeError):  # It is set already, and once is enough.
            self._lock.release()


class Channel(Generic[T]):
    """A bounded queue for one reader and one writer at a time, which closes in two ways.

    `close` is the writer's: end of stream, perhaps with the failure that ended it; what is in is still read.
    `cancel` is the reader's, or the manager's: what is in is not read any more, and both sides wake at once.
    Both may come from any thread, any number of times, and from a signal handler.

    There is no lock to take for an item. `deque.append` and `popleft` are atomic (without a GIL, too: a deque
    locks itself), and nobody sleeps through a change, because each side writes first and looks then: a reader
    raises its flag and looks for an item, a writer adds an item and looks for the flag. One of them must see the
    other. A writer that found the channel full is woken when little is left in it, so that threads change
    places once for many items.

    In the plain loop, where reader and writer are one thread, `steps` is what the writer does: a reader that finds
    nothing lets it go on, step by step, instead of waiting.
    """

    def __init__(self, capacity: int) -> None:
        self.failure: PipelineError | None = None
        self.closed = self.cancelled = False
        self.reader_waits = False
        self.capacity = capacity
        self.steps: Generator[None, None, None] | None = None
        self.entered = 0  # How many items were put.
        self.reading, self.writing = Waits(), Waits()  # For an item; for room.
        self.first_at = 0.0  # When a reader that waited had the first item. 0: none has waited for it.
        self.items: deque[T] = deque()
        self._read_from = self.items  # An empty one after `cancel`.
        self._writer_waits = False
        self._item_ready, self._room_ready = Signal(), Signal()

    def __len__(self) -> int:
        return len(self.items)

    @property
    def capacity(self) -> int:
        return self._capacity

    @capacity.setter
    def capacity(self, capacity: int) -> None:
        self._capacity = capacity
        self._spare = capacity // 8  # With so little left, the reader lets the writer go on.
        self._room = 0 if self.closed else capacity

    @property
    def taken(self) -> int:
        """How many items left it. While one is just being put, it may be one less."""
        return max(0, self.entered - len(self.items))

    def put(self, item: T) -> None:
        """Add an item, waiting for room. Raises Closed when nobody will read it: it is still yours."""
        if len(self.items) >= self._room:
            self._wait_for_room()
        self.items.append(item)
        self.entered += 1
        if self.reader_waits:
            self.wake_reader()

    def get(self, timeout: float | None = None) -> T:
        """The oldest item, waiting for one.

        Raises Closed at the end of the stream (then see `failure`) or after `cancel`, and `queue.Empty` when
        `timeout` seconds brought nothing.
        """
        items = self._read_from
        item = items.popleft() if items else self._wait_for_item(timeout)
        if self._writer_waits and len(items) <= self._spare:
            self._wake_writer()
        return item

    def room(self) -> int:
        """How many items the writer can add without waiting: none when nobody will read them."""
        return self._room - len(self.items)

    def ready(self) -> int:
        """How many items the reader can get without waiting."""
        return len(self._read_from)

    def next(self, number: int) -> Iterator[T]:
        """So many items that are `ready`. Each leaves the channel when the iterator gives it."""
        if self._writer_waits and len(self.items) - number <= self._spare:
            self._wake_writer()
        return starmap(self.items.popleft, repeat((), number))

    def wake_reader(self) -> None:
        self.reader_waits = False
        self._item_ready.set()

    def _wake_writer(self) -> None:
        self._writer_waits = False
        self._room_ready.set()

    def close(self, failure: PipelineError | None = None) -> None:
        """End the stream behind what is in. Only the first call counts."""
        if not self.closed:
            self.failure, self.closed, self._room = failure, True, 0
        self._item_ready.set()
        self._room_ready.set()

    def cancel(self) -> None:
        """Nobody reads on: whoever waits here, or comes later, gets Closed. What is in stays, to be counted."""
        self.cancelled, self._read_from = True, deque()
        self.close()

    def clear(self) -> int:
        """Let go of what is in, and say how much that was."""
        left = len(self.items)
        self.items.clear()
        return left

    def _wait_for_item(self, timeout: float | None) -> T:
        start, first = self.reading.begin(), not self.entered
        try:
            while True:
                closed = self.closed  # Before the look: what came in before the end is seen.
                self.reader_waits = True
                items = self._read_from
                if items:
                    return items.popleft()
                if closed:
                    raise Closed
                if self._writer_waits:
                    self._wake_writer()
                if self.steps is not None:
                    next(self.steps, None)
                elif not self._item_ready.wait(None if timeout is None else start + timeout - perf_counter()):
                    raise Empty
        finally:
            self.reader_waits = False
            self.reading.end(start)
            if first:
                self.first_at = perf_counter()

    def _wait_for_room(self) -> None:
        start = self.writing.begin()
        while not self.closed:
            self._writer_waits = True
            if len(self.items) < self.capacity:
                break
            self._room_ready.wait()
        self._writer_waits = False
        self.writing.end(start)
        if self.closed:
            raise Closed
