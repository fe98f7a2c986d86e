"""The whole idea in ten seconds: python demo.py

Simulated work in the stages of this project. The second one (or the only one) is slow, so it has eight workers, and it
fails now and then: most of its items succeed when tried again, the others become dead letters. Results come in order.
"""

import random
import time

from rich.console import Console

from {{ cookiecutter.package_name }}.observers.diagnosis import Diagnosis
from {{ cookiecutter.package_name }}.observers.progress import Progress
from {{ cookiecutter.package_name }}.observers.report_table import ReportTable
from {{ cookiecutter.package_name }}.pipeline import build_pipeline
from {{ cookiecutter.package_name }}.pipeline_core import BaseWorker, PipelineManager

ITEMS = 600


class SimulatedWorker(BaseWorker[int, int]):
    """Sleeps as if it waited for a disk or a model, and sometimes fails."""

    def __init__(self, seconds: float = 0.004, failures: float = 0.0) -> None:
        self.seconds, self.failures = seconds, failures

    def setup(self) -> None:
        self.random = random.Random(0)

    def process_item(self, item: int) -> int:
        time.sleep(self.random.uniform(0.5, 1.5) * self.seconds)
        if self.random.random() < self.failures:
            raise ValueError("simulated failure")
        return item


def simulated_pipeline() -> PipelineManager:
    """This project's stages, one of them slow and with eight workers, retries and dead letters."""
    pipeline = PipelineManager(name="demo", on_error="skip")
    names = build_pipeline().stage_names
    for name in names:
        if name == names[:2][-1]:
            slow = {"seconds": 0.1, "failures": 0.2}
            pipeline.add_worker(SimulatedWorker, name=name, workers=8, retries=1, worker_args=slow)
        else:
            pipeline.add_worker(SimulatedWorker, name=name)
    return pipeline


def main() -> None:
    console = Console()
    pipeline = simulated_pipeline()
    diagnosis = Diagnosis(pipeline)
    with Progress(pipeline, console, lambda: ITEMS):
        delivered = list(pipeline.run(range(ITEMS)))
    report = diagnosis.reading()
    console.print(ReportTable(report))
    in_order = delivered == sorted(delivered)
    console.print(f"{len(delivered)} results, in order: {in_order}. Dead letters: {report.skipped}")
    for letter in report.dead_letters[:3]:
        console.print(f"  item {letter.item} in {letter.stage}, after {letter.attempts} attempts: {letter.error!r}")


if __name__ == "__main__":
    main()
