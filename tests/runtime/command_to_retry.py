"""The command around stages that fail until they are mended: what a retry is tried on.

MENDED      "yes" for stages that do not fail
VALUE       what the stage `pair` adds to an item of the third kind: "tuple", "keys" or "bytes"
SEEN        a file that gets a line for each item that the first stage begins, with its number
"""

import os
from collections.abc import Callable, Generator
from typing import Any, Literal

from my_pipeline.cli import (
    main,
)
from my_pipeline.pipeline_core import (
    BaseWorker,
    DeadLetter,
    PipelineManager,
)

Row = dict[str, Any]
MENDED = os.environ.get("MENDED") == "yes"
VALUE = {"tuple": (1, 2), "keys": {1: 2}, "bytes": b"x"}[os.environ.get("VALUE", "tuple")]


class Check(BaseWorker[Row, int]):
    def process_item(self, item: Row) -> int:
        number: int = item["n"]
        with open(os.environ["SEEN"], "a") as seen:
            seen.write(f"{number}\n")
        if number % 5 == 1 and not MENDED:
            raise ValueError(f"{number} is not checked")
        return number


class Expand(BaseWorker[int, Row]):
    """Makes two rows of each number, and may fail in between."""

    def process_item(self, item: int) -> Generator[Row, None, None]:
        yield {"n": item, "part": 0}
        if item % 5 == 2 and not MENDED:
            raise ValueError(f"{item} breaks off")
        yield {"n": item, "part": 1}


class Pair(BaseWorker[Row, Row]):
    def process_item(self, item: Row) -> Row:
        return item | {"value": VALUE} if item["n"] % 5 == 3 else item


class Last(BaseWorker[Row, Row]):
    def process_item(self, item: Row) -> Row:
        if item["n"] % 5 in (3, 4) and not MENDED:
            raise ValueError(f"{item['n']} fails at last")
        return item | {"value": repr(item["value"])} if "value" in item else item


def build_pipeline(
    *,
    on_error: Literal["stop", "skip"] = "stop",
    on_dead_letter: Callable[[DeadLetter], object] | None = None,
) -> PipelineManager:
    manager = PipelineManager(on_error=on_error, on_dead_letter=on_dead_letter)
    manager.add_worker(Check, name="check").add_worker(Expand, name="expand", workers=2)
    return manager.add_worker(Pair, name="pair").add_worker(Last, name="last", workers=3)


if __name__ == "__main__":
    main(build_pipeline)
