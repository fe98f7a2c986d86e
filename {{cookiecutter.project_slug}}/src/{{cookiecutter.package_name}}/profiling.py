"""How fast each stage is alone with more and more workers, and how many of them the whole pipeline needs."""

import copy
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import cycle, islice
from math import ceil, inf
from time import perf_counter
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from .pipeline_core import PipelineManager, PipelineReport, StageReport
from .pipeline_core.advice import rate

GAIN = 1.15  # Twice as many workers that bring less than this are too many.
MOST_ITEMS = 5_000  # for one measurement: quick stages need no more


@dataclass(frozen=True)
class StageProfile:
    """A stage alone.

    `rates`      pairs of a number of workers and the items a second that they take; of a sub-task pool, of sub-workers;
                 empty if no item came so far
    `workers`    how many of them the plan gives it; 0 where nothing was measured
    `visits`     how many items come to it for one of the sample
    `computing`  share of the time of its calls that was CPU time, with one worker
    `cpu`        CPU seconds that it takes for an item, and `holds_gil`: while others wait
    """

    name: str
    rates: tuple[tuple[int, float], ...]
    workers: int = 0
    visits: float = 1.0
    computing: float = 0.0
    cpu: float = 0.0
    holds_gil: bool = True

    @property
    def best(self) -> int:
        """The number of workers beyond which more bring little."""
        best, reached = 0, 0.0
        for number, items_per_second in self.rates:
            if items_per_second >= GAIN * reached:
                best, reached = number, items_per_second
        return best

    def needed(self, items_per_second: float) -> int:
        """The fewest workers that take so many items, give or take 3%; between two measured numbers, by a straight line."""
        enough = items_per_second * 0.97
        before, slower = 0, 0.0
        for number, faster in self.rates:
            if faster >= enough:
                return max(1, ceil(before + (number - before) * (enough - slower) / (faster - slower) - 0.02))
            before, slower = number, faster
        return self.best


@dataclass(frozen=True)
class Profile:
    """All stages, and the plan: the fewest workers with which the pipeline is as fast as it can be on this machine.

    `items_per_second`  what the plan should bring, in items of the sample; a source or consumer may bring less
    `limit`             the stage that limits it then, or "the CPU"
    """

    stages: tuple[StageProfile, ...]
    items_per_second: float
    limit: str

    @property
    def workers(self) -> dict[str, int]:
        """The plan, for `PipelineManager.tune(workers=...)`."""
        return {stage.name: stage.workers for stage in self.stages if stage.workers}


def profile(build: Callable[[], PipelineManager], items: list[Any], *, most: int = 16, seconds: float = 1.0) -> Profile:
    """Run a sample of real items through each stage alone, with 1, 2, 4, ... workers while that still gains.

    `build`    makes the pipeline, anew for each measurement
    `most`     workers to try at most
    `seconds`  about how long each measurement takes, and at most how long the outputs of a stage are gathered for the next

    Items are copied for each run, if they can be. Raises ValueError without items, and PipelineError if one fails in a
    pipeline that stops on errors.
    """
    if not items:
        raise ValueError("items must not be empty: a profile needs real items")
    stages, inputs, visits, cores = [], items, 1.0, 1
    for name in [stage.name for stage in build().report.stages]:
        stage = StageProfile(name, (), visits=visits)
        if inputs:
            manager = build().keep(name, name)
            outputs = _run(manager, _until(seconds, _fresh(inputs)), serial=True)
            cores, alone = manager.report.cores, manager.report.stages[0]
            stage = _measure(build, stage, inputs, _items_per_second(alone), most, seconds)
            inputs, visits = outputs, visits * len(outputs) / alone.received
        stages.append(stage)
    return plan(stages, cores)


