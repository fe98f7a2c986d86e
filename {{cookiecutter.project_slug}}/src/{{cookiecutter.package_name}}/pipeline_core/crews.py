"""Which crew a stage gets."""

from collections.abc import Callable
from importlib import import_module
from inspect import isgeneratorfunction
from typing import Any

from .calls import Calls
from .crew import Crew
from .time_limits import TimedCrew
from .workers import Owner

Builder = Callable[[Owner], Crew]
BUILDERS: dict[type, Builder] = {}  # What builds the crews of special classes of workers: pools.
# Engines that schedule workers on machines, by the name of their executor: a module, imported when a run begins, that has
# `build_crew(stage)`, and `stand_in(stage)`, the worker of an async stage that runs there.
ENGINES: dict[str, str] = {}


def engine(executor: str) -> Any:
    """The module of an engine."""
    return import_module(ENGINES[executor])


def build_crew(stage: Owner) -> Crew:
    """The crew of a stage with several workers, or of one in child processes or on an engine."""
    spec = stage.spec
    if spec.in_loop:
        from .async_crew import (
            AsyncCrew,  # Imported here, like child processes: it takes time, and few pipelines need it.
        )

        return AsyncCrew(stage)
    if spec.executor in ENGINES:
        crew: Crew = engine(spec.executor).build_crew(stage)
        return crew
    if spec.executor == "process":
        from .children import Child  # Imported here: it takes 20 ms, and few pipelines need it.

        callers: list[Calls] = [Child(stage, index, spec.method) for index in range(spec.workers)]
    else:
        callers = [stage.calls(worker) for worker in stage.workers]
    expands, most = isgeneratorfunction(spec.worker_class.process_item), stage.inbox.capacity // (spec.batch_size or 1)
    kind = Crew if spec.timeout is None or spec.executor == "process" else TimedCrew
    return kind(stage, callers, len(callers) + (len(callers) if expands else most), singly=expands, pooled=False)


def crew_builder(worker_class: type) -> Builder:
    """What builds the crew of a stage with such workers: several, or in child processes, or a pool."""
    return next((BUILDERS[each] for each in worker_class.__mro__ if each in BUILDERS), build_crew)
