"""Where the items come from."""

from collections import deque
from collections.abc import Callable, Generator, Iterator
from queue import Full
from threading import Thread
from time import perf_counter
from typing import Any

from .channel import Channel, Closed
from .errors import Barrier, FailedItem, Failure, PipelineError, Raised, tried
from .lineage import Lineage
from .policy import NOTHING, Policy

GRACE = 0.01  # Seconds that a stop waits for a source that is in its own `next()`.


class Source:
    """Reads the items of an iterable, in a thread of its own, and puts them into the first stage.

    In the plain loop, whoever asks for an item reads it, unless the source `always_has_a_thread`.
    """

    always_has_a_thread = False

    def __init__(self, source: Any, outbox: Channel[Any], policy: Policy) -> None:
        self.source, self.policy, self.outbox = source, policy, outbox
        self.read = self.failed = self.aborted = 0
        self.lineage = Lineage()
        self.failure: PipelineError | None = None
        self.ended = 0.0  # When it gave its last item.
        self.reading = True  # In code of the source, which may block for ever.
        self.draining = False
        self._thread: Thread | None = None

    def start(self, spawn: Callable[[Callable[[], object], str], Thread]) -> None:
        self._thread = spawn(lambda: deque(self.feed(), maxlen=0), "source")

    def drain(self) -> None:
        """Read no more. An item in hand still goes in; what a `next()` that is under way returns later is aborted."""
        self.draining = True
        if self.reading:
            self.outbox.close()

    def join(self) -> None:
        """After a stop: wait for the thread, unless it is blocked in the source's own code."""
        if self._thread is not None:
            self._thread.join(GRACE)
            while self._thread.is_alive() and not self.reading:  # It is in our code, and may go on into the source's.
                self._thread.join(GRACE)
            self.ended = self.ended or perf_counter()

    def feed(self) -> Generator[None, None, None]:
        """Put the items into the first stage, one with each `next()`, and then end the stream."""
        iterator: Any = None
        try:
            iterator = self.iterate()
            while not (self.draining or self.outbox.closed) and (item := next(iterator, NOTHING)) is not NOTHING:
                self.put(item)
                del item  # It is not kept while the source blocks.
                yield
                self.reading = True  # Stored before the look at `draining`, as `drain` does it the other way round.
        except BaseException as error:
            if type(error) is not GeneratorExit or self.reading:  # Else the plain loop ends here.
                self._fail(error)
        finally:
            self.reading, self.ended = False, self.ended or perf_counter()
            if isinstance(iterator, Generator) and type(closed := tried(iterator.close)) is Raised:
                self._fail(closed.take())
            self.outbox.close(self.failure)

    def iterate(self) -> Iterator[Any]:
        return iter(self.source)

    def put(self, item: Any, timeout: float | None = None) -> None:
        """Count an item, and put it into the first stage. Raises Closed, or queue.Full: it is then not counted.

        A FailedItem or a Barrier that travels to the end waits for room, whatever the `timeout`.

        Raises Closed, too, for what comes after a stop. Nobody waits for that, so it is not counted.
        """
        self.reading = False  # Stored before the looks: `drain`, and a stop, look at it after they have stored.
        if self.outbox.cancelled:
            raise Closed
        if self.draining:
            self.outbox.close()
        if type(item) is FailedItem or type(item) is Barrier:
            if (failure := self._failure(item)) is not None:
                self.outbox.announce()
                self.outbox.put(failure)
            return
        self.read += 1
        try:
            self.outbox.put(item, timeout)
        except Full:
            self.read -= 1
            raise
        except Closed:
            self.aborted += 1
            raise

    def _failure(self, item: FailedItem | Barrier) -> Failure | None:
        """What goes into the first stage in its place, if something does. A failed item is counted."""
        if isinstance(item, Barrier):
            if not self.policy.dead_letters.travel:
                raise TypeError("a Barrier came that nobody expects: call expect_barriers() before the start")
            return Failure(item)
        self.read += 1
        if self.outbox.closed:
            self.aborted += 1
            raise Closed
        self.failed += 1
        self.lineage.note(self.read - self.failed, self.read)
        failure = Failure(self.policy.blame(item.error, "read", item.item, self.read - 1))
        return self.policy.judge(failure)

    def _fail(self, error: BaseException) -> None:
        """Let what the source raised end the run. Closed is what a put raises after a stop."""
        ended = self.outbox.closed or self.outbox.cancelled
        if not (isinstance(error, Closed) and ended):  # Else it comes from another pipeline.
            failure = error if isinstance(error, PipelineError) else self.policy.blame(error, "read")
            failure.__traceback__ = None  # It refers to frames that refer to this source.
            self.failure = self.failure or failure
