"""Where the threads of a stage take items in and hand outputs on: one alone, or several that share both sides.

Who lets go of an item without passing it on counts it, in a counter of its own; a report adds them up.
"""

from collections import deque
from queue import Empty
from threading import Condition, Lock
from time import perf_counter
from typing import Any, Final

from .channel import Channel, Closed
from .errors import PipelineError


class Nothing:
    """Stands where an item would."""


NOTHING: Final = Nothing()


class Turn:
    """A lock that measures how many seconds threads have waited for it, all together."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.waited = 0.0

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            start = perf_counter()
            self._lock.acquire()
            self.waited += perf_counter() - start

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class Outlet:
    """How the outputs of several threads go out: as they are completed. A failure does not wait for others, either."""

    def __init__(self, outbox: Channel[Any]) -> None:
        self.giving = Turn()
        self.dropped = 0  # Items whose outputs were put, and never went out.
        self._outbox = outbox

    def put(self, ticket: int, output: Any, last: bool) -> None:
        """Hand on an output of the item with that ticket, or NOTHING. Raises Closed when nobody wants more."""
        if output is not NOTHING:
            with self.giving:
                self._outbox.put(output)

    def fail(self, ticket: int, failure: PipelineError) -> None:
        """End the stream at that item."""
        self._outbox.close(failure)

    def close(self) -> None:
        """Nothing more goes out; who waits here, or comes later, gets Closed."""

    def settle(self) -> None:
        """After the last thread has left: see what never went out."""


class InOrder(Outlet):
    """Outputs go out in the order of their items' tickets. Any number of threads put; one at a time releases.

    Who comes too early goes straight back to work, until `window` entries are held; then only the head of the
    order goes on, so that neither a slow item nor a generator without end lets the rest pile up. The `last` entry of
    an item lets the next one's go; it may be NOTHING.
    """

    def __init__(self, outbox: Channel[Any], window: int) -> None:
        super().__init__(outbox)
        self._window = window
        self._head = 0  # The ticket whose entries go out now.
        self._early: dict[int, deque[tuple[Any, bool]]] = {}
        self._held = 0
        self._waiting = 0
        self._releasing = False
        self._closed = False
        self._changed = Condition()  # Guards it all. Reentrant: a garbage collection in here may call `close`.

    def put(self, ticket: int, output: Any, last: bool) -> None:
        with self._changed:
            if self._must_wait(ticket):
                start = perf_counter()
                self._waiting += 1
                while self._must_wait(ticket):
                    self._changed.wait()
                self._waiting -= 1
                self.giving.waited += perf_counter() - start
            if self._closed:
                raise Closed
            if self._releasing or ticket != self._head:
                self._early.setdefault(ticket, deque()).append((output, last))
                self._held += 1
                return
            self._releasing = True
        self._release(output, last)

    def fail(self, ticket: int, failure: PipelineError) -> None:
        self.put(ticket, _End(failure), last=True)

    def close(self) -> None:
        with self._changed:
            if not self._closed:  # Also when a signal handler calls this in the middle of itself.
                self._closed = True
                self._changed.notify_all()

    def settle(self) -> None:
        for entries in self._early.values():
            outputs = sum(output is not NOTHING and type(output) is not _End for output, _ in entries)
            self.dropped += bool(outputs and entries[-1][1])
        self._early.clear()

    def _must_wait(self, ticket: int) -> bool:
        at_head = ticket == self._head and not self._releasing
        return self._held >= self._window and not at_head and not self._closed

    def _release(self, output: Any, last: bool) -> None:
        """Put the entry out, and then all that follows it without a gap."""
        own = True
        while True:
            if type(output) is _End:
                self._outbox.close(output.failure)
                return self.close()
            try:
                if output is not NOTHING:
                    self._outbox.put(output)
            except Closed:
                self.close()
                if own:
                    raise
                self._early.setdefault(self._head, deque()).appendleft((output, last))
                return None
            own = False
            with self._changed:
                self._head += last
                if self._waiting:
                    self._changed.notify_all()
                entries = self._early.get(self._head)
                if not entries or self._closed:
                    self._releasing = False
                    return None
                output, last = entries.popleft()
                self._held -= 1
                if not entries:
                    del self._early[self._head]


class _End:
    """Stands for the output of the item that ends the run."""

    def __init__(self, failure: PipelineError) -> None:
        self.failure = failure


class Port:
    """One thread's side of a stage.

    `take` brings an item in hand. `give` hands its only output on; or `emit` does each of several, and `finish` says
    that it is over. All raise Closed: when the stream has ended, or nobody wants more. `fail` ends the stream at the
    item in hand; what was taken before it still goes out. One thread writes the counters, any may read them.
    """

    ticket = -1  # Which of the stage's items is in hand, in the order of the input, from 0.

    def __init__(self, inbox: Channel[Any], taking: Turn, outlet: Outlet) -> None:
        self.inbox = inbox
        self.failure: PipelineError | None = None
        self.processed = self.filtered = self.failed = self.aborted = self.retried = 0
        self._taking = taking
        self._outlet = outlet

    def take(self) -> Any:
        with self._taking:
            item = self.inbox.get()
            self.ticket = self.inbox.taken - 1
        return item

    def take_batch(self, size: int, timeout: float | None) -> list[Any]:
        """The next items, at least one and at most `size`, waiting at most `timeout` seconds after the first.

        Their tickets are consecutive, and the first one's is `ticket`.
        """
        with self._taking:
            items = [self.inbox.get()]
            self.ticket = self.inbox.taken - 1
            deadline = None if timeout is None else perf_counter() + timeout
            try:
                while len(items) < size:
                    items.append(self.inbox.get(None if deadline is None else deadline - perf_counter()))
            except (Closed, Empty):
                pass
            if self.inbox.cancelled:
                self.aborted += len(items)
                raise Closed
        return items

    def give(self, output: Any) -> None:
        self._outlet.put(self.ticket, output, last=True)

    def emit(self, output: Any) -> None:
        self._outlet.put(self.ticket, output, last=False)

    def finish(self) -> None:
        self._outlet.put(self.ticket, NOTHING, last=True)

    def fail(self, failure: PipelineError) -> None:
        self.failure = failure
        self.inbox.cancel()
        self._outlet.fail(self.ticket, failure)


class LonePort(Port):
    """The port of a stage's only thread: order keeps itself, and nothing stands between it and the channels."""

    def __init__(self, inbox: Channel[Any], taking: Turn, outlet: Outlet, outbox: Channel[Any]) -> None:
        super().__init__(inbox, taking, outlet)
        self.take = inbox.get  # type: ignore[method-assign]
        self.give = self.emit = outbox.put  # type: ignore[assignment, method-assign]

    @property
    def ticket(self) -> int:  # type: ignore[override]
        return self.inbox.taken - 1
