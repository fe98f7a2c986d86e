"""What a verdict advises where a sub-task pool is part of it, or would be: the advice is taken, and must keep its word."""

import asyncio
import ctypes
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from diagnosis_helpers import needs, tuning

needs("observers.verdict")
needs("pipeline_core.sub_task_pool")

from my_pipeline.observers.advice import advise
from my_pipeline.observers.diagnosis import Diagnosis
from my_pipeline.observers.reading import Reading
from my_pipeline.observers.verdict import judge
from my_pipeline.pipeline_core import BaseWorker, PipelineManager, SubTaskPoolWorker
from my_pipeline.pipeline_core.async_crew import AsyncCrew  # noqa: F401  # Before `four_cores` replaces its clock.
from my_pipeline.pipeline_core.machine import cores

from watch import HAS_GIL, replace_in_core

pytestmark = pytest.mark.slow

Worker = TypeVar("Worker", bound=type)


def importable(worker_class: Worker) -> Worker:
    """Child processes find a worker's class by its module: make that this file, found by its plain name."""
    worker_class.__module__ = Path(__file__).stem
    return worker_class


@pytest.fixture
def child_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets child processes import this file."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    monkeypatch.setitem(sys.modules, Path(__file__).stem, sys.modules[__name__])


computed = threading.local()


def compute() -> None:
    """Holds the GIL for 10 ms, and needs no core for it: those of the machine may do what they like."""
    ctypes.PyDLL(None).usleep(10_000)  # Called through PyDLL, C keeps the GIL.
    computed.seconds = seconds_computed() + 0.01


