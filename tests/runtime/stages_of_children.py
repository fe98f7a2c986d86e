"""Pipelines whose calls are made in child processes, for the tests of these."""

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from my_pipeline.pipeline_core import PipelineError, PipelineManager

import workers_for_children as workers

Until = Callable[[Callable[[], object]], None]
each_kind = pytest.mark.parametrize("kind", ["stage", "pool"])


def pipeline(kind: str, worker_class: Any, number: int = 1, options: Any = None, **arguments: Any) -> PipelineManager:
    """A pipeline with a stage of child processes, or with a pool of them."""
    manager = PipelineManager(**(options or {}))
    if kind == "pool":
        arguments |= {"worker_class": worker_class, "sub_workers": number}
        return manager.add_worker(workers.Pool, name="children", worker_args=arguments)
    return manager.add_worker(worker_class, name="children", workers=number, executor="process", worker_args=arguments)


def error_of(manager: PipelineManager, source: Any) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        list(manager.run(source))
    report = manager.report
    assert (report.state, report.imbalances()) == ("failed", [])
    return caught.value


def run_program(arguments: list[str], text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments], input=text, capture_output=True, text=True, timeout=100, check=False
    )
