"""What it costs to watch a run: the same code with and without the observers that a command line has."""

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import AbstractContextManager, ExitStack
from functools import cache, partial
from pathlib import Path
from typing import Any

from peers import ROOT, Peer, Stage
from workload_command import bake


@cache
def make_importable() -> tempfile.TemporaryDirectory[str]:
    """A project of this template, baked once for the process, which removes it at its end; `my_pipeline` is imported from it."""
    folder = tempfile.TemporaryDirectory()
    bake(ROOT, Path(folder.name))
    sys.path.insert(0, str(Path(folder.name) / "my-pipeline" / "src"))
    return folder


def run(observed: bool, source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    """With what a verdict is read from, the live table, in a terminal that nobody reads, and the history of a report's page."""
    make_importable()
    with ExitStack() as stack:
        from my_pipeline.observers.diagnosis import Diagnosis
        from my_pipeline.observers.history import History
        from my_pipeline.observers.progress import Progress
        from my_pipeline.pipeline_core import BaseWorker, PipelineManager
        from rich.console import Console

        pipeline = PipelineManager(queue_size=queue_size)
        for number, stage in enumerate(stages):
            worker = type("Worker", (BaseWorker,), {"process_item": staticmethod(stage.function)})
            pipeline.add_worker(worker, name=f"stage-{number}", workers=stage.workers)
        if observed:
            Diagnosis(pipeline)
            console = Console(file=stack.enter_context(Path(os.devnull).open("w")), force_terminal=True, width=100)
            total = len(source) if isinstance(source, Sized) else None
            observers: list[AbstractContextManager[object]] = [Progress(pipeline, console, lambda: total)]
            for observer in [*observers, History(pipeline)]:
                stack.enter_context(observer)
        yield from pipeline.run(source)


WATCHED = {
    name: Peer(name, partial(run, name == "watched"), about)
    for name, about in (
        ("unwatched", "ours, from the project's package, as `watched` is"),
        ("watched", "with a diagnosis, a live table and a history"),
    )
}
