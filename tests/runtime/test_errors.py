"""R4: an error says what failed and where, and has the original exception as its cause."""

import logging
import threading
import traceback
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, FailedItem, PipelineError, PipelineManager

both_modes = pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])


class Broken(BaseWorker[Any, Any]):
    """Fails in the method that it is told."""

    def __init__(self, phase: str = "process_item") -> None:
        self.phase = phase
        self.fail_in("__init__")

    def fail_in(self, phase: str) -> None:
        if phase == self.phase:
            raise ValueError(f"broken in {phase}")

    def setup(self) -> None:
        self.fail_in("setup")

    def process_item(self, item: Any) -> Any:
        self.fail_in("process_item")
        return item

    def process_batch(self, items: list[Any]) -> list[Any]:
        self.fail_in("process_batch")
        return items

    def teardown(self) -> None:
        self.fail_in("teardown")


def error_of(manager: PipelineManager, source: Any, serial: bool = False) -> PipelineError:
    with pytest.raises(PipelineError) as caught:
        list(manager.run(source, serial=serial))
    assert manager.report.state == "failed"
    assert manager.report.error is caught.value
    return caught.value


@both_modes
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("phase", ["__init__", "setup", "process_item", "process_batch", "teardown"])
def test_r4_an_error_names_the_stage_and_what_it_was_at(phase: str, workers: int, serial: bool) -> None:
    manager = PipelineManager().add_worker(
        Broken,
        name="quality_control",
        workers=workers,
        worker_args={"phase": phase},
        batch_size=1 if phase == "process_batch" else None,
    )
    error = error_of(manager, ["item"], serial)
    assert (error.stage, error.phase) == ("quality_control", phase)
    assert f"stage 'quality_control' failed in {phase}" in str(error)
    assert f"ValueError: broken in {phase}" in str(error)


@both_modes
def test_r4_an_error_names_the_item_its_index_and_the_attempt(serial: bool) -> None:
    class FailsOnC(BaseWorker[str, str]):
        def process_item(self, item: str) -> str:
            if item == "c":
                raise ValueError("no c")
            return item

    error = error_of(PipelineManager().add_worker(FailsOnC, retries=1), "abcd", serial)
    assert (error.item, error.index, error.attempt) == ("c", 2, 2)
    assert "on item 2: 'c' (attempt 2): ValueError: no c" in str(error)


@both_modes
def test_r4_the_cause_is_the_original_exception_with_its_traceback(serial: bool) -> None:
    original = KeyError("missing")

    class Deep(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            return self.look_it_up(item)

        def look_it_up(self, item: int) -> int:
            raise original

    error = error_of(PipelineManager().add_worker(Deep), [1], serial)
    assert error.__cause__ is original
    assert "look_it_up" in "".join(traceback.format_exception(error))


def failing_iterator() -> Iterator[int]:
    yield 1
    raise OSError("the disk is gone")


class FailingIterable:
    def __iter__(self) -> Iterator[int]:
        raise OSError("the disk is gone")


def failing_function(queue: Any, stop_event: threading.Event) -> None:
    queue.put(1)
    raise OSError("the disk is gone")


@both_modes
@pytest.mark.parametrize("make_source", [failing_iterator, FailingIterable, lambda: failing_function])
def test_r4_an_error_of_the_source_says_so(make_source: Callable[[], Any], serial: bool) -> None:
    error = error_of(PipelineManager().add_worker(Broken, worker_args={"phase": "none"}), make_source(), serial)
    assert (error.stage, error.phase) == ("source", "read")
    assert isinstance(error.__cause__, OSError)
    assert "the source failed in read" in str(error)


@both_modes
def test_r4_an_item_that_the_source_cannot_make_fails_with_its_index(serial: bool) -> None:
    bad = FailedItem("{not json", ValueError("line 3"))
    error = error_of(PipelineManager().add_worker(Broken, worker_args={"phase": "none"}), ["{}", bad], serial)
    assert (error.stage, error.item, error.index) == ("source", "{not json", 1)
    assert error.__cause__ is bad.error


@both_modes
def test_r4_an_error_of_the_dead_letter_callback_ends_the_run_and_says_so(serial: bool) -> None:
    def callback(letter: object) -> None:
        raise OSError("the dead letter file is full")

    manager = PipelineManager(on_error="skip", on_dead_letter=callback).add_worker(Broken, name="broken")
    error = error_of(manager, [1, 2, 3], serial)
    assert (error.stage, error.phase, error.item) == ("broken", "on_dead_letter", 1)
    assert isinstance(error.__cause__, OSError)


def test_r4_a_long_item_is_cut_and_one_without_a_text_does_no_harm() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no comment")

    text = str(error_of(PipelineManager().add_worker(Broken), ["x" * 10_000]))
    assert len(text) < 500
    assert "…" in text
    text = str(error_of(PipelineManager().add_worker(Broken), [Mute()]))
    assert "<Mute, which raised RuntimeError when asked for its text>" in text


def test_r4_a_background_run_raises_its_error_where_it_is_waited_for() -> None:
    manager = PipelineManager().add_worker(Broken, name="broken")
    manager.start([1])
    with pytest.raises(PipelineError, match="stage 'broken' failed"):
        manager.wait_for_completion()


def test_r4_the_log_has_the_error_too(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        error = error_of(PipelineManager(name="nightly").add_worker(Broken), [1])
    assert caplog.messages == [f"nightly: {error}"]


def test_r4_a_batch_of_the_wrong_length_is_an_error() -> None:
    class TooShort(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int | None]:
            return []

    error = error_of(PipelineManager().add_worker(TooShort, batch_size=2), [1, 2])
    assert "process_batch() returned 0 outputs for 1 items" in str(error)


@both_modes
@pytest.mark.parametrize("place", ["stage", "source"])
def test_r6_another_pipeline_that_is_closed_is_an_error_here_and_not_the_end(place: str, serial: bool) -> None:
    queues = SimpleQueue[Any]()

    def source_of_other(queue: Any, stop_event: threading.Event) -> None:
        queues.put(queue)
        stop_event.wait()

    class Feed(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            if place == "stage":
                closed.put(item)
            return item

    def source() -> Iterator[int]:
        yield 0
        if place == "source":
            closed.put(1)

    other = PipelineManager().add_worker(Feed)
    other.start(source_of_other)
    closed = queues.get()
    other.stop()
    other.wait_for_completion()
    manager = PipelineManager().add_worker(Feed, name="stage")
    with pytest.raises(PipelineError) as caught:
        list(manager.run(source(), serial=serial))
    assert caught.value.stage == place
    assert manager.report.imbalances() == []
