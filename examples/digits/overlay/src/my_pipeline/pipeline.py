"""The whole flow on one page."""

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from .pipeline_core import DeadLetter, PipelineManager
from .stages.model_inference import ModelInferenceWorker
from .stages.post_processing import PostProcessingWorker
from .stages.pre_processing import PreProcessingWorker

MODEL_FILE = Path("outputs") / "model.pickle"


def build_pipeline(
    *,
    on_error: Literal["stop", "skip"] = "stop",
    on_dead_letter: Callable[[DeadLetter], object] | None = None,
    model_file: Path = MODEL_FILE,
) -> PipelineManager:
    """A pipeline that turns each RawDigit into a Tile; `model_file` is what `model.train` wrote."""
    pipeline = PipelineManager(name="digits", on_error=on_error, on_dead_letter=on_dead_letter)
    pipeline.add_worker(PreProcessingWorker)
    pipeline.add_worker(ModelInferenceWorker, batch_size=64, worker_args={"model_file": model_file})
    pipeline.add_worker(PostProcessingWorker)
    return pipeline
