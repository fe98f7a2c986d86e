"""R10: each worker is an instance of its own in a thread of its own, and `setup` and `teardown` pair up there."""

import itertools
import logging
import threading
from collections.abc import Generator
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager


class Diary(BaseWorker[int, int]):
    """Writes down what happens to which instance in which thread."""

    entries: list[tuple[str, int, int]]

    def __init__(self, entries: list[tuple[str, int, int]], fails_in: str = "") -> None:
        self.entries = entries
        self.fails_in = fails_in

    def write(self, what: str) -> None:
        self.entries.append((what, id(self), threading.get_ident()))
        if what == self.fails_in:
            raise ValueError(what)

    def setup(self) -> None:
        self.write("setup")

    def process_item(self, item: int) -> int:
        self.write("item")
        return item

    def teardown(self) -> None:
        self.write("teardown")


def lives(entries: list[tuple[str, int, int]]) -> list[list[str]]:
    """What happened to each instance, in time; each must have lived in one thread."""
    owners = {(instance, thread) for _, instance, thread in entries}
    assert len(owners) == len({instance for instance, _ in owners}) == len({thread for _, thread in owners})
    return [[what for what, instance, _ in entries if instance == owner] for owner, _ in owners]


@pytest.mark.parametrize("workers", [1, 4])
def test_r10_each_worker_has_its_own_instance_and_thread(workers: int) -> None:
    everyone_is_in = threading.Barrier(workers)

    class WaitsForTheOthers(Diary):
        def setup(self) -> None:
            super().setup()
            everyone_is_in.wait()

    entries: list[tuple[str, int, int]] = []
    manager = PipelineManager().add_worker(WaitsForTheOthers, workers=workers, worker_args={"entries": entries})
    assert list(manager.run(range(50))) == list(range(50))
    found = lives(entries)
    assert len(found) == workers
    assert sum(life.count("item") for life in found) == 50
    assert threading.get_ident() not in {thread for _, _, thread in entries}


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("fails_in", ["", "setup", "item", "teardown"])
@pytest.mark.parametrize("workers", [1, 3])
def test_r10_setup_and_teardown_pair_up_whatever_fails(workers: int, fails_in: str, serial: bool) -> None:
    entries: list[tuple[str, int, int]] = []
    arguments = {"entries": entries, "fails_in": fails_in}
    manager = PipelineManager().add_worker(Diary, workers=workers, worker_args=arguments)
    if fails_in:
        with pytest.raises(PipelineError, match=fails_in):
            list(manager.run(range(20), serial=serial))
    else:
        list(manager.run(range(20), serial=serial))
    for instance in {instance for _, instance, _ in entries}:
        life = [(what, thread) for what, owner, thread in entries if owner == instance]
        assert [what for what, _ in life].count("setup") == [what for what, _ in life].count("teardown") == 1
        assert (life[0][0], life[-1][0]) == ("setup", "teardown")
        assert len({thread for _, thread in life}) == 1


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_r7_after_a_stop_no_setup_begins(serial: bool) -> None:
    entries: list[tuple[str, int, int]] = []
    manager = PipelineManager().add_worker(Diary, workers=3, worker_args={"entries": entries})
    manager.stop()
    assert list(manager.run(range(20), serial=serial)) == []
    assert (entries, manager.report.state) == ([], "stopped")


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
def test_r10_teardown_comes_when_the_consumer_leaves(serial: bool) -> None:
    entries: list[tuple[str, int, int]] = []
    manager = PipelineManager().add_worker(Diary, worker_args={"entries": entries})
    results = manager.run(itertools.count(), serial=serial)
    next(results)
    results.close()
    assert [what for what, _, _ in entries].count("teardown") == 1


def test_r10_attributes_need_no_lock() -> None:
    class Counts(BaseWorker[int, tuple[int, int]]):
        def setup(self) -> None:
            self.count = 0

        def process_item(self, item: int) -> tuple[int, int]:
            self.count += 1
            return id(self), self.count

    results = list(PipelineManager(ordered=False).add_worker(Counts, workers=4).run(range(2_000)))
    assert len(set(results)) == 2_000


