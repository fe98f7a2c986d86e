"""The channel that joins two stages: bounded, and closable from both of its ends."""

from collections import deque
from collections.abc import Generator
from contextlib import suppress
from queue import Empty
from threading import TIMEOUT_MAX, Lock
from time import perf_counter
from typing import Generic, TypeVar

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
        self.capacity = capacity
        self.failure: PipelineError | None = None
        self.closed = self.cancelled = False
        self.steps: Generator[None, None, None] | None = None
        self.entered = self.taken = 0  # Items put, and items got.
        self.reader_waited = self.writer_waited = 0.0  # seconds
        self._items: deque[T] = deque()
        self._reader_waits = self._writer_waits = False
        self._item_ready, self._room_ready = Signal(), Signal()

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: T) -> None:
        """Add an item, waiting for room. Raises Closed when nobody will read it: it is still yours."""
        if self.closed or len(self._items) >= self.capacity:
            self._wait_for_room()
        self._items.append(item)
        self.entered += 1
        if self._reader_waits:
            self._reader_waits = False
            self._item_ready.set()

    def get(self, timeout: float | None = None) -> T:
        """The oldest item, waiting for one.

        Raises Closed at the end of the stream (then see `failure`) or after `cancel`, and `queue.Empty` when
        `timeout` seconds brought nothing.
        """
        if self.cancelled:
            raise Closed
        item = self._items.popleft() if self._items else self._wait_for_item(timeout)
        self.taken += 1
        if self._writer_waits and len(self._items) <= self.capacity // 8:
            self._writer_waits = False
            self._room_ready.set()
        return item

    def close(self, failure: PipelineError | None = None) -> None:
        """End the stream behind what is in. Only the first call counts."""
        if not self.closed:
            self.failure, self.closed = failure, True
        self._item_ready.set()
        self._room_ready.set()

    def cancel(self) -> None:
        """Nobody reads on: whoever waits here, or comes later, gets Closed. What is in stays, to be counted."""
        self.cancelled = True
        self.close()

    def clear(self) -> int:
        """Let go of what is in, and say how much that was."""
        left = len(self._items)
        self._items.clear()
        return left

    def _wait_for_item(self, timeout: float | None) -> T:
        start = perf_counter()
        try:
            while True:
                closed = self.closed  # Before the look: what came in before the end is seen.
                self._reader_waits = True
                if self._items:
                    return self._items.popleft()
                if closed:
                    raise Closed
                if self.steps is not None:
                    next(self.steps, None)
                elif not self._item_ready.wait(None if timeout is None else start + timeout - perf_counter()):
                    raise Empty
        finally:
            self._reader_waits = False
            self.reader_waited += perf_counter() - start

    def _wait_for_room(self) -> None:
        start = perf_counter()
        while not self.closed:
            self._writer_waits = True
            if len(self._items) < self.capacity:
                break
            self._room_ready.wait()
        self._writer_waits = False
        self.writer_waited += perf_counter() - start
        if self.closed:
            raise Closed
