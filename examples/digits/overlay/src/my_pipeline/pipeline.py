"""The whole flow on one page."""

from collections.abc import Callable
from typing import Literal

from .pipeline_core import DeadLetter, PipelineManager
from .settings import Settings
from .stages.model_inference import ModelInferenceWorker
from .stages.post_processing import PostProcessingWorker
from .stages.pre_processing import PreProcessingWorker


def build_pipeline(
    settings: Settings = Settings(),
    *,
    on_error: Literal["stop", "skip"] = "stop",
    on_dead_letter: Callable[[DeadLetter], object] | None = None,
) -> PipelineManager:
    """A pipeline that turns each RawDigit into a Tile."""
    pipeline = PipelineManager(name="digits", on_error=on_error, on_dead_letter=on_dead_letter)
    pipeline.add_worker(PreProcessingWorker)
    pipeline.add_worker(ModelInferenceWorker, batch_size=64, worker_args={"model_file": settings.model_file})
    pipeline.add_worker(PostProcessingWorker)
    return pipeline
