"""Where the items come from: an iterable, or a function that puts them into a queue."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Full
from threading import Event, Lock, Thread
from typing import Any, Final, Protocol, cast

from .channel import Channel, Closed
from .errors import PipelineError
from .policy import Policy

GRACE = 0.01  # seconds that a stop waits for a source that is in its own `next()`


class _Sentinel:
    def __repr__(self) -> str:
        return "SENTINEL"


SENTINEL: Final = _Sentinel()  # Put by a source function: there is no more.


@dataclass(frozen=True)
class FailedItem:
    """A source may give this in the place of an item that it cannot make: it fails, as an item of a stage would."""

    item: object
    error: Exception


class Queue(Protocol):
    """What a source function gets, and what `robust_put` takes: `queue.Queue`, or the pipeline's own."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None: ...


def robust_put(queue: Queue, item: Any, stop_event: Event, timeout: float = 0.1) -> bool:
    """Put an item, waiting for room. False: the pipeline has stopped, and the item is still yours.

    A pipeline's own queue wakes at once when it stops. A plain `queue.Queue` cannot: while it is full, the event is
    looked at every `timeout` seconds.
    """
    while not stop_event.is_set():
        try:
            queue.put(item, timeout=None if isinstance(queue, SourceQueue) else timeout)
            return True
        except Full:
            pass
        except Closed:
            break
    return False


class SourceQueue:
    """The queue that a source function feeds, from any number of threads of its own."""

    def __init__(self, source: "Source") -> None:
        self._source = source
        self._lock = Lock()
        self._ended = False

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, waiting for room; or SENTINEL, to end. Raises Closed when the pipeline has stopped."""
        with self._lock:
            if self._ended:
                raise ValueError("put() after SENTINEL")
            if item is SENTINEL:
                self._ended = True
                self._source.outbox.close()
            else:
                self._source.hand_on(item)


class Source:
    """Reads the items in a thread of its own and feeds the first stage."""

    def __init__(self, source: Any, outbox: Channel[Any], policy: Policy, name: str) -> None:
        self.outbox = outbox
        self.read = self.failed = self.aborted = 0
        self.failure: PipelineError | None = None
        self.thread = Thread(target=self._feed, name=name, daemon=True)
        self._source: Iterable[Any] | Callable[[Queue, Event], object] | None = source
        self._policy = policy
        self._reading = True  # In code that is not ours, which may block for ever.
        self._drained = False

    def drain(self) -> None:
        """Read no more. An item that is read but not yet in still goes in."""
        self._drained = True
        if self._reading:
            self.outbox.close()

    def join(self) -> None:
        """After a stop: wait for the thread, unless it is blocked in the source's own code.

        It says that it reads *before* it looks whether it should: seen not reading after the stop, it never will again.
        """
        if self.thread.ident is not None:  # It was started.
            self.thread.join(GRACE if self._reading else None)

    def hand_on(self, item: Any) -> None:
        """Feed one item. Raises Closed when nobody wants more."""
        self.read += 1
        if type(item) is FailedItem:
            self.failed += 1
            self._end(self._policy.judge(self._policy.blame(item.error, "read", item.item, self.read - 1)))
            return
        try:
            self.outbox.put(item)
        except Closed:
            self.aborted += 1
            raise

    def steps(self) -> Generator[None, None, None]:
        """Feed item by item, for the plain loop; after each, control is the caller's, and an item may lie there."""
        if isinstance(self._source, Iterable):
            yield from self._feed_each()
        else:  # A function still has a thread of its own.
            self.thread.start()
            with suppress(Closed):
                while True:
                    self.outbox.peek()
                    yield

    def _feed(self) -> None:
        if isinstance(self._source, Iterable):
            for _ in self._feed_each():
                pass
            return
        with self._supervised():
            source, self._source = self._source, None
            if source is not None:
                source(SourceQueue(self), self._policy.stop_event)

    def _feed_each(self) -> Generator[None, None, None]:
        with self._supervised():
            iterator = iter(cast(Iterable[Any], self._source))
            self._source = None
            try:
                while True:
                    self._reading = True
                    if self._drained or self.outbox.closed:
                        break
                    try:
                        item = next(iterator)
                    except StopIteration:
                        break
                    self._reading = False
                    self.hand_on(item)
                    item = None  # While the source blocks, the last item can go.
                    try:
                        yield
                    except GeneratorExit:
                        break
            finally:
                self._reading = False
                if isinstance(iterator, Generator):
                    iterator.close()

    @contextmanager
    def _supervised(self) -> Iterator[None]:
        try:
            yield
        except Closed:
            pass
        except BaseException as error:
            with suppress(Closed):
                self._end(self._policy.blame(error, "read"))
        self._reading = False
        self.outbox.close()

    def _end(self, failure: PipelineError | None) -> None:
        if failure is not None:
            self.failure = failure
            self.outbox.close(failure)
            raise Closed
