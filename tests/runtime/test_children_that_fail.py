"""R11 and R15: a child that cannot begin, or that dies, in a stage of child processes and in a pool of them."""

import itertools
import multiprocessing
import os
import random
import re
import signal
import sys
import threading
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from my_pipeline.pipeline_core import PipelineManager

import workers_for_children as workers
from stages_of_children import Until, each_kind, error_of, pipeline, run_program

pytestmark = pytest.mark.usefixtures("no_child_left")


# A child that cannot begin.


@each_kind
@pytest.mark.parametrize("on_error", ["stop", "skip"])
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("error", "FileNotFoundError: no model here"),
        ("unpicklable error", "Unpicklable: 1 and 2"),
        ("sys.exit", "SystemExit: no licence"),
        ("death", "ended before it was ready, with exit code 7"),
    ],
)
def test_r15_one_child_that_cannot_be_set_up_fails_the_stage(how: str, said: str, on_error: str, kind: str) -> None:
    """And not the items that it would have got. Its traceback is told, too."""
    manager = pipeline(kind, workers.FailsInOneSetup, 4, {"on_error": on_error}, how=how)
    error = error_of(manager, itertools.count())
    assert (error.stage, error.phase, error.item) == ("children", "setup", None)
    assert said in str(error)
    assert manager.report.skipped == 0
    if how != "death":
        assert "in load_the_model" in "".join(error.__cause__.__notes__)  # type: ignore[union-attr]


@each_kind
def test_r15_a_child_whose_worker_cannot_be_made_fails_the_stage(kind: str) -> None:
    error = error_of(pipeline(kind, workers.FailsInChildInit), itertools.count())
    assert (error.stage, error.phase) == ("children", "setup")
    assert "LookupError: no such device" in str(error)


@each_kind
def test_r15_arguments_that_do_not_reach_a_child_fail_the_stage(kind: str) -> None:
    error = error_of(pipeline(kind, workers.TakesAnything, anything=lambda: None), [1])
    assert error.phase == "setup"
    assert "lambda" in str(error)
    for raised in ValueError, SystemExit:
        error = error_of(pipeline(kind, workers.TakesAnything, anything=workers.DoesNotUnpickle(raised)), [1])
        assert error.phase == "setup"
        assert f"{raised.__name__}: an old version" in str(error)


def test_r15_a_class_that_a_child_cannot_import_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("only_in_the_parent")
    worker_class = type("Lonely", (workers.Negate,), {"__module__": module.__name__})
    module.Lonely = worker_class  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    error = error_of(pipeline("stage", worker_class), [1])
    assert error.phase == "setup"
    assert "No module named 'only_in_the_parent'" in str(error)


@each_kind
def test_r15_a_child_that_cannot_be_replaced_fails_the_stage(kind: str, tmp_path: Path) -> None:
    """It would fail all other items at once, and so drain the queue."""
    mark = tmp_path / "died"
    error = error_of(pipeline(kind, workers.DiesAndCannotBeSetUpAgain, 1, {"on_error": "skip"}, mark=mark), range(1000))
    assert (error.stage, error.phase) == ("children", "setup")
    assert "FileNotFoundError: the device is gone" in str(error)


PROGRAM = """
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager, SubTaskPoolWorker

class Work(BaseWorker):
    def process_item(self, item):
        return item

class Pool(SubTaskPoolWorker):
    def process_sub_task(self, sub):
        return sub

def build(kind):
    manager = PipelineManager(name="of_main")
    if kind == "stage":
        return manager.add_worker(Work, executor="process", workers=2)
    return manager.add_worker(Pool, worker_args={"executor": "process", "sub_workers": 2})
"""
MAIN = "print(list(build(KIND).run([1, 2, 3])))"


@each_kind
@pytest.mark.parametrize("how", ["python -c", "python -"])
def test_r15_a_class_of_a_program_without_a_file_cannot_be_found_and_that_is_said(how: str, kind: str) -> None:
    """So it is in a notebook. `python -` has a file as far as multiprocessing knows, which it cannot open."""
    program = f"KIND = {kind!r}\n{PROGRAM}{MAIN}"
    done = run_program(["-c", program]) if how == "python -c" else run_program(["-"], program)
    name = "Work" if kind == "stage" else "Pool"
    if how == "python -c":
        assert re.search(f"failed in setup: AttributeError: .*attribute {name!r}", done.stderr)
    else:
        assert "FileNotFoundError" in done.stderr
        assert "failed in setup: RuntimeError: a child process ended before it was ready" in done.stderr
    assert "in the middle of a call" not in done.stderr


