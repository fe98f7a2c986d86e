"""R11 and R15: a child process is a worker like any other, in a stage of child processes and in a pool of them."""

import itertools
import logging
import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from my_pipeline.pipeline_core import PipelineError, PipelineManager, PipelineReport

import workers_for_children as workers
from stages_of_children import Until, each_kind, pipeline

pytestmark = pytest.mark.usefixtures("no_child_left")


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
