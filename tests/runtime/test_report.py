"""What the report says of time: how long the run took, and how each stage spent it."""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineManager, RetryAfter


class Pass(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


class Slow(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        time.sleep(0.004)
        return item


@pytest.mark.parametrize("workers", [1, 2])
def test_stages_around_a_slow_one_wait_for_it(workers: int) -> None:
    manager = PipelineManager(queue_size=2)
    for name, worker_class in [("before", Pass), ("slow", Slow), ("behind", Pass)]:
        manager.add_worker(worker_class, name=name, workers=workers)
    list(manager.run(range(240)))
    before, slow, behind = manager.report.stages
    assert 0.5 < before.waiting_for_output <= 1
    assert before.waiting_for_input < 0.5
    assert 0.5 < slow.busy <= 1
    assert 0.5 < behind.waiting_for_input <= 1
    assert behind.waiting_for_output < 0.5


def test_in_the_plain_loop_the_stage_behind_a_slow_one_waits_for_it_too() -> None:
    manager = PipelineManager().add_worker(Slow, name="slow").add_worker(Pass, name="behind")
    list(manager.run(range(20), serial=True))
    assert manager.report.stages[1].waiting_for_input > 0.5


def test_a_manager_without_a_stage_has_a_report() -> None:
    report = PipelineManager(name="empty").report
    assert (report.name, report.state, report.stages, report.seconds, report.undelivered) == ("empty", "new", (), 0, 0)


def test_the_seconds_begin_with_the_run_and_end_with_it() -> None:
    manager = PipelineManager().add_worker(Slow)
    assert manager.report.seconds == 0
    start = time.perf_counter()
    list(manager.run(range(5)))
    assert 0.02 <= manager.report.seconds <= time.perf_counter() - start
    report = manager.report
    time.sleep(0.01)
    assert manager.report == report


def test_the_shares_are_live(until: Callable[[Callable[[], object]], None]) -> None:
    manager = PipelineManager(queue_size=1).add_worker(Pass)
    results = manager.run(range(100))
    next(results)
    until(lambda: manager.report.stages[0].waiting_for_output > 0.5)  # Nobody fetches the results: the stage waits.
    results.close()


def test_the_time_of_setup_is_nobodys_busy_time() -> None:
    class LoadsAModel(BaseWorker[int, int]):
        def setup(self) -> None:
            time.sleep(0.2)

        def process_item(self, item: int) -> int:
            return item

    def source() -> Iterator[int]:
        for number in range(20):
            time.sleep(0.01)
            yield number

    manager = PipelineManager(queue_size=2).add_worker(LoadsAModel)
    list(manager.run(source()))
    (stage,) = manager.report.stages
    assert stage.busy < 0.5
    assert 0.1 < stage.seconds < manager.report.seconds - 0.19


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_the_time_of_teardown_is_nobodys_busy_time(serial: bool) -> None:
    class WritesAnIndex(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            return item

        def teardown(self) -> None:
            time.sleep(0.3)

    manager = PipelineManager().add_worker(WritesAnIndex)
    list(manager.run(range(5), serial=serial))
    assert manager.report.stages[0].seconds <= manager.report.seconds - 0.3


def test_source_and_consumer_are_busy_but_when_they_wait_or_have_ended() -> None:
    def shares(source: Iterable[int], worker_class: type[BaseWorker[int, int]], consumed: float) -> tuple[float, float]:
        manager = PipelineManager(queue_size=4).add_worker(worker_class)
        assert (manager.report.source_busy, manager.report.consumer_busy) == (0, 0)
        for _ in manager.run(source):
            if consumed:
                time.sleep(consumed)
        return manager.report.source_busy, manager.report.consumer_busy

    def slow_source() -> Iterator[int]:
        for number in range(80):
            time.sleep(0.005)
            yield number

    source, consumer = shares(slow_source(), Pass, 0)
    assert 0.5 < source <= 1
    assert consumer < 0.5
    source, consumer = shares(range(60), Slow, 0)
    assert source < 0.5, "it waits for room"
    assert consumer < 0.5
    source, consumer = shares(range(8), Pass, 0.05)
    assert source < 0.5, "it has ended"
    assert 0.5 < consumer <= 1


def test_in_the_plain_loop_each_has_its_share_of_the_time() -> None:
    def source() -> Iterator[int]:
        for number in range(20):
            time.sleep(0.002)
            yield number

    manager = PipelineManager().add_worker(Slow, name="first").add_worker(Slow, name="second")
    for _ in manager.run(source(), serial=True):
        time.sleep(0.002)
    report = manager.report
    assert report.serial
    shares = [report.source_busy, *(stage.busy for stage in report.stages), report.consumer_busy]
    assert all(0.05 < share < 0.6 for share in shares)
    assert 0.8 < sum(shares) < 1.05
    assert report.stages[0].waiting_for_output > 0.3


def test_a_queue_size_told_later_bounds_what_waits_for_its_turn_too() -> None:
    class FirstIsSlow(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            time.sleep(0 if item else 0.2)
            return item

    manager = PipelineManager(queue_size=2).add_worker(FirstIsSlow, workers=2)
    list(manager.tune(queue_size=200).run(range(100)))
    assert manager.report.stages[0].waiting_for_order < 0.2


def test_who_has_nothing_more_to_do_is_not_busy_until_the_last_one_has_ended() -> None:
    class FirstIsSlow(BaseWorker[int, int]):
        def process_item(self, item: int) -> int:
            time.sleep(0.3 if item == 0 else 0.01)
            return item

        def teardown(self) -> None:
            time.sleep(0.2)

    manager = PipelineManager().add_worker(FirstIsSlow, workers=4)
    list(manager.run(range(4)))
    (stage,) = manager.report.stages
    assert stage.seconds * 4 * (1 - stage.waiting_for_input) == pytest.approx(0.33, abs=0.15)
    assert stage.busy * stage.seconds * 4 == pytest.approx(0.33, abs=0.15)


class Asks(BaseWorker[int, int]):
    """Is asked to wait once."""

    def __init__(self) -> None:
        self.asked = 0

    def process_item(self, item: int) -> int:
        self.asked += 1
        if self.asked == 2:
            raise RetryAfter(0.3)
        return item


class Together(BaseWorker[int, int]):
    """Waits, and computes before it does."""

    def __init__(self, seconds: float, cpu_seconds: float = 0.0) -> None:
        self.seconds, self.cpu_seconds = seconds, cpu_seconds

    async def process_item(self, item: int) -> int:
        until = time.thread_time() + self.cpu_seconds
        while time.thread_time() < until:
            pass
        await asyncio.sleep(self.seconds)
        return item


@pytest.mark.parametrize("kind", ["one worker", "several", "async", "serial"])
def test_a_stage_that_waits_for_its_rate_is_not_busy(kind: str) -> None:
    worker_class, options = {"async": (Together, {"seconds": 0.0}), "several": (Pass, {})}.get(kind, (Pass, {}))
    workers = 1 if kind == "one worker" else 3
    manager = PipelineManager()
    manager.add_worker(worker_class, name="asks", workers=workers, worker_args=options, rate_limit=100)
    list(manager.run(range(50), serial=kind == "serial"))
    (stage,) = manager.report.stages
    assert stage.rate_limit == 100
    used = min(1, 50 / (100 * stage.seconds))  # Of the rate: on a busy machine, not all.
    assert stage.rate_used == pytest.approx(used, abs=0.03)
    assert stage.waiting_for_rate > 0.6
    assert stage.busy + stage.waiting_for_output < 0.3


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_who_was_asked_to_wait_waits_for_the_rate(serial: bool) -> None:
    manager = PipelineManager().add_worker(Asks, retries=1)
    list(manager.run(range(5), serial=serial))
    (stage,) = manager.report.stages
    assert (stage.retried, stage.rate_limit, stage.rate_used) == (1, None, 0)
    assert stage.waiting_for_rate > 0.8


def test_the_wait_for_a_rate_is_live(until: Callable[[Callable[[], object]], None]) -> None:
    manager = PipelineManager().add_worker(Pass, rate_limit=0.1)
    manager.start(range(2))
    until(lambda: manager.report.stages[0].waiting_for_rate > 0.9)
    manager.stop()


@pytest.mark.parametrize("serial", [False, True], ids=["event loop", "serial"])
def test_an_event_loop_computes_for_a_share_of_its_time(serial: bool) -> None:
    def cpu_seconds(each: float) -> float:
        manager = PipelineManager().add_worker(Together, workers=4, worker_args={"seconds": 0.01, "cpu_seconds": each})
        list(manager.run(range(20), serial=serial))
        (stage,) = manager.report.stages
        assert (stage.executor, stage.workers) == ("async", 1 if serial else 4)
        return stage.computing * stage.seconds  # A busy machine makes the share smaller, and the seconds more.

    assert cpu_seconds(0.0) < 0.1
    assert 0.2 <= cpu_seconds(0.01) < 0.3
