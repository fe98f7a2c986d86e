"""What the workers of a crew take, and where those meet that have nothing to do."""

from collections import deque
from collections.abc import Callable, Generator
from threading import Lock
from typing import Any

from .channel import Channel
from .clocks import Meter
from .errors import Failure
from .policy import NOTHING
from .signals import Signal


class Place:
    """Items in a row, while a crew has them in hand. One worker makes their calls, one after another.

    `items`     those that the loop has not taken back; `todo` of them, in reverse, have not begun
    `done`      outcomes that follow, which the loop takes back at any time; an expansion is a Stream
    `expands`   whether there may be a Stream; `begun`: whether a worker has taken it; `finished`: no more outcomes come
    `index`     the position of the item in hand among those that the stage received; `end`: of the first one behind them
    """

    __slots__ = (
        "attempt", "begun", "done", "end", "expands", "finished", "index", "item", "items", "meter", "retried", "todo",
    )  # fmt: skip
    meter: Meter  # Of the thread that works on it.

    def __init__(self, items: list[Any], index: int, end: int) -> None:
        self.items, self.todo, self.index, self.end = items, items[::-1], index, end
        self.done: list[Any] = []
        self.item: Any = NOTHING  # In hand.
        self.retried, self.attempt = 0, 1
        self.begun = self.expands = self.finished = False

    def split_off(self, count: Callable[[list[Any]], int]) -> "Place | None":
        """A place for the last item, if it has not begun. `count` says how many items some are, as `end` counts them."""
        try:
            item = self.todo.pop(0)
        except IndexError:
            return None
        self.items.pop()
        end, self.end = self.end, self.end - count([item])
        return Place([item], self.end, end)


class Stream(Channel[Any]):
    """The outputs of an expansion. `left` is its outcome then: NOTHING if it gave something, a Failure, or None."""

    left: Any = None

    def fill(self, outputs: Generator[Any, None, None]) -> None:
        """Put all outputs, and end the stream."""
        self.put_all(self._noted(outputs))
        self.close()

    def _noted(self, outputs: Generator[Any, None, None]) -> Generator[Any, None, None]:
        for output in outputs:
            self.left = output if type(output) is Failure else NOTHING
            if self.left is NOTHING:
                yield output
            del output


class Tasks:
    """The tasks of a crew, and the bells of the workers that sleep. Any thread may add a task, and any worker take one.

    Tasks are in the order of the items. Whoever takes one holds `taking`, and so does the loop while it cuts places.
    """

    def __init__(self, outbox: Channel[Any]) -> None:
        self.ended, self.taking, self._outbox = False, Lock(), outbox
        self._tasks, self._idle = deque[Any](), deque[Any]()  # Bells: whatever can be `set`.

    def __len__(self) -> int:
        return len(self._tasks)

    def append(self, task: Any) -> None:
        """Add a task behind the others. Call `wake_one` after the last one."""
        self._tasks.append(task)

    def push(self, task: Any) -> None:
        """Add a task in front of the others. Call `wake_one` after the last one."""
        self._tasks.appendleft(task)

    def take(self, bell: Signal, meter: Meter) -> Any:
        """Wait for the next task, and return it; None at the end."""
        while not (self.ended or self._outbox.closed):
            if (task := self.take_now()) is not None:
                if self._tasks and self._idle:
                    self.wake_one()  # It does the same, so that one ring is enough for many tasks.
                return task
            start = meter.waits.begin()
            self.lie_down(bell)
            bell.wait()
            meter.waits.end(start)
        return None

    def lie_down(self, bell: Any) -> None:
        """Have the bell rung when there is something to do."""
        self._idle.append(bell)
        if self._tasks or self.ended:  # They came before the bell was there, and rang nobody.
            self.wake_one()

    def take_now(self, most: int | None = None) -> Any:
        """The next task, if there is one: of at most so many items."""
        with self.taking:
            if not self._tasks or (most is not None and len(self._tasks[0].items) > most):
                return None
            task = self._tasks.popleft()
            task.begun = True
            return task

    def wake_one(self) -> bool:
        """Wake one worker, after a task was added. Returns False if none sleeps: only this `popleft`, with its lock, may say so."""
        try:
            self._idle.popleft().set()
        except IndexError:
            return False
        return True

    def end(self) -> None:
        """Drop all tasks, and send the workers home."""
        self.ended = True
        with self.taking:
            self._tasks.clear()
        while self.wake_one():
            pass
