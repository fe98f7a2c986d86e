"""The loop of a stage with one worker that takes its items in batches."""

from collections import deque
from contextlib import suppress
from queue import Empty
from time import perf_counter
from typing import Any

from .channel import Channel, Closed
from .lane import Bursts, Lane, drained
from .policy import Policy


class BatchLane(Lane):
    """How a stage with one worker gets its batches."""

    def __init__(
        self, inbox: Channel[Any], policy: Policy, calls: Any, size: int, timeout: float | None = None
    ) -> None:
        super().__init__(inbox, policy, calls)
        self.size, self.timeout = size, timeout

    def bursts(self) -> Bursts:
        items: deque[Any] = deque()
        try:
            while True:
                self.gather(items)
                yield self.calls.batch(list(items), self), drained(items)
        finally:
            self.abandon(items)

    def gather(self, items: deque[Any]) -> None:
        """Add the items of the next batch, one or more. Raises Closed at the end of the stream."""
        items.append(self.inbox.get())
        deadline = None if self.timeout is None else perf_counter() + self.timeout
        with suppress(Closed, Empty):
            while len(items) < self.size:
                items.append(self.inbox.get(None if deadline is None else deadline - perf_counter()))
        if self.inbox.cancelled:
            raise Closed
