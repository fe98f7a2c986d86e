"""A small runtime for pipelines of threads and processes: begin with README.md."""

import logging

from .base_worker import BaseWorker
from .errors import Barrier, DeadLetter, FailedItem, PipelineError, RetryAfter
from .observer import Observer
from .pipeline_manager import PipelineManager
from .report import PipelineReport, StageReport
from .source_function import SENTINEL, robust_put

__all__ = [
    "SENTINEL",
    "Barrier",
    "BaseWorker",
    "DeadLetter",
    "FailedItem",
    "Observer",
    "PipelineError",
    "PipelineManager",
    "PipelineReport",
    "RetryAfter",
    "StageReport",
    "robust_put",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