def _measure(
    build: Callable[[], PipelineManager],
    stage: StageProfile,
    inputs: list[Any],
    expected: float,
    most: int,
    seconds: float,
) -> StageProfile:
    """The stage with its rates. `expected`: items a second of one worker, roughly."""

    def run(number: int) -> PipelineReport:
        manager = build().keep(stage.name, stage.name).tune(workers={stage.name: number})
        count = min(MOST_ITEMS, number * max(4, ceil(expected * seconds)))
        sample = list(islice(_fresh(cycle(inputs)), count))
        _run(manager, _until(3 * seconds, iter(sample)))
        return manager.report

    report = run(1)
    alone = report.stages[0]
    called = sum(duration * calls for duration, calls in alone.service_times)
    cores = report.cpu_seconds / report.seconds  # At work at the same time.
    number, rates, before = 1, {1: _items_per_second(alone)}, 0.0
    while rates[number] >= GAIN * before and 2 * number <= most:
        number, before = 2 * number, rates[number]
        rates[number] = 0.0
        for _ in range(2):  # Once more where it seems to bring little: something else may have come between.
            if rates[number] < GAIN * before:
                report = run(number)
                cores = max(cores, report.cpu_seconds / report.seconds)
                rates[number] = max(rates[number], _items_per_second(report.stages[0]))
    return replace(
        stage,
        rates=tuple(rates.items()),
        computing=alone.computing,
        cpu=alone.computing * called / alone.received,
        holds_gil=report.gil and alone.pool != "process" and cores < 1.2,
    )


def _items_per_second(stage: StageReport) -> float:
    """Without the time of setup, also of child processes, and that of the first item on its way."""
    return stage.received / max(stage.seconds - stage.first_wait, 1e-9)


def plan(stages: list[StageProfile], cores: int) -> Profile:
    """Give each stage the fewest workers with which only the slowest one, or the CPU with its `cores`, limits the rate."""
    measured = [stage for stage in stages if stage.rates]
    limits = [(dict(stage.rates)[stage.best] / stage.visits, stage.name) for stage in measured]
    held = sum(stage.cpu * stage.visits for stage in measured if stage.holds_gil)
    used = sum(stage.cpu * stage.visits for stage in measured)
    limits += [(1 / held, "the CPU")] if held else []
    limits += [(cores / used, "the CPU")] if used else []
    fastest, limit = min(limits, default=(inf, ""))
    planned = (replace(stage, workers=stage.needed(fastest * stage.visits)) for stage in stages)
    return Profile(tuple(planned), fastest, limit)


def _run(manager: PipelineManager, source: Iterator[Any], *, serial: bool = False) -> list[Any]:
    with closing(manager.run(source, serial=serial)) as results:
        return list(results)


def _until(seconds: float, items: Iterator[Any]) -> Iterator[Any]:
    """At least one item, and then no more than there is time for."""
    deadline = inf
    for item in items:
        deadline = min(deadline, perf_counter() + seconds)  # From the first item on, which comes after `setup`.
        yield item
        if perf_counter() > deadline:
            return


def _fresh(items: Any) -> Iterator[Any]:
    """Copies, since a stage may change the items that it gets; what cannot be copied is handed on itself."""
    for item in items:
        with suppress(Exception):
            item = copy.deepcopy(item)
        yield item


def profile_table(profile: Profile) -> Group:
    """A row a stage: its items a second with 1, 2, 4, ... workers. Below, the plan as options of the command."""
    numbers = sorted({number for stage in profile.stages for number, _ in stage.rates})
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("stage", *map(str, numbers), "best", "its calls"):
        table.add_column(heading, justify="left" if heading in ("stage", "its calls") else "right", overflow="fold")
    for stage in profile.stages:
        rates = dict(stage.rates)
        cells = [rate(rates[number]) if number in rates else "" for number in numbers]
        does = f"{'compute' if stage.computing >= 0.5 else 'wait'} ({stage.computing:.0%} CPU)"
        table.add_row(stage.name, *cells, *((str(stage.best), does) if rates else ("", "no item came so far")))
    options = " ".join(f"--workers {name}={number}" for name, number in profile.workers.items())
    brings = f"about {rate(profile.items_per_second)} items a second; then {profile.limit} limits"
    heading = "items a second of each stage alone, by its number of workers"
    return Group(Text(heading), table, Text(f"plan: {options}"), Text(brings))
