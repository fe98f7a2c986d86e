"""A small runtime for pipelines of threads. Read `pipeline_manager.py` first, then `base_worker.py`."""

import logging

from .base_worker import BaseWorker
from .errors import DeadLetter, PipelineError
from .pipeline_manager import PipelineManager
from .report import PipelineReport, StageReport
from .source import SENTINEL, FailedItem, robust_put
from .verdict import Verdict

__all__ = [
    "SENTINEL",
    "BaseWorker",
    "DeadLetter",
    "FailedItem",
    "PipelineError",
    "PipelineManager",
    "PipelineReport",
    "StageReport",
    "Verdict",
    "robust_put",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())
