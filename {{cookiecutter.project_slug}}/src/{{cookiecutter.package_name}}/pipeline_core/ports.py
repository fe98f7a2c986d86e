"""A worker's port: where it takes items in and hands outcomes on, and where both are counted.

One interface, three ways to hand on: alone (order keeps itself), as completed, and in the order of the input.
"""

from collections import deque
from collections.abc import Callable
from queue import Empty
from threading import Condition, Lock
from time import perf_counter
from typing import Any, Final, Literal, NoReturn

from .channel import Channel, Closed
from .errors import PipelineError

Verdict = Literal["processed", "filtered", "failed", "aborted"]


class _Nothing:
    """Stands where an output would: the item is over and gives none."""


NOTHING: Final = _Nothing()


class Port:
    """The port of a stage's only worker.

    `emit` gives one of several outputs of the item in hand, which stays in hand. The others take it off your hand:
    `deliver` gives its only output, `finish` says that it is over, `fail` that the stage is. Each raises Closed when
    nobody wants more, and `fail` always does.

    Whoever lets go of an item without passing it on counts it. One thread writes the counters, any may read them.
    """

    def __init__(self, inbox: Channel[Any], outbox: Channel[Any]) -> None:
        self.inbox = inbox
        self.outbox = outbox
        self.ticket = -1  # Which of the stage's items is in hand, in the order of the input, from 0.
        self.failure: PipelineError | None = None
        self.received = self.processed = self.filtered = self.failed = self.aborted = 0
        self.retried = self.emitted = 0
        self.waited_to_take = 0.0  # seconds of waiting for a turn; the channels know the rest
        self.waited_to_give = 0.0
        self._put: Callable[[Any], None] = outbox.put

    def take(self, timeout: float | None = None) -> Any:
        """The next item. Raises Closed and `queue.Empty` as the channel does."""
        item = self.inbox.get(timeout)
        self.ticket += 1
        self.received += 1
        return item

    _take_in_turn = take

    def take_batch(self, size: int, timeout: float | None) -> list[Any]:
        """The next items, at least one and at most `size`, waiting at most `timeout` seconds after the first.

        Their tickets are consecutive, and the last one's is `ticket`.
        """
        items = [self._take_in_turn()]
        deadline = None if timeout is None else perf_counter() + timeout
        try:
            while len(items) < size:
                items.append(self._take_in_turn(None if deadline is None else deadline - perf_counter()))
        except (Closed, Empty):
            pass
        if self.inbox.cancelled:
            self.count("aborted", len(items))
            raise Closed
        return items

    def emit(self, output: Any) -> None:
        self._put(output)
        self.emitted += 1

    def deliver(self, output: Any) -> None:
        try:
            self._put(output)
        except Closed:
            self.aborted += 1
            raise
        self.emitted += 1
        self.processed += 1

    def finish(self, verdict: Verdict) -> None:
        self.count(verdict)

    def fail(self, failure: PipelineError) -> NoReturn:
        """The item in hand ends the run: nothing behind it is taken in."""
        self.failed += 1
        self.end(failure)
        raise Closed

    def end(self, failure: PipelineError) -> None:
        """End the stage, for a reason that the last worker to leave hands on."""
        self.failure = self.failure or failure
        self.inbox.cancel()

    def count(self, verdict: Verdict, number: int = 1) -> None:
        setattr(self, verdict, getattr(self, verdict) + number)


class Turns:
    """What the ports of a stage with several workers share: one takes at a time, and one gives."""

    def __init__(self) -> None:
        self.taking = Lock()
        self.giving = Lock()
        self.tickets = 0


class SharedPort(Port):
    """The port of one of several workers: outcomes go out as they are completed."""

    def __init__(self, inbox: Channel[Any], outbox: Channel[Any], turns: Turns) -> None:
        super().__init__(inbox, outbox)
        self._turns = turns
        self._put = self._put_in_turn

    def take(self, timeout: float | None = None) -> Any:
        self.waited_to_take += _acquire(self._turns.taking)
        try:
            return self._take_in_turn(timeout)
        finally:
            self._turns.taking.release()

    def take_batch(self, size: int, timeout: float | None) -> list[Any]:
        self.waited_to_take += _acquire(self._turns.taking)
        try:
            return super().take_batch(size, timeout)
        finally:
            self._turns.taking.release()

    def _take_in_turn(self, timeout: float | None = None) -> Any:
        item = self.inbox.get(timeout)
        self.ticket = self._turns.tickets
        self._turns.tickets += 1
        self.received += 1
        return item

    def fail(self, failure: PipelineError) -> NoReturn:
        self.outbox.close(failure)  # Without an order there is nothing to wait for.
        super().fail(failure)

    def _put_in_turn(self, output: Any) -> None:
        self.waited_to_give += _acquire(self._turns.giving)
        try:
            self.outbox.put(output)
        finally:
            self._turns.giving.release()


