"""Workers for tests that compare executors, in classes and their async twins: child processes import this file."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from my_pipeline.pipeline_core import BaseWorker, FailedItem, RetryAfter, SubTaskPoolWorker

PLAIN = "plain", "plain", "plain", "filtered", "fails once", "fails always", "is not worth it", "failed item"
EXPANDING = *PLAIN, "expanded", "expanded", "fails late", "yields a failed item"
IN_BATCHES = "plain", "plain", "filtered", "fails always", "failed item"


class Refused(Exception):
    """What the faults below raise, if it is worth another attempt."""


@dataclass(frozen=True)
class Faults:
    """What becomes of each item in one stage: drawn from `kinds` by the seed, the stage and the item alone."""

    seed: int
    depth: int
    kinds: tuple[str, ...]

    def draw(self, item: object) -> str:
        return Random(f"{self.seed} {self.depth} {item}").choice(self.kinds)

    def work(self, item: int, attempt: int) -> Any:
        kind = self.draw(item)
        if kind == "fails always" or (kind == "fails once" and attempt == 1):
            raise Refused(f"{item} at attempt {attempt}")
        if kind == "is not worth it":
            raise LookupError(item, "is unknown")
        if kind == "failed item":
            return FailedItem(("half of", item), ValueError(f"{item} is torn"))
        return None if kind == "filtered" else 1000 * item

    def outputs(self, item: int, attempt: int) -> Iterator[Any]:
        kind = self.draw(item)
        yield self.work(item, attempt)
        if kind == "fails late":
            raise Refused(f"{item} behind its first output")
        if kind == "yields a failed item":
            yield FailedItem(item, ValueError(f"{item} is torn"))
        if kind == "expanded":
            yield None
            yield from range(1000 * item + 1, 1000 * item + 1 + item % 3)

    def at_the_end(self, index: int) -> Iterator[Any]:
        """Only one worker has something to give, so that their number makes no difference."""
        if index == 0:
            yield from (-7, None, FailedItem("the end", ValueError(f"of stage {self.depth}")), -9)


class Faulty(BaseWorker[int, Any]):
    def __init__(self, faults: Faults) -> None:
        self.faults, self.attempts = faults, dict[int, int]()

    def attempt(self, item: int) -> int:
        self.attempts[item] = self.attempts.get(item, 0) + 1
        return self.attempts[item]

    def finish(self) -> Any:
        return self.faults.at_the_end(self.index)


class Plain(Faulty):
    def process_item(self, item: int) -> Any:
        return self.faults.work(item, self.attempt(item))


class Expanding(Faulty):
    def process_item(self, item: int) -> Iterator[Any]:
        yield from self.faults.outputs(item, self.attempt(item))


class InBatches(Faulty):
    def process_batch(self, items: list[int]) -> list[Any]:
        return [self.faults.work(item, 1) for item in items]


class AsyncPlain(Plain):
    async def process_item(self, item: int) -> Any:
        await asyncio.sleep(0)
        return self.faults.work(item, self.attempt(item))

    async def finish(self) -> Any:
        await asyncio.sleep(0)
        return self.faults.at_the_end(self.index)


class AsyncExpanding(Faulty):
    async def process_item(self, item: int) -> AsyncGenerator[Any, None]:
        for output in self.faults.outputs(item, self.attempt(item)):
            await asyncio.sleep(0)
            yield output

    async def finish(self) -> AsyncGenerator[Any, None]:
        for output in self.faults.at_the_end(self.index):
            await asyncio.sleep(0)
            yield output


TWINS: dict[type[Faulty], type[Faulty]] = {Plain: AsyncPlain, Expanding: AsyncExpanding}
KINDS: dict[type[Faulty], tuple[str, ...]] = {Plain: PLAIN, Expanding: EXPANDING, InBatches: IN_BATCHES}


def is_worth_it(error: Exception) -> bool:
    return isinstance(error, Refused)


# What hangs. Until the gate opens; in a child process, until it is killed.


class Hanging(BaseWorker[Any, Any]):
    """Hangs in the calls that `stuck` names: an item's first `calls` ones. It tells of its calls with files."""

    def __init__(self, stuck: set[int], calls: int = 99, gate: Any = None, folder: Path | None = None) -> None:
        self.stuck, self.calls, self.gate, self.folder = stuck, calls, gate, folder

    def is_stuck(self, item: int) -> bool:
        """Counts the calls, whichever worker makes them."""
        if item not in self.stuck:
            return False
        for call in range(self.calls):
            try:
                if self.folder is not None:
                    (self.folder / f"{item} call {call}").touch(exist_ok=False)
                return True
            except FileExistsError:
                pass
        return False

    def hang(self) -> None:
        (self.gate or threading.Event()).wait(600)

    def process_item(self, item: int) -> Any:
        if self.is_stuck(item):
            self.hang()
        return -item


