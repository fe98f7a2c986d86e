"""Where the items come from."""

from collections.abc import Callable, Generator
from threading import Thread
from time import perf_counter
from typing import Any

from .channel import Channel, Closed
from .errors import FailedItem, Failure, PipelineError
from .policy import NOTHING, Policy

GRACE = 0.01  # Seconds that a stop waits for a source that is in its own `next()`.


class Source:
    """Reads the items of an iterable, in a thread of its own, and feeds the first stage.

    In the plain loop, whoever asks for an item reads it, unless the source `always_has_a_thread`.
    """

    always_has_a_thread = False

    def __init__(self, source: Any, outbox: Channel[Any], policy: Policy) -> None:
        self.source, self.policy, self.outbox = source, policy, outbox
        self.read = self.failed = self.aborted = 0
        self.failure: PipelineError | None = None
        self.ended = 0.0  # When it gave its last item.
        self.reading = True  # In code of the source, which may block for ever.
        self.draining = self.left_behind = False
        self._thread: Thread | None = None

    def start(self, spawn: Callable[[Callable[[], None], str], Thread]) -> None:
        self._thread = spawn(self._run, "source")

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
            self.left_behind = self._thread.is_alive()
            self.ended = self.ended or perf_counter()

    def items(self) -> Generator[Any, None, None]:
        """The items of an iterable, counted."""
        iterator: Any = None
        try:
            iterator = iter(self.source)
            while not (self.draining or self.outbox.closed):
                item = next(iterator, NOTHING)
                if item is NOTHING or self.left_behind:
                    break
                self.reading = False
                try:
                    item = self.admit(item)
                    if item is not NOTHING:
                        yield item
                except Closed:
                    self.abort(item)
                    raise
                del item  # It is not kept while the source blocks.
                self.reading = True  # Stored before the look at `draining`, as `drain` does it the other way round.
        except BaseException as error:
            if not (self.reading or isinstance(error, PipelineError)):
                raise
            self._fail(error)
        finally:
            self.reading, self.ended = False, self.ended or perf_counter()
            if isinstance(iterator, Generator):
                try:
                    iterator.close()
                except BaseException as error:
                    self._fail(error)

    def admit(self, item: Any) -> Any:
        """Count an item that was read. Returns what goes into the first stage, or NOTHING if it has failed.

        Raises Closed for one that fails after the end.
        """
        self.read += 1
        if type(item) is not FailedItem:
            return item
        if self.outbox.closed:
            raise Closed
        self.failed += 1
        failure = Failure(self.policy.blame(item.error, "read", item.item, self.read - 1))
        return self.policy.judge(failure) or NOTHING

    def abort(self, item: Any) -> None:
        """Count an item that no stage has taken."""
        self.aborted += type(item) is not Failure

    def plain_loop(self) -> Generator[Any, None, None]:
        """The items, for the plain loop. Raises the PipelineError that ends the run."""
        yield from self.items()
        if self.failure is not None:
            raise self.failure

    def feed(self) -> None:
        """Put all items into the first stage."""
        self.outbox.put_all(self.items())

    def _run(self) -> None:
        """What the thread of the source does."""
        try:
            self.feed()
        except BaseException as error:
            self._fail(error)
        finally:
            self.reading, self.ended = False, self.ended or perf_counter()
            self.outbox.close(self.failure)

    def _fail(self, error: BaseException) -> None:
        """Let what the source raised end the run. Closed is what a put raises after a stop."""
        if not (isinstance(error, Closed) and self.outbox.closed):  # Else it comes from another pipeline.
            failure = error if isinstance(error, PipelineError) else self.policy.blame(error, "read")
            failure.__traceback__ = None  # It refers to frames that refer to this source.
            self.failure = self.failure or failure