@each_kind
def test_r15_a_program_that_does_not_guard_its_main_is_told_to(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"KIND = {kind!r}\n{PROGRAM}{MAIN}")
    done = run_program([str(script)])
    assert re.search(
        r"failed in setup: RuntimeError: a child process ended before it was ready(, with exit code 1)?:", done.stderr
    )
    assert 'needs `if __name__ == "__main__":`' in done.stderr
    script.write_text(f'KIND = {kind!r}\n{PROGRAM}\nif __name__ == "__main__":\n    {MAIN}')
    done = run_program([str(script)])
    assert done.stdout == "[1, 2, 3]\n", done.stderr


def test_r15_a_process_that_cannot_be_started_fails_the_stage() -> None:
    program = f"import multiprocessing as m; m.set_executable('/no/python'); KIND = 'stage'\n{PROGRAM}{MAIN}"
    assert "stage 'work' failed in setup" in run_program(["-c", program]).stderr


# A child that dies.


@each_kind
def test_r11_a_child_that_dies_in_a_call_fails_its_item_alone_and_is_replaced(kind: str) -> None:
    manager = pipeline(kind, workers.TellsItsProcess, options={"on_error": "skip"})
    results = dict(manager.run(range(6)))
    assert list(results) == [0, 1, 3, 4, 5]
    assert results[1] != results[3] == results[5]
    (letter,) = manager.report.dead_letters
    assert (letter.item, letter.index) == (2, 2)
    assert "a child process died in the middle of a call" in str(letter.error)


@each_kind
def test_r11_an_item_whose_child_died_is_tried_again(kind: str, tmp_path: Path) -> None:
    manager = PipelineManager()
    arguments: dict[str, Any] = {"mark": tmp_path / "died"}
    if kind == "pool":
        arguments |= {"worker_class": workers.DiesOnce, "sub_workers": 1}
        manager.add_worker(workers.Pool, retries=1, worker_args=arguments)
    else:
        manager.add_worker(workers.DiesOnce, executor="process", retries=1, worker_args=arguments)
    assert list(manager.run(range(5))) == list(range(5))
    assert manager.report.stages[0].retried == 1


@each_kind
def test_r11_a_child_that_was_killed_between_two_calls_costs_no_item(kind: str, until: Until) -> None:
    """No call was under way: the next item goes to a new child."""
    next_item = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        next_item.wait()
        yield 1

    manager = pipeline(kind, workers.WhereAmI)
    results = manager.run(source())
    first = next(results)["pid"]
    os.kill(first, signal.SIGKILL)
    until(lambda: not multiprocessing.active_children())
    next_item.set()
    assert next(results)["pid"] != first
    assert list(results) == []


@each_kind
@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize(("number", "batch_size"), [(1, None), (3, None), (2, 5)])
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_r11_each_kill_in_the_middle_of_a_call_costs_at_most_one_item(
    kind: str, retries: int, number: int, batch_size: int | None, tmp_path: Path, until: Until
) -> None:
    """20 times, at random. No item is lost, none is delivered twice, and no process is left."""
    if kind == "pool" and batch_size is not None:
        pytest.skip("a pool has no batches")
    kills, items, draw = 20, 400, random.Random(f"{kind} {retries} {number}")
    arguments: dict[str, Any] = {"folder": tmp_path}
    manager = PipelineManager(on_error="skip", queue_size=10)
    if kind == "pool":
        arguments |= {"worker_class": workers.TellsOfEachCall, "sub_workers": number}
        manager.add_worker(workers.Pool, worker_args=arguments, retries=retries, backoff=0)
    else:
        manager.add_worker(
            workers.TellsOfEachCall,
            executor="process",
            workers=number,
            worker_args=arguments,
            batch_size=batch_size,
            retries=retries,
            backoff=0,
        )
    killed: list[int] = []

    def source() -> Iterator[int]:
        for item in range(items):
            if item % (items // kills) == 5:
                seen = set(tmp_path.iterdir())
                yield item
                until(lambda: set(tmp_path.iterdir()) - seen)  # noqa: B023  # It is called at once.
                called = {int(mark.name.split()[1]) for mark in set(tmp_path.iterdir()) - seen}
                alive = called & {child.pid for child in multiprocessing.active_children()}
                if alive:
                    threading.Event().wait(draw.random() * 0.002)
                    victim = draw.choice(sorted(alive))
                    os.kill(victim, signal.SIGKILL)
                    killed.append(victim)
            else:
                yield item

    results = list(manager.run(source()))
    report = manager.report
    lost = [letter.item for letter in report.dead_letters]
    assert sorted([*map(abs, results), *lost]) == list(range(items))
    assert results == sorted(results, reverse=True)
    assert len(lost) <= len(killed)
    assert len(killed) >= kills // 2
    assert all("died in the middle of a call" in str(letter.error) for letter in report.dead_letters)
    assert report.imbalances() == []
    assert multiprocessing.active_children() == []
