"""R12: a manager runs once, refuses bad arguments at the call, and does nothing behind your back."""

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from my_pipeline.pipeline_core import SENTINEL, BaseWorker, PipelineManager, SubTaskPoolWorker, robust_put

both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])


class Pass(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


class QualityControlWorker(Pass):
    """Its stage is called quality_control."""


class NeedsPath(Pass):
    def __init__(self, path: str) -> None:
        self.path = path


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("queue_size", 0),
        ("queue_size", 1.5),
        ("queue_size", True),
        ("queue_size", None),
        ("on_error", "ignore"),
        ("on_error", None),
        ("max_failures", -1),
        ("max_failures", 1.5),
        ("max_failures", "3"),
        ("stall_timeout", 0),
        ("stall_timeout", "1"),
        ("on_dead_letter", "print"),
    ],
)
def test_r12_a_manager_refuses_a_bad_argument_by_name(argument: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=argument):
        PipelineManager(**{argument: value})


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("name", ""),
        ("name", "source"),
        ("name", "first"),
        ("workers", 0),
        ("workers", "2"),
        ("workers", True),
        ("workers", 999_999_999),
        ("queue_size", 0),
        ("on_error", "ignore"),
        ("retries", -1),
        ("retries", 0.5),
        ("batch_size", 0),
        ("batch_timeout", 0),
        ("batch_timeout", -1.0),
        ("batch_timeout", 1.0),  # There is no batch_size.
        ("worker_args", {"colour": "red"}),
    ],
)
def test_r12_add_worker_refuses_a_bad_argument_by_name(argument: str, value: Any) -> None:
    manager = PipelineManager().add_worker(Pass, name="first")
    arguments = {"name": "second", argument: value}
    if argument == "batch_size":
        worker_class: Any = type("Batch", (Pass,), {"process_batch": lambda self, items: items})
    else:
        worker_class = Pass
    with pytest.raises((TypeError, ValueError), match=argument):
        manager.add_worker(worker_class, **arguments)


def test_r12_tune_changes_all_or_nothing() -> None:
    manager = PipelineManager().add_worker(Pass, name="first").add_worker(Pass, name="second")
    manager.add_worker(SubTaskPoolWorker, name="pool")
    for bad, problem in (
        ({"second": 0}, "workers of second"),
        ({"pool": 0}, "workers of pool"),
        ({"third": 2}, "there is no stage 'third'"),
    ):
        with pytest.raises(ValueError, match=problem):
            manager.tune(workers={"first": 3} | bad)
    assert [stage.workers for stage in manager.report.stages][:2] == [1, 1]


def test_r12_tune_changes_what_it_is_told_and_nothing_else() -> None:
    manager = PipelineManager(queue_size=7).add_worker(Pass, name="first", queue_size=5).add_worker(Pass, name="second")
    manager.tune(workers={"second": 3})
    assert [(stage.workers, stage.queue_size) for stage in manager.report.stages] == [(1, 5), (3, 7)]
    with pytest.raises(ValueError, match="queue_size"):
        manager.tune(queue_size=0)
    assert [stage.queue_size for stage in manager.tune(queue_size=4).report.stages] == [4, 4]
    assert list(manager.run(range(20))) == list(range(20))
    assert [stage.workers for stage in manager.report.stages] == [1, 3]


def test_r12_keep_refuses_an_end_before_the_beginning() -> None:
    manager = PipelineManager().add_worker(Pass, name="first").add_worker(Pass, name="second")
    with pytest.raises(ValueError, match="no stage from 'second' to 'first'"):
        manager.keep("second", "first")
    assert [stage.name for stage in manager.keep("second", "second").report.stages] == ["second"]


@pytest.mark.parametrize("worker_class", [Pass(), int, "Pass", BaseWorker])
def test_r12_add_worker_refuses_what_is_no_worker_class(worker_class: Any) -> None:
    with pytest.raises(TypeError, match="worker_class"):
        PipelineManager().add_worker(worker_class)


def test_r12_a_stage_with_batches_must_define_process_batch() -> None:
    with pytest.raises(TypeError, match="Pass must define process_batch"):
        PipelineManager().add_worker(Pass, batch_size=3)


def test_r12_a_missing_worker_argument_is_seen_when_the_stage_is_added() -> None:
    with pytest.raises(TypeError, match=r"worker_args do not fit NeedsPath.*path"):
        PipelineManager().add_worker(NeedsPath)


def test_r12_a_stage_is_named_after_its_class() -> None:
    manager = PipelineManager().add_worker(QualityControlWorker).add_worker(Pass)
    list(manager.run([1]))
    assert [stage.name for stage in manager.report.stages] == ["quality_control", "pass"]


