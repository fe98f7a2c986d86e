"""The command around one stage that does as the item says: what stands between results and files, and between a user and sleep.

EXECUTOR    "process" for a stage in a child process
"""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Literal

from my_pipeline.cli import (
    main,
)
from my_pipeline.pipeline_core import (
    BaseWorker,
    DeadLetter,
    PipelineManager,
)


class Swallows:
    """Gets a signal where Python ignores what its handler raises."""

    def __del__(self) -> None:
        signal.raise_signal(signal.SIGINT)


class Odd(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        if item == "print":
            print("by print")
            sys.stdout.write("by sys.stdout\n")
            os.write(1, b"by descriptor\n")
            subprocess.run(["echo", "by a process"], check=True)
        elif item == "swallow":
            Swallows()
        elif item == "stuck":
            print("asleep", file=sys.stderr, flush=True)
            time.sleep(600)
        return {"nan": math.nan, "set": {1}, "infinity": [-math.inf]}.get(item, item) if isinstance(item, str) else item


class Nameless(BaseWorker[Any, Any]):
    """Knows None as an item."""

    def process_item(self, item: Any) -> Any:
        return "none" if item is None else item


def build_pipeline(
    *,
    on_error: Literal["stop", "skip"] = "stop",
    on_dead_letter: Callable[[DeadLetter], object] | None = None,
) -> PipelineManager:
    manager = PipelineManager(on_error=on_error, on_dead_letter=on_dead_letter)
    manager.add_worker(Nameless, name="nameless", workers=int(os.environ.get("WORKERS", "1")))
    executor: Any = os.environ.get("EXECUTOR", "thread")
    return manager.add_worker(Odd, name="odd", executor=executor)


if __name__ == "__main__":
    main(build_pipeline)
