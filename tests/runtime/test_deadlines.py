"""R9: one deadline for everything, which names who is busy; and a watch on runs in which nothing moves."""

import itertools
import logging
import math
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineManager

from watch import HAS_GIL

Until = Callable[[Callable[[], object]], None]


class Pass(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


class Stuck(BaseWorker[int, int]):
    def __init__(self, gate: threading.Event, entered: threading.Event) -> None:
        self.gate = gate
        self.entered = entered

    def process_item(self, item: int) -> int:
        return self.wait_in_vain(item)

    def wait_in_vain(self, item: int) -> int:
        self.entered.set()
        self.gate.wait()
        return item


@pytest.fixture
def stuck(gate: threading.Event) -> Iterator[tuple[PipelineManager, threading.Event]]:
    """A pipeline that is stuck in its second stage, and the gate that lets it go on."""
    entered = threading.Event()
    manager = PipelineManager(name="nightly", stall_timeout=0.02).add_worker(Pass, name="fine")
    manager.add_worker(Stuck, name="the slow one", worker_args={"gate": gate, "entered": entered})
    manager.start(itertools.count())
    entered.wait()
    yield manager, gate
    manager.stop()


def test_r9_past_the_deadline_the_run_is_stopped_and_the_error_names_who_is_busy(
    stuck: tuple[PipelineManager, threading.Event], until: Until, asleep: Callable[[str], bool]
) -> None:
    manager, gate = stuck
    until(lambda: asleep("nightly-fine-0"))
    with pytest.raises(TimeoutError, match=r"nightly has not finished after 0\.01 seconds") as caught:
        manager.wait_for_completion(0.01)
    assert "stage 'the slow one'" in str(caught.value)
    assert "wait_in_vain" in str(caught.value) or not HAS_GIL
    assert "stage 'fine'" not in str(caught.value)
    assert manager.stop_event.is_set()
    gate.set()
    assert manager.wait_for_completion().state == "stopped"


def test_r9_a_deadline_that_is_kept_gives_the_report() -> None:
    manager = PipelineManager().add_worker(Pass)
    manager.start(range(10))
    report = manager.wait_for_completion(20)
    assert (report.state, report.delivered) == ("completed", 10)


def test_r9_a_deadline_may_be_for_ever() -> None:
    manager = PipelineManager(stall_timeout=math.inf).add_worker(Pass)
    manager.start(range(10))
    assert manager.wait_for_completion(math.inf).state == "completed"


@pytest.mark.parametrize("timeout", [-1, math.nan, "3"])
def test_r9_a_deadline_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout must be a number of seconds"):
        PipelineManager().add_worker(Pass).wait_for_completion(timeout)


def test_r9_the_error_tells_stages_with_like_names_apart(gate: threading.Event) -> None:
    entered = threading.Event()
    manager = PipelineManager().add_worker(Pass, name="a")
    manager.add_worker(Stuck, name="a-b", worker_args={"gate": gate, "entered": entered})
    manager.start([1])
    entered.wait()
    with pytest.raises(TimeoutError, match="stage 'a-b'"):
        manager.wait_for_completion(0)
    gate.set()
    manager.wait_for_completion()


def test_r9_one_thread_may_wait_while_another_iterates() -> None:
    manager = PipelineManager().add_worker(Pass)
    results = manager.run(range(10))
    next(results)
    reports: list[object] = []
    waiter = threading.Thread(target=lambda: reports.append(manager.wait_for_completion(20).state))
    waiter.start()
    assert list(results) == list(range(1, 10))
    waiter.join()
    assert reports == ["completed"]


def test_r9_a_stalled_run_logs_the_stacks_of_all_workers(
    stuck: tuple[PipelineManager, threading.Event], caplog: pytest.LogCaptureFixture, until: Until
) -> None:
    with caplog.at_level(logging.WARNING):
        until(lambda: caplog.messages)
    assert "nightly: nothing has moved for 0.02 seconds" in caplog.messages[0]
    assert "stage 'the slow one'" in caplog.messages[0]
    if HAS_GIL:
        assert "stage 'fine'" in caplog.messages[0]
        assert "wait_in_vain" in caplog.messages[0]


def test_r13_without_a_gil_those_are_named_who_have_items_in_hand(
    stuck: tuple[PipelineManager, threading.Event],
    monkeypatch: pytest.MonkeyPatch,
    until: Until,
    asleep: Callable[[str], bool],
) -> None:
    manager, _ = stuck
    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    until(lambda: asleep("nightly-fine-0"))
    with pytest.raises(TimeoutError, match=r"Busy:\nstage 'the slow one': items in hand: 1\n$"):
        manager.wait_for_completion(0.01)


def test_r13_without_a_gil_those_are_named_who_are_in_setup(
    gate: threading.Event, monkeypatch: pytest.MonkeyPatch, until: Until
) -> None:
    class SetsUp(Pass):
        def setup(self) -> None:
            gate.wait()

    monkeypatch.setattr(sys, "_is_gil_enabled", lambda: False, raising=False)
    manager = PipelineManager().add_worker(Pass).add_worker(SetsUp)
    manager.start([1])
    until(lambda: manager.report.stages[0].processed)
    with pytest.raises(TimeoutError, match=r"Busy:\nstage 'sets_up': in setup\n$"):
        manager.wait_for_completion(0.01)


def test_r9_a_run_that_moves_logs_no_stall(caplog: pytest.LogCaptureFixture) -> None:
    manager = PipelineManager(stall_timeout=20).add_worker(Pass)
    with caplog.at_level(logging.WARNING):
        assert list(manager.run(range(100))) == list(range(100))
    assert caplog.messages == []