@pytest.mark.parametrize("again", [lambda manager: manager.run([1]), lambda manager: manager.start([1])])
def test_r12_a_manager_runs_once(again: Callable[[PipelineManager], object]) -> None:
    manager = PipelineManager().add_worker(Pass)
    list(manager.run([1]))
    with pytest.raises(RuntimeError, match="runs once"):
        again(manager)


@pytest.mark.parametrize(
    "change",
    [
        lambda manager: manager.add_worker(Pass, name="late"),
        lambda manager: manager.tune(queue_size=1),
        lambda manager: manager.keep("pass"),
    ],
    ids=["add_worker", "tune", "keep"],
)
def test_r12_changing_a_pipeline_after_the_start_is_refused(change: Callable[[PipelineManager], object]) -> None:
    manager = PipelineManager().add_worker(Pass)
    list(manager.run([1]))
    with pytest.raises(RuntimeError, match="after the start"):
        change(manager)


def test_a_run_that_is_interrupted_before_it_begins_has_stopped() -> None:
    class Interrupted(Pass):
        def __init__(self) -> None:
            raise KeyboardInterrupt

    manager = PipelineManager().add_worker(Interrupted)
    with pytest.raises(KeyboardInterrupt):
        manager.run([1])
    assert manager.report.state == "stopped"


def test_r12_a_pipeline_without_stages_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no stage"):
        PipelineManager().run([1])


@pytest.mark.parametrize("source", [None, 7])
def test_r12_what_is_no_source_is_refused(source: Any) -> None:
    manager = PipelineManager().add_worker(Pass)
    with pytest.raises(TypeError, match="source"):
        manager.run(source)
    assert list(manager.run([1])) == [1], "a refused source does not use the manager up"


def test_r12_there_is_nothing_to_wait_for_before_the_start() -> None:
    with pytest.raises(RuntimeError, match="nothing runs"):
        PipelineManager().add_worker(Pass).wait_for_completion()


def test_r12_work_begins_with_the_first_next() -> None:
    asked = threading.Event()

    def source() -> Any:
        asked.set()
        yield 1

    results = PipelineManager().add_worker(Pass).run(source())
    assert not asked.is_set()
    assert next(results) == 1
    assert asked.is_set()
    assert list(results) == []


@both_modes
def test_a_source_may_be_a_function_that_feeds_a_queue(serial: bool) -> None:
    def source(queue: Any, stop_event: threading.Event) -> None:
        for item in range(300):
            assert robust_put(queue, item, stop_event)

    assert list(PipelineManager(queue_size=5).add_worker(Pass).run(source, serial=serial)) == list(range(300))


@both_modes
def test_a_source_function_may_end_with_the_sentinel_and_puts_nothing_behind_it(serial: bool) -> None:
    refused = []

    def source(queue: Any, stop_event: threading.Event) -> None:
        queue.put(1)
        queue.put(SENTINEL)
        try:
            queue.put(2)
        except ValueError as error:
            refused.append(str(error))

    assert list(PipelineManager().add_worker(Pass).run(source, serial=serial)) == [1]
    assert refused == ["put() after SENTINEL"]


@both_modes
@pytest.mark.parametrize("source", [[], iter(()), range(0)], ids=["list", "iterator", "range"])
def test_an_empty_source_is_a_completed_run(source: Any, serial: bool) -> None:
    manager = PipelineManager().add_worker(Pass)
    assert list(manager.run(source, serial=serial)) == []
    assert manager.report.state == "completed"


def test_r12_the_import_starts_nothing_and_prints_nothing_and_the_core_is_silent_until_asked() -> None:
    script = (
        "import logging, threading\n"
        "handlers = list(logging.getLogger().handlers)\n"
        "import my_pipeline.pipeline_core as core\n"
        "assert threading.active_count() == 1\n"
        "assert logging.getLogger().handlers == handlers\n"
        "class Fails(core.BaseWorker):\n"
        "    def process_item(self, item):\n"
        "        raise ValueError(item)\n"
        "manager = core.PipelineManager().add_worker(Fails)\n"
        "try:\n"
        "    list(manager.run([1]))\n"
        "except core.PipelineError:\n"
        "    pass\n"
    )
    child = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (child.returncode, child.stdout, child.stderr) == (0, "", "")


def test_r12_the_logger_of_the_core_has_a_null_handler() -> None:
    logger = logging.getLogger(BaseWorker.__module__.rpartition(".")[0])
    assert any(isinstance(handler, logging.NullHandler) for handler in logger.handlers)