def _acquire(lock: Lock) -> float:
    """Take the lock and return the seconds that it took, 0 when it was free."""
    if lock.acquire(blocking=False):
        return 0.0
    start = perf_counter()
    lock.acquire()
    return perf_counter() - start


class OrderedPort(SharedPort):
    """The port of one of several workers: outcomes go out in the order in which the items came in."""

    def __init__(self, inbox: Channel[Any], outbox: Channel[Any], turns: Turns, sequencer: "Sequencer") -> None:
        super().__init__(inbox, outbox, turns)
        self._sequencer = sequencer

    def emit(self, output: Any) -> None:
        self._sequencer.hand_in(self, output, None)

    def deliver(self, output: Any) -> None:
        self._sequencer.hand_in(self, output, "processed")

    def finish(self, verdict: Verdict) -> None:
        self._sequencer.hand_in(self, NOTHING, verdict)

    def fail(self, failure: PipelineError) -> NoReturn:
        self.end(failure)
        self._sequencer.hand_in(self, failure, "failed")
        raise Closed


class Sequencer:
    """Releases outcomes in the order of their tickets. Any number of workers hand in; one at a time releases.

    Who hands in too early goes straight back to work, until `window` entries are held; then only the head of the
    order goes on, so that neither a slow item nor a generator without end lets the rest pile up. An entry is an
    output, the verdict that ends an item, or both.
    """

    def __init__(self, outbox: Channel[Any], window: int) -> None:
        self._outbox = outbox
        self._window = window
        self._head = 0  # The ticket whose entries go out now.
        self._early: dict[int, deque[tuple[Any, Verdict | None]]] = {}
        self._held = 0
        self._waiting = 0
        self._releasing = False
        self._closed = False
        self._changed = (
            Condition()
        )  # Guards all of the above. Reentrant: a garbage collection in here may call `close`.

    def hand_in(self, port: Port, output: Any, verdict: Verdict | None) -> None:
        """Hand in an entry of the item in the port's hand; with a verdict it is the last.

        Raises Closed when nobody wants more. The item is then counted, if there was a verdict.
        """
        with self._changed:
            if self._must_wait(port.ticket):
                start = perf_counter()
                self._waiting += 1
                while self._must_wait(port.ticket):
                    self._changed.wait()
                self._waiting -= 1
                port.waited_to_give += perf_counter() - start
            if self._closed:
                _count_unreleased(port, verdict)
                raise Closed
            if self._releasing or port.ticket != self._head:
                self._early.setdefault(port.ticket, deque()).append((output, verdict))
                self._held += 1
                return
            self._releasing = True
        self._release(port, output, verdict)

    def _must_wait(self, ticket: int) -> bool:
        at_head = ticket == self._head and not self._releasing
        return self._held >= self._window and not at_head and not self._closed

    def _release(self, port: Port, output: Any, verdict: Verdict | None) -> None:
        """Put the entry out, and then all that follows it without a gap."""
        while True:
            if verdict == "failed" and output is not NOTHING:
                self._outbox.close(output)
                port.count("failed")
                self.close()
                raise Closed
            try:
                if output is not NOTHING:
                    self._outbox.put(output)
                    port.emitted += 1
            except Closed:
                self.close()
                _count_unreleased(port, verdict)
                raise
            with self._changed:
                if verdict is not None:
                    port.count(verdict)
                    self._head += 1
                if self._waiting:
                    self._changed.notify_all()
                entries = self._early.get(self._head)
                if not entries or self._closed:
                    self._releasing = False
                    return
                output, verdict = entries.popleft()
                self._held -= 1
                if not entries:
                    del self._early[self._head]

    def close(self) -> None:
        """Nothing more is released; whoever waits here, or comes later, gets Closed."""
        with self._changed:
            if not self._closed:  # Also when a signal handler calls this in the middle of itself.
                self._closed = True
                self._changed.notify_all()

    def count_unreleased(self, port: Port) -> None:
        """After the last worker has left: count what was handed in and never released."""
        for entries in self._early.values():
            for _output, verdict in entries:
                _count_unreleased(port, verdict)
        self._early.clear()


def _count_unreleased(port: Port, verdict: Verdict | None) -> None:
    if verdict is not None:
        port.count("aborted" if verdict == "processed" else verdict)