class AsyncHanging(Hanging):
    async def process_item(self, item: int) -> int:
        if self.is_stuck(item):
            await asyncio.Event().wait()
        return -item


class HangingGenerator(Hanging):
    def process_item(self, item: int) -> Iterator[Any]:
        yield item
        if self.is_stuck(item):
            self.hang()
        yield -item


class AsyncHangingGenerator(Hanging):
    async def process_item(self, item: int) -> AsyncGenerator[int, None]:
        yield item
        if self.is_stuck(item):
            await asyncio.Event().wait()
        yield -item


class HangingBatch(Hanging):
    def process_batch(self, items: list[int]) -> list[Any]:
        if any(map(self.is_stuck, items)):
            self.hang()
        return [-item for item in items]


class HangingAndNotSetUpAgain(Hanging):
    """The worker that takes its place cannot be set up."""

    def setup(self) -> None:
        assert self.folder is not None
        try:
            (self.folder / "was set up").touch(exist_ok=False)
        except FileExistsError:
            raise FileNotFoundError("the device is in use") from None


class CountsAtTheEnd(Hanging):
    """Gives the number of its calls that returned at the end."""

    returned = 0

    def process_item(self, item: int) -> None:
        super().process_item(item)
        self.returned += 1

    def finish(self) -> list[str]:
        return [f"{self.returned} by {self.index}"]


# What is asked to wait.


class AsksToWait(BaseWorker[Any, Any]):
    """Gives when each call of an item began. The first call for item `at` asks for a pause of so many `seconds`."""

    def __init__(self, folder: Path, at: int = -1, seconds: float = 0.0, takes: float = 0.0) -> None:
        self.folder, self.at, self.seconds, self.takes = folder, at, seconds, takes

    def work(self, item: int) -> float:
        from time import monotonic, sleep

        begun = monotonic()
        sleep(self.takes)
        if item == self.at:
            try:
                (self.folder / "asked").touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                raise RetryAfter(self.seconds)
        return begun

    def process_item(self, item: int) -> Any:
        return self.work(item)

    def process_batch(self, items: list[int]) -> list[Any]:
        return [self.work(item) for item in items]


class AsyncAsksToWait(AsksToWait):
    async def process_item(self, item: int) -> float:
        takes, self.takes = self.takes, 0.0
        begun = self.work(item)
        self.takes = takes
        await asyncio.sleep(takes)
        return begun


# What has something to give at the end.


class Totals(BaseWorker[Any, Any]):
    def __init__(self, how: str = "list") -> None:
        self.how, self.seen = how, 0

    def process_item(self, item: int) -> Any:
        self.seen += 1
        return item

    def finish(self) -> Any:
        return {
            "list": lambda: ["total", self.index],
            "tuple": lambda: ("total", self.index),
            "generator": lambda: (each for each in ("total", None, self.index)),
            "iterator": lambda: iter(["total", self.index]),
            "nothing": lambda: None,
            "empty": list,
            "error": self.fail,
            "late error": self.fail_late,
            "failed item": lambda: ["total", FailedItem("rest", ValueError("is torn")), self.index],
            "exit": lambda: exit("no totals"),
            "death": self.die,
        }[self.how]()

    def fail(self) -> None:
        raise ValueError("no totals")

    def fail_late(self) -> Iterator[Any]:
        yield "total"
        raise ValueError("no totals")

    def die(self) -> None:
        import os

        os._exit(9)


class AsyncTotals(Totals):
    async def process_item(self, item: int) -> int:
        self.seen += 1
        return item

    async def finish(self) -> Any:
        await asyncio.sleep(0)
        return super().finish()


class AsyncTotalsOneByOne(AsyncTotals):
    async def finish(self) -> AsyncGenerator[Any, None]:  # type: ignore[override]
        for each in Totals.finish(self) or ():
            await asyncio.sleep(0)
            yield each


class SplittingPool(SubTaskPoolWorker[int, Any, Any, Any]):
    """Two sub-tasks an item. That of item 3 hangs."""

    def split(self, item: int) -> list[int]:
        return [item, 10 * item]

    def process_sub_task(self, sub: int) -> int:
        if sub == 3:
            threading.Event().wait()
        return -sub

    def merge(self, item: int, results: list[int]) -> list[int]:
        return results
