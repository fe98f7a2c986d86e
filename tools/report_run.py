"""A run that could be somebody's, in the bake whose folder is the current one, and its report: python report_run.py FILE [ITEMS]

Three stages: the second waits for a model, fails now and then, and is slow for a while; the third pauses to flush.
"""

import hashlib
import random
import sys
import time
from pathlib import Path
from typing import Any

from my_pipeline.observers.diagnosis import Diagnosis
from my_pipeline.observers.report_file import ReportFile
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

ITEMS = int(sys.argv[2]) if len(sys.argv) > 2 else 2500


class Load(BaseWorker[int, dict[str, Any]]):  # type: ignore[misc]
    def process_item(self, item: int) -> dict[str, Any]:
        time.sleep(random.expovariate(1 / 0.0015))
        return {"id": item, "path": f"images/{item:05}.png"}


class Infer(BaseWorker[dict[str, Any], dict[str, Any]]):  # type: ignore[misc]
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        slow = 2.4 if 0.4 * ITEMS < item["id"] < 0.6 * ITEMS else 1.0
        time.sleep(slow * random.lognormvariate(-4.1, 0.45))
        if random.random() < 0.05:
            raise TimeoutError("the model did not answer within 80 ms")
        return item | {"label": item["id"] % 10}


class Store(BaseWorker[dict[str, Any], dict[str, Any]]):  # type: ignore[misc]
    def process_item(self, item: dict[str, Any]) -> dict[str, Any]:
        hashlib.sha256(bytes(400_000)).digest()
        if item["id"] % 250 == 0:
            time.sleep(0.2)
        return item


def main() -> None:
    random.seed(1)
    pipeline = PipelineManager(name="my-pipeline", on_error="skip", queue_size=50)
    pipeline.add_worker(Load, name="pre_processing", workers=2)
    pipeline.add_worker(Infer, name="model_inference", workers=6, retries=1)
    pipeline.add_worker(Store, name="post_processing")
    with ReportFile(Diagnosis(pipeline), Path(sys.argv[1]), interval=0.25 if ITEMS > 1000 else 0.05):
        for _ in pipeline.run(range(ITEMS)):
            pass


if __name__ == "__main__":
    main()
