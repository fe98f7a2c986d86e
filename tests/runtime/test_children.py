"""R11 and R15: a child process is a worker like any other, in a stage of child processes and in a pool of them."""

import itertools
import logging
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from my_pipeline.pipeline_core import PipelineError, PipelineManager, PipelineReport

import workers_for_children as workers

Until = Callable[[Callable[[], object]], None]
each_kind = pytest.mark.parametrize("kind", ["stage", "pool"])


@pytest.fixture(autouse=True)
def no_child_left(until: Until) -> Iterator[None]:
    yield
    until(lambda: not multiprocessing.active_children())


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


def run_program(arguments: list[str], text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *arguments], input=text, capture_output=True, text=True, timeout=100, check=False
    )


@each_kind
@pytest.mark.parametrize("how", ["python -c", "python -"])
def test_r15_a_class_of_a_program_without_a_file_cannot_be_found_and_that_is_said(how: str, kind: str) -> None:
    """So it is in a notebook. `python -` has a file as far as multiprocessing knows, which it cannot open."""
    program = f"KIND = {kind!r}\n{PROGRAM}{MAIN}"
    done = run_program(["-c", program]) if how == "python -c" else run_program(["-"], program)
    name = "Work" if kind == "stage" else "Pool"
    if how == "python -c":
        assert "failed in setup: AttributeError: Can't get attribute " + repr(name) in done.stderr
    else:
        assert "FileNotFoundError" in done.stderr
        assert "failed in setup: RuntimeError: a child process ended before it was ready" in done.stderr
    assert "in the middle of a call" not in done.stderr


@each_kind
def test_r15_a_program_that_does_not_guard_its_main_is_told_to(kind: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"KIND = {kind!r}\n{PROGRAM}{MAIN}")
    done = run_program([str(script)])
    assert "failed in setup: RuntimeError: a child process ended before it was ready, with exit code 1" in done.stderr
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


# What a worker has in a child.


@each_kind
def test_r15_a_child_has_its_name_and_its_index(kind: str) -> None:
    seen = {(each["name"], each["index"]) for each in pipeline(kind, workers.WhereAmI, 2).run(range(200))}
    assert seen <= {("children", 0), ("children", 1)}


@each_kind
@pytest.mark.parametrize("worker_class", [workers.WaitsForStop, workers.WaitsForStopInSetup])
def test_r15_a_stop_reaches_the_stop_event_of_a_child(
    kind: str, worker_class: Any, tmp_path: Path, until: Until
) -> None:
    """In a call, and while it is being set up."""
    manager = pipeline(kind, worker_class, 2, mark=tmp_path / "begun")
    manager.start(range(10))
    until((tmp_path / "begun").exists)
    manager.stop()
    report = manager.wait_for_completion(60)
    assert (report.state, report.failed, report.imbalances()) == ("stopped", 0, [])


class HeldUp:
    """Pickled, as the arguments of a child are when it is about to start, it waits."""

    begun, go = threading.Event(), threading.Event()

    def __reduce__(self) -> Any:
        self.begun.set()
        self.go.wait()
        return int, ()


def test_r15_a_stop_reaches_a_child_that_is_about_to_start(tmp_path: Path) -> None:
    arguments = {"mark": tmp_path / "begun", "anything": HeldUp()}
    manager = PipelineManager(name="late").add_worker(
        workers.WaitsForStopInSetup, name="children", executor="process", worker_args=arguments
    )
    manager.start(range(10))
    assert HeldUp.begun.wait(20)
    manager.stop()
    threading.Timer(0.2, HeldUp.go.set).start()
    report = manager.wait_for_completion(60)
    assert (report.state, report.failed, report.imbalances()) == ("stopped", 0, [])


@each_kind
def test_r15_a_child_that_sets_its_stop_event_stops_the_run(kind: str) -> None:
    manager = pipeline(kind, workers.Stops, 2)
    results = list(manager.run(itertools.count()))
    assert results == list(range(len(results)))
    report = manager.report
    assert (report.state, report.failed, report.imbalances()) == ("stopped", 0, [])


