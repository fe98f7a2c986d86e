"""The stage with child processes of `interrupted_child.py`: apart, since a project may have no sub-task pool."""

import time

from my_pipeline.pipeline_core import SubTaskPoolWorker


class Pool(SubTaskPoolWorker[int, int, int, int]):
    def __init__(self) -> None:
        super().__init__(sub_workers=2, executor="process")

    def process_sub_task(self, sub: int) -> int:
        time.sleep(0.005)
        return sub
