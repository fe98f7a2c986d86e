"""R3: every item is accounted for, whatever ends the run, and the report checks its own sums."""

import itertools
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Literal

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager

Until = Callable[[Callable[[], object]], None]


class DropAndFail(BaseWorker[int, int]):
    def process_item(self, item: int) -> int | None:
        if item % 7 == 1:
            raise ValueError("one of seven")
        return item if item % 5 else None


class TwiceOrFail(BaseWorker[int, int]):
    def process_item(self, item: int) -> Generator[int, None, None]:
        if item % 4 == 2:
            return
        yield item
        if item % 11 == 3:
            raise ValueError("between two outputs")
        yield item


class BatchOrFail(BaseWorker[int, int]):
    def process_batch(self, items: list[int]) -> list[int | None]:
        if any(item % 13 == 4 for item in items):
            raise ValueError("a batch with a bad item")
        return [item if item % 3 else None for item in items]


def complete(manager: PipelineManager, serial: bool) -> None:
    list(manager.run(range(150), serial=serial))


def fail_in_the_source(manager: PipelineManager, serial: bool) -> None:
    def source() -> Iterator[int]:
        yield from range(50)
        raise OSError("the disk is gone")

    with suppress(PipelineError):
        list(manager.run(source(), serial=serial))


def leave_the_loop(manager: PipelineManager, serial: bool) -> None:
    results = manager.run(itertools.count(), serial=serial)
    list(itertools.islice(results, 20))
    results.close()


def stop_from_outside(manager: PipelineManager, serial: bool) -> None:
    for number, _ in enumerate(manager.run(itertools.count(), serial=serial)):
        if number == 20:
            stopper = threading.Thread(target=manager.stop)
            stopper.start()
            stopper.join()


def drain(manager: PipelineManager, serial: bool) -> None:
    for number, _ in enumerate(manager.run(itertools.count(), serial=serial)):
        if number == 20:
            manager.stop(drain=True)


def miss_the_deadline(manager: PipelineManager, serial: bool) -> None:
    reads = threading.Event()

    def source() -> Iterator[int]:
        reads.set()
        yield from itertools.count()

    manager.start(source())
    reads.wait()
    with pytest.raises(TimeoutError):
        manager.wait_for_completion(0.01)
    manager.wait_for_completion()


@pytest.mark.parametrize("on_error", ["skip", "stop"])
@pytest.mark.parametrize("shape", ["one worker", "ordered", "unordered", "serial"])
@pytest.mark.parametrize(
    "end", [complete, fail_in_the_source, leave_the_loop, stop_from_outside, drain, miss_the_deadline]
)
def test_r3_the_accounts_balance_however_the_run_ends(
    end: Callable[[PipelineManager, bool], None], shape: str, on_error: str
) -> None:
    workers = 3 if "ordered" in shape else 1
    manager = PipelineManager(queue_size=4, ordered=shape != "unordered", on_error="skip")
    manager.add_worker(DropAndFail, workers=workers)
    manager.add_worker(BatchOrFail, workers=workers, batch_size=4, batch_timeout=0.001)
    manager.add_worker(TwiceOrFail, workers=workers, on_error=on_error)  # type: ignore[arg-type]
    with suppress(PipelineError):
        end(manager, shape == "serial")
    report = manager.report
    assert report.state != "running"
    assert report.imbalances() == []
    assert report.read > 0


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_r3_each_fate_of_an_item_has_its_own_count(serial: bool) -> None:
    manager = PipelineManager(on_error="skip").add_worker(DropAndFail, name="first").add_worker(TwiceOrFail)
    assert len(list(manager.run(range(35), serial=serial))) == manager.report.delivered
    report = manager.report
    first, second = report.stages
    assert (report.state, report.read, report.source_failed, report.source_aborted) == ("completed", 35, 0, 0)
    assert (first.received, first.processed, first.filtered, first.failed, first.aborted) == (35, 24, 6, 5, 0)
    assert first.emitted == second.received == second.processed + second.filtered + second.failed == 24
    assert second.emitted == report.delivered
    assert report.failed == report.skipped == first.failed + second.failed
    assert report.undelivered == 0


