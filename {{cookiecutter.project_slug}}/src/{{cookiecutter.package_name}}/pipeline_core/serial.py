"""Serial mode: the plain loop, in the caller's thread."""

from collections import deque
from collections.abc import Generator, Sequence
from contextlib import ExitStack, closing, suppress
from itertools import islice
from threading import get_ident
from typing import Any

from .batches import BatchLane
from .channel import Closed
from .endings import endings
from .errors import PipelineError
from .lane import travellers
from .source import Source


class SerialLane(BatchLane):
    """How the plain loop gets its items: from the generator of the stage before, in the caller's thread."""

    items: Generator[Any, None, None]
    received = 0
    admit: Any = None
    failure: PipelineError | None = None  # What ended the items.

    def gather(self, items: deque[Any]) -> None:
        try:
            for item in islice(self.items, self.size):
                items.append(item if self.admit is None else self.admit(item))
        except PipelineError as error:
            self.failure = error  # What came before it is in `items`, and is worked on first.
        self.received += len(items) - travellers(items)
        if self.policy.stop_event.is_set():
            raise Closed
        if not items:
            raise self.failure or Closed


def plain_loop(source: Source, stages: Sequence[Any]) -> Generator[Any, None, None]:
    """The results: each stage asks the one before it for its items."""
    with ExitStack() as at_the_end:
        for stage in stages:
            at_the_end.enter_context(stage.attended(stage.workers[0], stage.lane.meter))
        items = items_of(source)
        for stage in stages:
            items = outputs_of(stage, items)
        yield from at_the_end.enter_context(closing(items))


def items_of(source: Source) -> Generator[Any, None, None]:
    with closing(source.feed()) as feed, suppress(Closed):
        while True:
            while not (source.always_has_a_thread or source.outbox or source.outbox.closed):
                next(feed, None)
            yield source.outbox.get()
    if source.outbox.failure is not None:  # It ends the stages, too: no `finish` is called.
        raise source.outbox.failure


def outputs_of(stage: Any, items: Generator[Any, None, None]) -> Generator[Any, None, None]:
    lane: SerialLane = stage.lane
    lane.items, stage.hands[get_ident()] = stage.inbox.reading.timed(items), lane
    if stage.spec.when is not None:
        lane.admit = stage.admit
    with suppress(Closed), closing(lane.items), closing(stage.workers[0]._run(lane)) as outputs:
        for output in outputs:
            yield output
            del output
    if stage.spec.finishes and not stage.policy.stop_event.is_set():
        yield from endings(stage)
