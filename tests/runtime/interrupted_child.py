"""Run as a process of its own, which is sent signals: see `faults_of_leaving.py`."""

import itertools
import os
import signal
import sys
import time
from collections.abc import Iterator

from my_pipeline.pipeline_core import BaseWorker, PipelineManager

CLOSED: list[bool] = []


class Work(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        time.sleep(0.005)
        return item


class Stuck(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        time.sleep(1000)
        return item


def source() -> Iterator[int]:
    try:
        yield from itertools.count()
    finally:
        CLOSED.append(True)


def main(mode: str) -> int:
    stage: type[BaseWorker[int, int]] = Stuck if mode == "stuck" else Work
    workers = 2 if stage is Work else 1
    if mode == "processes":
        from interrupted_pool import Pool

        stage, workers = Pool, 1
    manager = PipelineManager().add_worker(stage, workers=workers)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Where this began in the background, it is ignored.
    signal.signal(signal.SIGTERM, lambda *_: manager.stop())
    code, what = 143, "stopped"
    try:
        if mode == "wait" or mode == "stuck":
            manager.start(source())
            print("running", flush=True)
            manager.wait_for_completion()
        else:
            for item in manager.run(source(), serial=mode == "serial"):
                if item == 0:
                    print("running", flush=True)
    except KeyboardInterrupt:
        code, what = 130, "interrupted"
    deadline = time.monotonic() + 10
    while not CLOSED and time.monotonic() < deadline and mode != "stuck":
        time.sleep(0.001)
    balance = "unbalanced" if manager.report.imbalances() else "balanced"
    print(what, balance, "closed" if CLOSED else "open", flush=True)
    return code


if __name__ == "__main__":
    result = main(sys.argv[1])
    if sys.argv[1] == "stuck":
        os._exit(result)
    sys.exit(result)
