"""The base class of your stages, and the loop of a stage."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Mapping, MutableMapping, Sequence
from threading import Event, current_thread, get_ident
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from .checks import SET_BY_THE_MANAGER
from .lane import Lane
from .policy import Hand

In = TypeVar("In")
Out = TypeVar("Out")
Hands = Mapping[int, Hand | None]  # By thread identifier: what the thread has in hand.


class WorkerLog(logging.LoggerAdapter[logging.Logger]):
    """Adds to each record which stage, worker and item it is about."""

    def __init__(self, stage: str, hands: Hands) -> None:
        super().__init__(logging.getLogger(f"{__package__}.{stage}"), {"stage": stage})
        self._hands = hands

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        hand = self._hands.get(get_ident())
        where = {"worker": current_thread().name, "item_index": None if hand is None else hand.index}
        kwargs["extra"] = {**(self.extra or {}), **where, **(kwargs.get("extra") or {})}
        return msg, kwargs


class BaseWorker(Generic[In, Out]):
    """One worker of a stage: an instance of its own, in a thread or a child process of its own. Its attributes need no lock.

    Define `process_item`, or `process_batch` for a stage that is added with `batch_size`. Load models and open files in
    `setup`; close them in `teardown`. Long calls may look at `stop_event` and return early.

    `name`        the name of the stage
    `index`       the number of this worker among those of its stage, from 0; for example, to choose a GPU or a shard
    `stop_event`  set when the run is to end early; setting it stops the run
    `logger`      its records have the attributes `stage`, `worker` (the thread's name) and `item_index` (the position of the
                  item in hand among those that the stage received, from 0; None where there is none, as in `setup`)

    The manager sets these four after `__init__` and before `setup`. An `__init__` that sets one of them is refused.
    """

    name: str
    index: int
    stop_event: Event
    logger: "logging.LoggerAdapter[logging.Logger]"

    _hands: Hands = MappingProxyType({})
    _origin: Callable[[int], int | None]

    def source_index(self) -> int | None:
        """The position, among the items of the source, of the one that the item in hand came from, from 0.

        Write under it what must be there once, even if an item is processed again: a row of a database, a file. None where
        that is not known: in a child process, outside of a call, and for what an earlier stage's `finish` gave.
        """
        hand = self._hands.get(get_ident())
        return None if hand is None else self._origin(hand.index)

    def setup(self) -> Awaitable[None] | None:
        """Called once, in the worker's thread, before its first item."""

    def process_item(
        self, item: In
    ) -> Out | Generator[Out, None, None] | Awaitable[Out | None] | AsyncGenerator[Out, None] | None:
        """Return the item for the next stage, or None to drop it. A generator function may yield any number of items.

        If it is async, so may be `setup`, `finish` and `teardown`: one worker then has many calls in flight, in an event
        loop of its own.

        An exception fails the item: the stage's `retries` and `on_error` say what happens then.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no process_item()")

    def process_batch(self, items: list[In]) -> Sequence[Out | None]:
        """Return one output for each item, in their order; None drops one.

        When it raises an Exception, each item is tried again alone, so that a bad item costs only itself.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no process_batch()")

    def finish(self) -> Iterable[Out] | Awaitable[Iterable[Out] | None] | AsyncGenerator[Out, None] | None:
        """Called once, in the worker's thread, when the stream has ended in order: return, or yield, what is left to give.

        For example totals, or the last group. It comes behind all other outputs of the stage, by worker. Not called after
        an error or a stop. What it raises ends the run.
        """

    def teardown(self) -> Awaitable[None] | None:
        """Called once, in the worker's thread, after its last item, whatever happened: also when `setup` raised."""

    def _run(self, lane: Lane) -> Generator[Any, None, None]:
        """The loop of a stage with one worker: see `Lane.run`."""
        return lane.run(lane.bursts())


def attach(
    worker: BaseWorker[Any, Any],
    name: str,
    index: int,
    stop_event: Event,
    hands: Hands,
    origin: Callable[[int], int | None] = lambda index: None,
) -> None:
    """Set the attributes that a worker may use from `setup` on. Raises TypeError where its `__init__` has set one."""
    if taken := [f"self.{each}" for each in SET_BY_THE_MANAGER if each in vars(worker)]:
        raise TypeError(f"{type(worker).__name__}.__init__ must not set {taken[0]}: the manager sets it; rename yours")
    worker.name, worker.index, worker.stop_event, worker.logger = name, index, stop_event, WorkerLog(name, hands)
    worker._hands, worker._origin = hands, origin