def test_r10_name_stop_event_and_logger_are_there_before_setup() -> None:
    class Looks(BaseWorker[int, Any]):
        def setup(self) -> None:
            self.seen = (self.name, self.stop_event, self.logger)

        def process_item(self, item: int) -> Any:
            return self.seen

    manager = PipelineManager().add_worker(Looks, name="looks")
    ((name, stop_event, logger),) = manager.run([1])
    assert (name, stop_event) == ("looks", manager.stop_event)
    assert isinstance(logger, logging.LoggerAdapter)
    assert logger.logger.name.endswith(".looks")


def test_r10_workers_get_the_arguments_that_the_stage_was_added_with() -> None:
    class Adds(BaseWorker[int, int]):
        def __init__(self, number: int) -> None:
            self.number = number

        def process_item(self, item: int) -> int:
            return item + self.number

    assert list(PipelineManager().add_worker(Adds, worker_args={"number": 10}).run([1, 2])) == [11, 12]


def test_r10_a_batch_is_complete_when_it_is_full_or_its_time_is_over() -> None:
    class Sizes(BaseWorker[int, int]):
        def process_batch(self, items: list[int]) -> list[int | None]:
            sizes.append(len(items))
            go_on.set()
            return list(items)

    def source() -> Any:
        yield from range(6)
        go_on.wait()  # For the batch of two, which is complete only because nothing comes.
        go_on.clear()
        yield 6

    sizes: list[int] = []
    go_on = threading.Event()
    manager = PipelineManager().add_worker(Sizes, batch_size=4, batch_timeout=0.01)
    assert list(manager.run(source())) == list(range(7))
    assert sum(sizes) == 7
    assert max(sizes) <= 4

    sizes.clear()
    manager = PipelineManager().add_worker(Sizes, batch_size=4)
    assert list(manager.run(range(10))) == list(range(10))
    assert sizes == [4, 4, 2]


class Logs(BaseWorker[int, int]):
    """Logs its items, which are numbers from 0 on, in all that it does; some fail, some are dropped."""

    def setup(self) -> None:
        self.logger.info("setup", extra={"expected": None})

    def process_item(self, item: int) -> int | Generator[int, None, None] | None:
        self.logger.info("item", extra={"expected": item})
        if item % 7 == 3:
            raise ValueError(item)
        return None if item % 5 == 4 else item

    def teardown(self) -> None:
        self.logger.info("teardown", extra={"expected": None})


class LogsBetweenOutputs(Logs):
    def process_item(self, item: int) -> Generator[int, None, None]:
        for number in range(item % 4):
            self.logger.info("output %d", number, extra={"expected": item})
            yield item
            if item % 7 == 3:
                raise ValueError(item)
        self.logger.info("end", extra={"expected": item})


class LogsBatches(Logs):
    def process_batch(self, items: list[int]) -> list[int | None]:
        self.logger.info("batch", extra={"expected": items[0]})
        if 8 in items:
            raise ValueError(items)
        return list(items)


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(
    ("worker_class", "batch_size"), [(Logs, None), (LogsBetweenOutputs, None), (LogsBatches, 1), (LogsBatches, 4)]
)
def test_r4_what_a_worker_logs_names_the_stage_the_thread_and_the_item(
    worker_class: type[Logs], batch_size: int | None, workers: int, serial: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    manager = PipelineManager(name="p", on_error="skip")
    manager.add_worker(worker_class, name="logs", workers=workers, batch_size=batch_size, retries=1)
    list(manager.run(range(40), serial=serial))
    records: list[Any] = [record for record in caplog.records if hasattr(record, "expected")]
    assert len(records) > 10
    assert [record.item_index for record in records] == [record.expected for record in records]
    assert {record.stage for record in records} == {"logs"}
    assert [record.worker for record in records] == [record.threadName for record in records]
    threads = {threading.current_thread().name} if serial else {f"p-logs-{number}" for number in range(workers)}
    assert {record.worker for record in records} == threads
    letters: list[Any] = [record for record in caplog.records if record.getMessage().startswith("skipped: ")]
    assert {(record.stage, record.item_index) for record in letters} == {
        ("logs", letter.index) for letter in manager.report.dead_letters
    }
    assert letters
