"""A source that is a function: it puts its items into a queue."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from queue import Full, Queue
from threading import Event, RLock
from time import monotonic
from typing import Any, Final

from .channel import Channel, Closed
from .checks import check_callable
from .policy import Policy
from .source import Source


class _Sentinel:
    def __repr__(self) -> str:
        return "SENTINEL"


SENTINEL: Final = _Sentinel()  # Put by a source function: there is no more.


def robust_put(queue: "Queue[Any] | SourceQueue", item: Any, stop_event: Event, timeout: float = 0.1) -> bool:
    """Put an item, waiting for room. Returns False if the pipeline has stopped: the item is still yours.

    The pipeline's own queue wakes at once when it stops. A plain `queue.Queue` cannot: while it is full, the event is
    looked at every `timeout` seconds.
    """
    with suppress(Closed):
        while not stop_event.is_set():
            with suppress(Full):
                queue.put(item, timeout=timeout)
                return True
    return False


class SourceQueue:
    """What a source function feeds: it has the methods of `queue.Queue` that feed one, and means the same by them.

    Any thread may put, also a signal handler or a finalizer while another put waits. A put raises Closed when the
    pipeline has stopped; `robust_put` returns False then.
    """

    def __init__(self, source: Source) -> None:
        self._source, self._outbox, self.maxsize = source, source.outbox, source.outbox.capacity
        self._lock = RLock()  # One put at a time. Reentrant for signal handlers and finalizers.
        self._depth = 0

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, or SENTINEL to end. Raises queue.Full when there is no room, or none within `timeout` seconds."""
        if timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")
        timeout = timeout if block else 0.0
        deadline = None if timeout is None else monotonic() + timeout
        if not self._lock.acquire(timeout=-1 if timeout is None else timeout):
            raise Full
        try:
            self._depth += 1
            if self._depth > 1:  # This is in the middle of another put, which may not have rung yet.
                self._outbox.bell.set()
            if item is SENTINEL:
                self._outbox.close()
            elif self._outbox.closed and not (self._source.draining or self._outbox.cancelled):
                raise ValueError("put() after SENTINEL")
            else:
                self._source.put(item, None if deadline is None else deadline - monotonic())
        finally:
            self._source.reading = True  # Stored before the look at `draining`, as `drain` does it the other way round.
            if self._source.draining:
                self._outbox.close()
            self._depth -= 1
            if self._depth:  # This was put in the middle of another put, which may have missed its bell.
                self._outbox.room_bell.set()
            self._lock.release()

    def put_nowait(self, item: Any) -> None:
        self.put(item, block=False)

    def qsize(self) -> int:
        return len(self._outbox)

    def empty(self) -> bool:
        return self.qsize() == 0

    def full(self) -> bool:
        return self.qsize() >= self.maxsize


class FunctionSource(Source):
    """Calls the function in the source's thread, in the plain loop, too."""

    always_has_a_thread = True

    def iterate(self) -> Iterator[Any]:
        self.source(SourceQueue(self), self.policy.stop_event)
        return iter(())  # It has put what it had.


SourceLike = Iterable[Any] | Callable[[SourceQueue, Event], object]


def make_source(source: SourceLike, outbox: Channel[Any], policy: Policy) -> Source:
    if isinstance(source, Iterable):
        return Source(source, outbox, policy)
    if isinstance(source, type) or not callable(source):
        raise TypeError(f"source must be an iterable or a function (queue, stop_event), not {source!r}")
    check_callable("source", source, 2)
    return FunctionSource(source, outbox, policy)