def test_r3_items_that_a_stop_took_away_are_counted_as_aborted(until: Until, gate: threading.Event) -> None:
    class Waits(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            gate.wait()
            return item

    manager = PipelineManager(queue_size=1).add_worker(Waits, name="waits")
    manager.start(range(100))
    until(lambda: manager.report.read == 3)  # One in the worker's hand, one in its queue, one in the source's hand.
    manager.stop()
    gate.set()
    report = manager.wait_for_completion()
    assert (report.state, report.delivered, report.source_aborted) == ("stopped", 0, 1)
    assert (report.stages[0].received, report.stages[0].aborted) == (2, 2)


def test_r3_results_that_nobody_fetched_are_counted_as_undelivered(until: Until) -> None:
    manager = PipelineManager().add_worker(TwiceOrFail)
    results = manager.run([1, 5, 9])
    next(results)
    until(lambda: manager.report.stages[0].emitted == 6)
    results.close()
    assert (manager.report.delivered, manager.report.undelivered) == (1, 5)


def test_r3_retries_are_counted_apart_from_items() -> None:
    class SecondTry(BaseWorker[int, int]):
        tried = False

        def process_item(self, item: int) -> int:
            self.tried = not self.tried
            if self.tried:
                raise ValueError("not yet")
            return item

    manager = PipelineManager().add_worker(SecondTry, retries=1)
    assert list(manager.run(range(2))) == [0, 1]
    (stage,) = manager.report.stages
    assert (stage.received, stage.processed, stage.failed, stage.retried) == (2, 2, 0, 2)


def test_r3_the_report_sees_when_its_sums_do_not_come_out() -> None:
    manager = PipelineManager().add_worker(DropAndFail, name="first")
    list(manager.run([2, 3]))
    report = manager.report
    (stage,) = report.stages
    assert report.imbalances() == []
    one_too_many = replace(report, stages=(replace(stage, aborted=1),))
    assert one_too_many.imbalances() == ["first received 2 items and accounts for 3"]
    assert "the source emitted 3 items, and first received 2" in replace(report, read=3).imbalances()
    assert "first emitted 2 items, and 1 + 0 came out" in replace(report, delivered=1).imbalances()


def test_r3_the_report_is_live_while_the_run_goes_on() -> None:
    manager = PipelineManager().add_worker(DropAndFail)
    assert manager.report.state == "new"
    results = manager.run([2, 3, 4])
    next(results)
    assert manager.report.state == "running"
    next(results)
    assert manager.report.delivered >= 1
    list(results)
    assert manager.report.state == "completed"
    assert manager.report.delivered == 3


def test_r3_the_busiest_stage_is_the_bottleneck(until: Until) -> None:
    go = threading.Event()

    class Busy(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            go.wait()
            return item

    class Idle(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            return item

    manager = PipelineManager().add_worker(Idle).add_worker(Busy, name="the busy one")
    manager.start(range(2))
    until(lambda: manager.report.stages[1].received)
    go.wait(0.05)
    go.set()
    report = manager.wait_for_completion()
    assert report.bottleneck is not None
    assert report.bottleneck.name == "the busy one"
    assert report.stages[0].waiting_for_input > report.stages[1].waiting_for_input


@pytest.mark.parametrize("on_error", ["stop", "skip"])
def test_r3_an_item_whose_turn_never_came_is_aborted_whatever_became_of_it(
    on_error: Literal["stop", "skip"], gate: threading.Event, until: Until
) -> None:
    class FirstWaits(BaseWorker[int, int]):
        def process_item(self, item: int) -> int | Generator[int, None, None]:
            if item == 0:
                gate.wait()
                return item
            return self.break_midway(item)

        def break_midway(self, item: int) -> Generator[int, None, None]:
            yield item
            failing.set()
            raise ValueError("between two outputs")

    failing = threading.Event()
    manager = PipelineManager(on_error=on_error).add_worker(FirstWaits, workers=2)
    manager.start(range(2))
    assert failing.wait(20)
    manager.stop()
    gate.set()
    with suppress(PipelineError):
        manager.wait_for_completion()
    stage = manager.report.stages[0]
    assert (stage.received, stage.processed, stage.failed, stage.aborted) == (2, 0, 0, 2)


class Twice(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return 2 * item


CORE = str(Path(sys.modules[PipelineManager.__module__].__file__ or "").parent)


class Interrupts:
    """Raises at the n-th line of the core that the thread comes to: so a signal's handler may, anywhere."""

    def __init__(self, line: int) -> None:
        self.left = line

    def __call__(self, frame: FrameType, event: str, argument: object) -> "Interrupts | None":
        if not frame.f_code.co_filename.startswith(CORE):
            return None
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self


@pytest.mark.skipif(sys.gettrace() is not None, reason="a debugger, or a measurement of coverage, traces already")
def test_r3_ctrl_c_at_any_line_of_the_plain_loop_leaves_balanced_accounts() -> None:
    line, taken = 0, list[int]()
    while len(taken) < 2:
        line, interrupts, taken = line + 1, Interrupts(line + 1), []
        manager = PipelineManager().add_worker(Twice).add_worker(Twice, name="again")
        results = manager.run(range(3), serial=True)
        next(results)
        sys.settrace(interrupts)
        try:
            for result in results:
                taken.append(result)
                if len(taken) == 2:
                    break
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        results.close()
        assert manager.report.state == "stopped", line
        assert manager.report.imbalances() == [], line
        assert all(stage.aborted >= 0 for stage in manager.report.stages), line
    assert line > 50