@each_kind
def test_r15_the_logger_of_a_child_speaks_in_the_parent(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    assert list(pipeline(kind, workers.Logs).run("abc")) == ["a", "b", "c"]
    told = [record for record in caplog.records if getattr(record, "stage", None) == "children"]
    assert [(record.getMessage().partition("\n")[0], record.item_index) for record in told] == [  # type: ignore[attr-defined]
        ("in setup", None),
        ("item a", 0),
        ("item b", 1),
        ("caught", 1),
        ("item c", 2),
        ("in teardown", None),
    ]
    assert {record.worker for record in told} == {"pipeline-children-0"}  # type: ignore[attr-defined]
    assert told[3].colour == "red"  # type: ignore[attr-defined]
    assert "ValueError: bad luck" in caplog.text
    assert "a library speaks of b" in caplog.text


def test_r15_a_child_logs_at_the_level_that_the_parent_has_at_the_start(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        list(pipeline("stage", workers.Logs).run("b"))
    assert [record.getMessage().partition("\n")[0] for record in caplog.records] == ["caught"]
    with caplog.at_level(logging.DEBUG):
        list(pipeline("stage", workers.Logs).run("b"))
    assert "a detail of b" in caplog.messages


@each_kind
def test_r15_a_teardown_that_raises_in_a_child_fails_the_run_after_all_results(kind: str) -> None:
    results: list[int] = []
    manager = pipeline(kind, workers.FailsInTeardown, 2)
    with pytest.raises(PipelineError, match="failed in teardown: OSError: the file is not flushed") as caught:
        results.extend(manager.run(range(20)))
    assert "in teardown" in "".join(caught.value.__cause__.__notes__)  # type: ignore[union-attr]
    assert manager.report.delivered == 20


@each_kind
def test_r15_a_child_starts_in_the_world_as_it_is_now(
    kind: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OF_THE_FIRST_RUN", "yes")
    (before,) = pipeline(kind, workers.WhereAmI).run([1])
    assert before["environment"]["OF_THE_FIRST_RUN"] == "yes"
    monkeypatch.delenv("OF_THE_FIRST_RUN")
    monkeypatch.setenv("OF_THE_SECOND_RUN", "yes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "more"))
    (now,) = pipeline(kind, workers.WhereAmI).run([1])
    assert Path(now["folder"]).samefile(tmp_path)
    assert str(tmp_path / "more") in now["path"]
    assert "OF_THE_FIRST_RUN" not in now["environment"]
    assert now["environment"]["OF_THE_SECOND_RUN"] == "yes"


@each_kind
@pytest.mark.parametrize("with_what", ["subprocess", "multiprocessing", "a pipeline"])
def test_r15_a_child_may_have_children_of_its_own(with_what: str, kind: str) -> None:
    assert list(pipeline(kind, workers.HasChildren).run([with_what])) == [42]


def test_r11_a_child_that_is_slow_to_leave_holds_nobody_else_up(tmp_path: Path, until: Until) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    slow = pipeline("stage", workers.SlowToLeave, begun=begun, go=go)
    slow.start([1])
    until(begun.exists)
    for kind in "stage", "pool":
        assert list(pipeline(kind, workers.Negate, 2).run([1, 2, 3])) == [-1, -2, -3]
        results = pipeline(kind, workers.Negate, 2).run(itertools.count())
        assert next(results) == 0
        results.close()
    assert slow.report.state == "running"
    go.touch()
    slow.wait_for_completion(60)


# The same results, accounts, dead letters and errors.


def outcome(report: PipelineReport) -> Any:
    stage = report.stages[0]
    letters = [(letter.item, letter.index, letter.attempts, repr(letter.error)) for letter in report.dead_letters]
    numbers = (stage.received, stage.processed, stage.filtered, stage.failed, stage.retried, stage.emitted)
    return report.state, numbers, sorted(letters)


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("batch_size", [None, 4])
@pytest.mark.parametrize("worker_class", [workers.RefusesSome, workers.Expands])
def test_r15_children_give_what_the_plain_loop_gives(worker_class: Any, batch_size: int | None, ordered: bool) -> None:
    if batch_size is not None and worker_class is workers.Expands:
        pytest.skip("a batch gives one output for each item")
    outcomes = []
    for executor, number, serial in ("thread", 1, True), ("thread", 3, False), ("process", 3, False):
        manager = PipelineManager(on_error="skip", ordered=ordered)
        manager.add_worker(worker_class, name="same", workers=number, executor=executor, batch_size=batch_size)  # type: ignore[arg-type]
        results = list(manager.run(range(200), serial=serial))
        assert manager.report.imbalances() == []
        outcomes.append((results if ordered else sorted(results), outcome(manager.report)))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_r17_items_of_a_failed_batch_that_children_try_alone_keep_the_rate() -> None:
    manager = PipelineManager()
    manager.add_worker(workers.OneByOne, executor="process", workers=2, batch_size=8, rate_limit=40)
    moments = sorted(manager.run(range(16)))
    assert moments[-1] - moments[0] > 14 / 40  # 15 / 40, and the clocks of both.


@each_kind
def test_r15_retries_in_children_are_those_of_the_plain_loop(kind: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"folder": tmp_path}
    manager = PipelineManager(on_error="skip")
    if kind == "pool":
        arguments |= {"worker_class": workers.SucceedsLater, "sub_workers": 2}
        manager.add_worker(workers.Pool, retries=1, worker_args=arguments)
    else:
        manager.add_worker(workers.SucceedsLater, executor="process", workers=2, retries=1, worker_args=arguments)
    assert list(manager.run(range(20))) == [item for item in range(20) if item % 5]
    assert manager.report.stages[0].retried == 20
    assert [(letter.item, letter.attempts) for letter in manager.report.dead_letters] == [
        (0, 2),
        (5, 2),
        (10, 2),
        (15, 2),
    ]


def test_r15_an_error_ends_the_run_behind_the_results_before_it() -> None:
    manager = PipelineManager().add_worker(workers.RefusesSome, executor="process", workers=3, name="same")
    results: list[Any] = []
    with pytest.raises(PipelineError, match="on item 6: 6: ValueError: 6 is refused") as caught:
        results.extend(manager.run(itertools.count()))
    assert results == [10, 20, 30, 40]
    assert "in process_item" in "".join(caught.value.__cause__.__notes__)  # type: ignore[union-attr]
    assert manager.report.imbalances() == []


@each_kind
@pytest.mark.parametrize("bad", ["item", "output", "answer"])
def test_r4_what_does_not_travel_fails_its_item_alone_and_harms_no_other(bad: str, kind: str, tmp_path: Path) -> None:
    """Also among the many that are sent together."""
    strange = {"item": lambda: None, "output": "as a lambda", "answer": "as what does not unpickle"}[bad]
    source = [*range(300), strange, *range(300, 600)]
    manager = pipeline(kind, workers.Counts, 1, {"on_error": "skip"}, folder=tmp_path)
    assert list(manager.run(source)) == list(range(600))
    (letter,) = manager.report.dead_letters
    assert (letter.index, letter.item) == (300, strange)
    assert ("lambda" if bad != "answer" else "does not unpickle") in str(letter.error)
    if bad != "answer":  # Then the whole answer does not arrive.
        assert {path.read_text() for path in tmp_path.iterdir()} == {"x"}


@each_kind
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("before", range(3))
def test_r15_no_item_waits_in_a_chunk_for_another_while_a_child_idles(
    before: int, ordered: bool, kind: str, tmp_path: Path, gate: threading.Event
) -> None:
    """Calls of a millisecond are sent in chunks by then. Of up to four items, the last two do not share one."""

    def source() -> Iterator[int]:
        yield from range(300)
        gate.wait(30)  # Both children idle.
        yield from (*range(300, 300 + before), -1, -2)

    results = pipeline(kind, workers.Meets, 2, {"ordered": ordered}, folder=tmp_path).run(source())
    first = list(itertools.islice(results, 300))
    gate.set()
    assert sorted([*first, *results]) == list(range(-2, 300 + before))


@each_kind
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("queue_size", [1, 2, 7, 100])
def test_r6_children_are_never_waited_for_in_vain_whatever_there_is_room_for(
    queue_size: int, ordered: bool, kind: str
) -> None:
    manager = pipeline(kind, workers.Negate, 2, {"queue_size": queue_size, "ordered": ordered})
    assert sorted(manager.run(range(2000)), reverse=True) == [-item for item in range(2000)]


def test_r15_in_serial_mode_a_stage_of_children_is_the_plain_loop() -> None:
    manager = pipeline("stage", workers.WhereAmI)
    (here,) = manager.run([1], serial=True)
    assert here["pid"] == os.getpid()


# No process is left.


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return not Path("/proc/self").exists()


LEAVING = """
import itertools, os, signal, sys, threading
from pathlib import Path
import workers_for_children as workers
from my_pipeline.pipeline_core import PipelineManager

def build(kind, **arguments):
    arguments["folder"] = Path(sys.argv[1])
    manager = PipelineManager()
    if kind == "pool":
        return manager.add_worker(workers.Pool, worker_args=arguments | {"worker_class": workers.Stuck, "sub_workers": 2})
    return manager.add_worker(workers.Stuck, executor="process", workers=2, worker_args=arguments)

def main(kind):
    manager = build(kind, until_the_stop=UNTIL_THE_STOP)
    results = manager.run(itertools.count())
    next(results)
    HOW

if __name__ == "__main__":
    main("KIND")
"""

WAYS = {
    "the results are held": ("sys.kept = results", True),
    "the results are held and a call does not return": ("sys.kept = results", False),
    "its own error": ("raise ValueError(results)", True),
    "close": ("results.close()", True),
    "stop": ("manager.stop(); manager.wait_for_completion()", True),
    "sys.exit in another thread's run": ("build('KIND', until_the_stop=True).start([5, 6]); sys.exit(0)", True),
    "kill -9": ("os.kill(os.getpid(), signal.SIGKILL)", True),
}


@each_kind
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.skipif(sys.platform == "win32", reason="asks the system about processes as POSIX has it")
def test_r6_no_child_outlives_its_program(way: str, kind: str, tmp_path: Path, until: Until) -> None:
    how, until_the_stop = WAYS[way]
    script, pids = tmp_path / "script.py", tmp_path / "pids"
    pids.mkdir()
    text = LEAVING.replace("HOW", how).replace("KIND", kind).replace("UNTIL_THE_STOP", str(until_the_stop))
    script.write_text(text)
    run_program([str(script), str(pids)])
    left = {int(path.name) for path in pids.iterdir()}
    assert left
    until(lambda: not any(map(is_alive, left)))


@each_kind
@pytest.mark.parametrize("end", ["close", "stop", "error"])
def test_r6_no_child_is_left_when_the_run_is_over(end: str, kind: str) -> None:
    manager = pipeline(kind, workers.RefusesSome if end == "error" else workers.Negate, 3)
    results = manager.run(itertools.count(1))
    assert next(results) in (10, -1)
    if end == "close":
        results.close()
    elif end == "stop":
        manager.stop()
        assert list(results) == []
    else:
        with pytest.raises(PipelineError):
            list(results)
    assert multiprocessing.active_children() == []


INTERRUPTED = """
import itertools, signal, sys, threading, time
from pathlib import Path
from my_pipeline.pipeline_core import BaseWorker, PipelineManager, SubTaskPoolWorker

def say(text):
    sys.stdout.write(text + "\\n")
    sys.stdout.flush()

def in_a_child():
    return __name__ != "__main__"

if in_a_child() and WHERE == "import":
    say("starting")
    time.sleep(1)

class Work(BaseWorker):
    def setup(self):
        if in_a_child() and WHERE == "setup":
            say("starting")
            time.sleep(1)

    def process_item(self, item):
        return item

class Pool(SubTaskPoolWorker):
    setup = Work.setup
    process_sub_task = Work.process_item

def main():
    signal.signal(signal.SIGINT, signal.default_int_handler)
    manager = PipelineManager(on_error="skip")
    if KIND == "stage":
        manager.add_worker(Work, executor="process", workers=3)
    else:
        manager.add_worker(Pool, worker_args={"executor": "process", "sub_workers": 3})
    try:
        for _ in manager.run(itertools.count()):
            pass
    except KeyboardInterrupt:
        report = manager.report
        say(f"{report.state} {report.failed} {report.imbalances()} {report.error}")

if __name__ == "__main__":
    main()
"""


@each_kind
@pytest.mark.parametrize("where", ["import", "setup"])
@pytest.mark.skipif(sys.platform == "win32", reason="a process there cannot send another one a Ctrl-C")
def test_r8_ctrl_c_while_children_start_is_a_stop(where: str, kind: str, tmp_path: Path) -> None:
    """A terminal sends it to all of them. It is no failure of theirs, and of no item."""
    script = tmp_path / "script.py"
    script.write_text(f"WHERE, KIND = {where!r}, {kind!r}\n{INTERRUPTED}")
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        os.killpg(process.pid, signal.SIGINT)
        try:
            output, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert "stopped 0 [] None" in output.splitlines(), errors
    assert process.returncode == 0


@pytest.mark.parametrize("ordered", [True, False])
def test_r15_what_a_child_has_begun_is_given_to_no_other(ordered: bool, tmp_path: Path) -> None:
    """Also where the outputs of a generator keep the results behind it waiting."""
    manager = PipelineManager(queue_size=50, ordered=ordered)
    manager.add_worker(workers.NeverTwice, executor="process", workers=2, worker_args={"folder": tmp_path})
    results = list(manager.run(range(1000)))
    assert Counter(results) == {item: 2000 if item % 100 == 50 else 1 for item in range(1000)}


def test_r15_an_output_of_a_generator_in_a_child_waits_for_no_later_one(tmp_path: Path) -> None:
    file = tmp_path / "go on"
    manager = PipelineManager().add_worker(workers.Waits, executor="process", worker_args={"file": file})
    results = iter(manager.run([0]))
    assert next(results) == "first"
    file.touch()
    assert list(results) == ["second"]


@pytest.mark.parametrize(
    ("item", "text"), [("lambda", "lambda"), ("late", "no result after 1 seconds"), ("killed", "died in the middle")]
)
def test_r15_a_generator_in_a_child_that_ends_oddly_has_given_what_came_before(item: str, text: str) -> None:
    manager = PipelineManager(on_error="skip")
    manager.add_worker(workers.EndsOddly, executor="process", timeout=1.0, retries=2)
    assert list(manager.run(["well", item, "well"])) == [1, 2, 3, 1, 2, 1, 2, 3]
    (letter,) = manager.report.dead_letters
    assert (letter.index, letter.item, letter.attempts) == (1, item, 1)
    assert text in str(letter.error)
    assert manager.report.imbalances() == []
