"""The command around stages that write to stdout in every way there is, and hand on what comes."""

import os
import subprocess
import sys
import threading
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


class Prints(BaseWorker[Any, Any]):
    def __init__(self, where: str) -> None:
        self.where = where

    def process_item(self, item: Any) -> Any:
        print(f"printed by {self.where}")
        thread = threading.Thread(target=print, args=(f"printed by a thread of {self.where}",))
        thread.start()
        thread.join()
        os.write(1, f"written by {self.where}\n".encode())
        subprocess.run([sys.executable, "-c", f"print('printed for {self.where}')"], check=True)
        return item


def build_pipeline(
    *, on_error: Literal["stop", "skip"] = "stop", on_dead_letter: Callable[[DeadLetter], object] | None = None
) -> PipelineManager:
    pipeline = PipelineManager(on_error=on_error, on_dead_letter=on_dead_letter)
    pipeline.add_worker(Prints, name="thread", worker_args={"where": "a stage"})
    return pipeline.add_worker(Prints, name="process", executor="process", worker_args={"where": "a child"})


if __name__ == "__main__":
    main(build_pipeline)
