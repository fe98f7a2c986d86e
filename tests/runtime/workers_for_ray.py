"""Workers for the tests on Ray: actors import this file."""

import asyncio
import os
import pickle
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

from my_pipeline.pipeline_core import BaseWorker, FailedItem, SubTaskPoolWorker


class Negate(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return -item


class Slow(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        time.sleep(0.005)
        return -item


class Tells(BaseWorker[int, Any]):
    """Writes its life into a folder, and gives where it was and what it is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def note(self, what: str) -> None:
        with open(self.folder / f"{self.index}", "a") as file:
            file.write(f"{what} {threading.current_thread().name}\n")

    def setup(self) -> None:
        self.note("setup")

    def process_item(self, item: int) -> Any:
        self.logger.warning("at work on %d", item)
        return item, self.name, self.index, os.getpid()

    def finish(self) -> list[str]:
        self.note("finish")
        return [f"end of {self.index}"]

    def teardown(self) -> None:
        self.note("teardown")


class StopsAt(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        if item == 3:
            self.stop_event.set()
        return item


class DiesOnce(BaseWorker[int, int]):
    """Its process is killed in its first call for item 7."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def process_item(self, item: int) -> int:
        if item == 7 and not (self.folder / "died").exists():
            (self.folder / "died").touch()
            os.kill(os.getpid(), 9)
        return -item


class AsyncDiesOnce(DiesOnce):
    async def process_item(self, item: int) -> int:  # type: ignore[override]
        await asyncio.sleep(0)
        return super().process_item(item)


class AsyncSleep(BaseWorker[float, float]):
    async def process_item(self, item: float) -> float:
        await asyncio.sleep(item)
        return item


class Travelling(bytearray):
    """A large value that notes in which processes it was unpickled."""

    def __init__(self, size: int, seen: tuple[int, ...] = ()) -> None:
        super().__init__(size)
        self.seen = seen

    def __reduce_ex__(self, protocol: Any) -> Any:
        return arrived, (len(self), self.seen, bytes(self))


def arrived(size: int, seen: tuple[int, ...], content: bytes) -> Travelling:
    value = Travelling(size, (*seen, os.getpid()))
    value[:] = content
    return value


class Makes(BaseWorker[int, Travelling]):
    def process_item(self, item: int) -> Travelling:
        return Travelling(item)


class Expands(BaseWorker[int, Travelling]):
    def process_item(self, item: int) -> Generator[Travelling, None, None]:
        for size in range(item, item + 3):
            yield Travelling(size)


class Changes(BaseWorker[Travelling, Travelling]):
    def process_item(self, item: Travelling) -> Travelling:
        item[0] += 1
        return item


class Measures(BaseWorker[Travelling, Any]):
    """Gives the size, the first byte, and where it was unpickled. It refuses a size that ends with 3."""

    def process_item(self, item: Travelling) -> Any:
        if len(item) % 10 == 3:
            raise ValueError("an odd size")
        return len(item), item[0], item.seen


class Pool(SubTaskPoolWorker[int, int, int, int]):
    def split(self, item: int) -> Iterator[int]:
        yield from range(item)

    def process_sub_task(self, sub: int) -> int:
        return sub * sub

    def merge(self, item: int, results: list[int]) -> int:
        return sum(results)


class Splits(BaseWorker[int, int]):
    """Gives nothing for each third item, and for the others two."""

    def process_item(self, item: int) -> Generator[int, None, None]:
        if item % 3:
            yield 10 * item
            yield 10 * item + 1


class Refuses(BaseWorker[int, int]):
    def process_item(self, item: int) -> Any:
        if item % 20 == 0:
            raise LookupError("raised")
        return FailedItem(item, ValueError("returned")) if item % 20 == 1 else item


class AsyncRefuses(Refuses):
    async def process_item(self, item: int) -> Any:
        return super().process_item(item)


class AsyncBurns(BaseWorker[int, int]):
    async def process_item(self, item: int) -> int:
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
        return item


class AsyncNeverReady(BaseWorker[int, int]):
    """Its `setup` raises, and its `teardown` tells that it was called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def setup(self) -> None:
        raise OSError("no model")

    async def process_item(self, item: int) -> int:
        return item

    async def teardown(self) -> None:
        (self.folder / "over").touch()


class Buffer:
    """Like an array: its content travels beside the pickle."""

    def __init__(self, content: Any) -> None:
        self.content = bytes(content)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Buffer, (pickle.PickleBuffer(self.content),)


class Holds(BaseWorker[int, int]):
    def __init__(self, buffer: Buffer) -> None:
        self.buffer = buffer

    def process_item(self, item: int) -> int:
        return self.buffer.content[item]
