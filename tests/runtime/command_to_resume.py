"""The command around a pipeline that filters, expands, batches and totals, in every kind of worker: what resuming is tried on.

SEEN        a file that gets a byte for each item that the first stage begins
ORDERED     "no" for results as they come
TOTALS      "no" for a pipeline without the stage of totals, which has to see all items
PACE        seconds that the first stage takes for an item
RENAMED     another name of the stage `parse`
STUCK_AT    the number at which the last stage says "stuck" on stderr, and sleeps for ever
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from my_pipeline.cli import (
    main,
)
from my_pipeline.pipeline_core import (
    BaseWorker,
    DeadLetter,
    FailedItem,
    PipelineManager,
)

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """`ending`: of each text."""

    ending: str = ""


DEFAULTS = Settings()


class Parse(BaseWorker[Row, int]):
    """Drops each seventh number, and fails on each eleventh."""

    def setup(self) -> None:
        self.seen = os.open(os.environ["SEEN"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def process_item(self, item: Row) -> int | None:
        os.write(self.seen, b".")
        time.sleep(float(os.environ.get("PACE", "0.002")))
        number = int(item["n"])
        if number % 11 == 0:
            raise ValueError(f"{number} is bad")
        return None if number % 7 == 0 else number

    def teardown(self) -> None:
        os.close(self.seen)


class Expand(BaseWorker[int, Row]):
    """Makes a number 0, 1 or 2 rows, and fails behind those of each thirteenth."""

    def process_item(self, item: int) -> Generator[Row, None, None]:
        for part in range(item % 3):
            time.sleep(0.001)
            yield {"n": item, "part": part}
        if item % 13 == 0:
            raise ValueError(f"{item} breaks off")


class Name(BaseWorker[Row, Row]):
    """Names the rows, many at once. The number in each seventeenth has no name."""

    def __init__(self, ending: str) -> None:
        self.ending = ending

    def process_batch(self, items: list[Row]) -> list[Any]:
        return [
            row | {"text": f"number {row['n']}, ü{self.ending}"}
            if row["n"] % 17
            else FailedItem(row, ValueError(f"{row['n']} has no name"))
            for row in items
        ]


class Shout(BaseWorker[Row, Row]):
    """Runs in a child process."""

    def process_item(self, item: Row) -> Row:
        return item | {"text": item["text"].upper()}


class Ask(BaseWorker[Row, Row]):
    async def process_item(self, item: Row) -> Row:
        await asyncio.sleep(0.001 * (item["n"] % 4))
        return item


class Total(BaseWorker[Row, Row]):
    """Hands the rows on, and gives how many there were of each part at the end."""

    def setup(self) -> None:
        self.parts = Counter[int]()

    def process_item(self, item: Row) -> Row:
        self.parts[item["part"]] += 1
        return item

    def finish(self) -> Iterator[Row]:
        for part, count in sorted(self.parts.items()):
            yield {"n": count, "part": part, "text": "total"}


class Last(BaseWorker[Row, Row]):
    def process_item(self, item: Row) -> Row:
        if str(item["n"]) == os.environ.get("STUCK_AT"):
            print("stuck", file=sys.stderr, flush=True)
            time.sleep(600)
        return item


def build_pipeline(
    settings: Settings = DEFAULTS,
    *,
    on_error: Literal["stop", "skip"] = "stop",
    on_dead_letter: Callable[[DeadLetter], object] | None = None,
) -> PipelineManager:
    manager = PipelineManager(
        queue_size=8,
        ordered=os.environ.get("ORDERED") != "no",
        on_error=on_error,
        on_dead_letter=on_dead_letter,
    )
    manager.add_worker(Parse, name=os.environ.get("RENAMED", "parse"))
    manager.add_worker(Expand, name="expand", workers=3)
    manager.add_worker(Name, name="name", batch_size=4, worker_args={"ending": settings.ending})
    manager.add_worker(Shout, name="shout", executor="process")
    manager.add_worker(Ask, name="ask", workers=5)
    if os.environ.get("TOTALS") != "no":
        manager.add_worker(Total, name="total")
    return manager.add_worker(Last, name="last")


if __name__ == "__main__":
    main(build_pipeline)
