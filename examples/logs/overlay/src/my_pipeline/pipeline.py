"""The whole flow on one page."""

from collections.abc import Callable
from typing import Literal

from .pipeline_core import DeadLetter, PipelineManager
from .settings import Settings
from .stages.parse import ParseWorker
from .stages.section import SectionWorker
from .stages.totals import TotalsWorker


def build_pipeline(
    settings: Settings = Settings(),
    *,
    on_error: Literal["stop", "skip"] = "stop",
    on_dead_letter: Callable[[DeadLetter], object] | None = None,
) -> PipelineManager:
    """A pipeline from lines of an access log to rows, or to the totals of each section and status."""
    pipeline = PipelineManager(name="logs", queue_size=1000, on_error=on_error, on_dead_letter=on_dead_letter)
    executor: Literal["thread", "process"] = "process" if settings.processes else "thread"
    pipeline.add_worker(ParseWorker, executor=executor, workers=settings.processes or 1)
    pipeline.add_worker(SectionWorker, worker_args={"pages": settings.pages})
    if settings.totals:
        pipeline.add_worker(TotalsWorker)
    return pipeline
