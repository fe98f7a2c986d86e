"""Where the items come from: an iterable, or a function that puts them into a queue."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from queue import Full
from threading import Event, Lock, Thread
from time import perf_counter
from typing import Any, Final, Protocol

from .channel import Channel, Closed
from .errors import PipelineError
from .policy import Policy
from .ports import NOTHING

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


SourceLike = Iterable[Any] | Callable[[Queue, Event], object]


def robust_put(queue: Queue, item: Any, stop_event: Event, timeout: float = 0.1) -> bool:
    """Put an item, waiting for room. False: the pipeline has stopped, and the item is still yours.

    A pipeline's own queue wakes at once when it stops. A plain `queue.Queue` cannot: while it is full, the event is
    looked at every `timeout` seconds.
    """
    while not stop_event.is_set():
        try:
            queue.put(item, timeout=timeout)
            return True
        except Full:
            pass
        except Closed:
            break
    return False


class Source:
    """Reads the items, in a thread of its own or step by step, and feeds the first stage.

    A source function gets it as its queue, and may `put` from any number of threads.
    """

    def __init__(self, outbox: Channel[Any], policy: Policy, pipeline: str) -> None:
        self.read = self.failed = self.aborted = 0
        self.failure: PipelineError | None = None
        self.outbox = outbox
        self.thread = Thread(target=self._run, name=f"{pipeline}-source", daemon=True)
        self._policy = policy
        self._putting = Lock()
        self.ended: float | None = None  # When it gave its last item.
        self._reading = True  # In code that is not ours, which may block for ever.
        self._putting_in = False  # The item that a source function puts.
        self._drained = self._ended = False

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Add an item, waiting for room; or SENTINEL, to end. Raises Closed when the pipeline has stopped."""
        with self._putting:
            if self._ended:
                raise ValueError("put() after SENTINEL")
            if item is SENTINEL:
                self._ended = True
                self.outbox.close()
            else:
                self._putting_in = True  # Before it looks, as a drain does, so that one of the two sees the other.
                try:
                    if self._drained:
                        self.outbox.close()
                    self._hand_on(item)
                finally:
                    self._putting_in = False
                    if self._drained:
                        self.outbox.close()

    def open(self, source: SourceLike, *, serial: bool) -> None:
        """Know the source. In the plain loop an iterable is read there; a function has its thread all the same."""
        if not (isinstance(source, Iterable) or callable(source)):
            raise TypeError(f"source must be an iterable or a function (queue, stop_event), not {source!r}")
        self._steps = self._read(source)
        if serial and isinstance(source, Iterable):
            self.outbox.steps = self._steps
        if self._drained:  # Before the start; the outbox may have been another one then.
            self.drain()

    def start(self) -> None:
        if self.outbox.steps is None:
            self.thread.start()

    def drain(self) -> None:
        """Read no more. An item in hand still goes in; what a `next()` that is under way gives later is aborted."""
        self._drained = True
        if self._reading and not self._putting_in:
            self.outbox.close()

    def join(self) -> None:
        """After a stop: wait for the thread, unless it is blocked in the source's own code.

        It says that it reads *before* it looks whether it should: seen not reading after the stop, it never will again.
        """
        if self.outbox.steps is not None:
            self.outbox.steps.close()
        if self.thread.ident is not None:  # It was started.
            self.thread.join(GRACE if self._reading else None)

    def _run(self) -> None:
        deque(self._steps, maxlen=0)

    def _read(self, source: SourceLike) -> Generator[None, None, None]:
        """Feed item by item; after each, control is the caller's. A function feeds all in one step."""
        try:
            if isinstance(source, Iterable):
                yield from self._feed(iter(source))
            else:
                source(self, self._policy.stop_event)
        except BaseException as error:
            closed = isinstance(error, Closed) and self.outbox.closed  # Else it is another pipeline's.
            left = isinstance(error, GeneratorExit) and self.outbox.cancelled  # So the plain loop ends this.
            if not (closed or left):
                self.failure = self._policy.blame(error, "read")
        finally:
            self._reading = False
            self.ended = perf_counter()
            self.outbox.close(self.failure)

    def _feed(self, iterator: Iterator[Any]) -> Generator[None, None, None]:
        outbox, put, serial = self.outbox, self.outbox.put, self.outbox.steps is not None
        try:
            while not (self._drained or outbox.closed):
                item = next(iterator, NOTHING)
                if item is NOTHING:
                    break
                self._reading = False
                if type(item) is FailedItem:
                    self._hand_on(item)
                else:  # What that does, without its call.
                    self.read += 1
                    try:
                        put(item)
                    except Closed:
                        self.aborted += 1
                        raise
                item = None  # While the source blocks, the last item can go.
                if serial:
                    yield
                self._reading = True
        finally:
            self._reading = False
            if isinstance(iterator, Generator):
                iterator.close()

    def _hand_on(self, item: Any) -> None:
        self.read += 1
        if type(item) is FailedItem and not self.outbox.closed:
            self.failed += 1
            self.failure = self._policy.judge(self._policy.blame(item.error, "read", item.item, self.read - 1))
            if self.failure is None:
                return
            self.outbox.close(self.failure)
            raise Closed
        try:
            self.outbox.put(item)
        except Closed:
            self.aborted += 1
            raise