def seconds_computed() -> float:
    return getattr(computed, "seconds", 0.0)


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the runtime take `compute` for CPU time, one core always at work, and the machine for one with four."""
    if not HAS_GIL:
        pytest.skip("without a GIL, threads do what processes would")
    if sys.platform == "win32":
        pytest.skip("there is no usleep")
    replace_in_core(monkeypatch, time.thread_time, seconds_computed)
    replace_in_core(monkeypatch, time.process_time, time.perf_counter)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(4)), raising=False)


@importable
class Computes(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        compute()
        return item


class FetchesAndComputes(BaseWorker[Any, Any]):
    async def process_item(self, item: Any) -> Any:
        await asyncio.sleep(0.02)
        compute()
        return item


class FetchesAlone(BaseWorker[Any, Any]):
    async def process_item(self, item: Any) -> Any:
        await asyncio.sleep(0.02)
        return item


@importable
class LoadsAModel(SubTaskPoolWorker[Any, Any, Any, Any]):
    """In each of its child processes."""

    def setup(self) -> None:
        if multiprocessing.parent_process():
            time.sleep(0.4)

    def process_sub_task(self, sub: Any) -> Any:
        time.sleep(0.01)
        return sub


@importable
class InProcesses(SubTaskPoolWorker[Any, Any, Any, Any]):
    """Says by itself that its sub-tasks run in child processes."""

    def __init__(self) -> None:
        super().__init__(executor="process", sub_workers=2)

    def process_sub_task(self, sub: Any) -> Any:
        return sub


@importable
class Pass(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item


class Counts(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return sum(number for number in range(200_000))


class Fetches(SubTaskPoolWorker[int, int, int, int]):
    """Two sub-tasks an item, which wait; every 20th item waits long."""

    def __init__(self, long: float = 0.01, **pool: Any) -> None:
        super().__init__(**pool)
        self.long = long

    def split(self, item: int) -> list[int]:
        return [item, item]

    def process_sub_task(self, sub: int) -> int:
        time.sleep(0.01 if sub % 20 else self.long)
        return sub

    def merge(self, item: int, results: list[int]) -> int:
        return item


def run(manager: PipelineManager, items: int, warm: int = 0) -> tuple[Reading, float]:
    """What is read at the end, and items a second without the first ones: while they are done, child processes start."""
    watched = Diagnosis(manager)
    start = time.perf_counter()
    for number, _ in enumerate(manager.run(range(items)), start=1):
        if number == warm:
            start = time.perf_counter()
    return watched.reading(), (items - warm) / (time.perf_counter() - start)


def keeps_its_word(reading: Reading, before: float, run_with_changes: Callable[[], tuple[Reading, float]]) -> bool:
    """Most of the rise that is foretold comes. A machine that does other things slows runs down: the best of three."""
    expected = judge(reading).expected
    assert expected > 1.5 * before
    return any(run_with_changes()[1] - before >= 0.7 * (expected - before) for _ in range(3))


def test_a_pool_too_small_gets_the_workers_that_it_lacks() -> None:
    def build() -> PipelineManager:
        return PipelineManager().add_worker(Fetches, name="fetch", worker_args={"sub_workers": 2})

    manager = build()
    reading, before = run(manager, 60)
    verdict = judge(reading)
    assert (verdict.part, verdict.reason) == ("fetch", "waits")
    assert tuning(verdict)["workers"] == {"fetch": 8}
    assert "its 2 sub-workers were busy" in advise(reading)
    assert keeps_its_word(reading, before, lambda: run(build().tune(**tuning(verdict)), 200))


def test_a_window_too_small_for_its_pool_is_told_to_grow() -> None:
    def build(window: int) -> PipelineManager:
        arguments = {"sub_workers": 8, "window": window}
        return PipelineManager().add_worker(Fetches, name="fetch", worker_args=arguments)

    manager = build(window=1)
    reading, before = run(manager, 40)
    verdict = judge(reading)
    assert (verdict.part, verdict.reason) == ("fetch", "order")
    (change,) = verdict.changes
    assert (change.setting, change.now) == ("window", 1)
    assert "with 1 item in hand at most" in advise(reading)
    assert keeps_its_word(reading, before, lambda: run(build(change.then), 200))


def test_a_slow_item_in_a_pool_gets_a_window_in_which_the_others_can_wait() -> None:
    def build(window: int) -> PipelineManager:
        arguments = {"sub_workers": 6, "window": window, "long": 0.15}
        return PipelineManager().add_worker(Fetches, name="fetch", worker_args=arguments)

    manager = build(window=6)
    reading, before = run(manager, 120)
    verdict = judge(reading)
    assert (verdict.part, verdict.reason) == ("fetch", "order")
    (change,) = verdict.changes
    assert (change.setting, change.now) == ("window", 6)
    assert keeps_its_word(reading, before, lambda: run(build(change.then), 240))


@pytest.mark.parametrize("workers", [1, 4])
def test_what_computes_in_python_gets_processes(workers: int, four_cores: None, child_processes: None) -> None:
    manager = PipelineManager().add_worker(Computes, name="parse", workers=workers)
    reading, before = run(manager, 80)
    verdict = judge(reading)
    assert (verdict.part, verdict.reason) == ("parse", "computes")
    (change,) = verdict.changes
    assert change.setting == "processes"
    assert 2 <= change.then <= 4  # 4 on a machine that does nothing else: then all of the time is computing.
    assert verdict.expected < 4.4 * before
    assert f"executor='process', workers={change.then}" in advise(reading)
    assert "free-threaded Python" in advise(reading)

    def run_with_changes() -> tuple[Reading, float]:
        manager = PipelineManager().add_worker(Computes, name="parse", executor="process", workers=change.then)
        return run(manager, 300, warm=200)

    assert keeps_its_word(reading, before, run_with_changes)


def test_what_computes_in_an_event_loop_gets_a_stage_of_its_own(four_cores: None, child_processes: None) -> None:
    reading, before = run(PipelineManager().add_worker(FetchesAndComputes, name="fetch", workers=20), 80)
    verdict = judge(reading)
    assert (verdict.part, verdict.reason) == ("fetch", "computes")
    (change,) = verdict.changes
    assert (change.setting, 2 <= change.then <= 4) == ("processes", True)
    assert "its event loop computes" in advise(reading)
    assert f"in a stage of its own with executor='process', workers={change.then}" in advise(reading)

    def run_with_changes() -> tuple[Reading, float]:
        manager = PipelineManager().add_worker(FetchesAlone, name="fetch", workers=20)
        manager.add_worker(Computes, name="parse", executor="process", workers=change.then)
        return run(manager, 300, warm=200)

    assert keeps_its_word(reading, before, run_with_changes)


def test_a_model_that_child_processes_load_is_not_what_limits(child_processes: None) -> None:
    arguments = {"executor": "process", "sub_workers": 1}
    manager = PipelineManager().add_worker(LoadsAModel, name="score", worker_args=arguments)
    verdict = judge(run(manager, 40)[0])
    assert (verdict.part, verdict.reason) == ("score", "waits")
    assert verdict.items_per_second == pytest.approx(98, rel=0.3)


def test_real_computing_in_python_is_seen_as_that() -> None:
    if not HAS_GIL or cores() == 1:
        pytest.skip("without a GIL threads do what processes would, and with one core neither helps")
    for _ in range(5):
        manager = PipelineManager().add_worker(Counts, name="parse", workers=2)
        manager.add_worker(Pass, name="store")
        reading, _ = run(manager, 40)
        if reading.cores_used > 0.95:
            verdict = judge(reading)
            assert (verdict.part, verdict.reason) == ("parse", "computes")
            assert verdict.changes[0].then == cores()
            assert 1.7 < verdict.expected / verdict.items_per_second < cores() + 0.01
            return
    pytest.skip("other programs take the core away")


def test_a_stage_of_processes_is_reported_as_that_whoever_said_so(child_processes: None) -> None:
    manager = PipelineManager().add_worker(InProcesses, name="score")
    reading, _ = run(manager, 5)
    assert (reading.stages[0].crew, reading.stages[0].executor) == ("2 processes in a pool", "process")
    manager = PipelineManager().add_worker(Pass, name="score", executor="process", workers=2)
    assert run(manager, 5)[0].stages[0].crew == "2 processes"
