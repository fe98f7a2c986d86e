"""Stands for SubTaskPoolWorker where the core has none: a test that adds such a stage is skipped."""

from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker


class Absent(type):
    """Whoever looks at a class's `process_item`, as `add_worker` does, skips the test."""

    @property
    def process_item(cls) -> Any:
        pytest.skip("this core has no sub-task pool")


class SubTaskPoolWorker(BaseWorker[Any, Any], metaclass=Absent):
    def __class_getitem__(cls, _: object) -> Any:
        return cls

    def __init__(self, **_: object) -> None:
        pytest.skip("this core has no sub-task pool")
