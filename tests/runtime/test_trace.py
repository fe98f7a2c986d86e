"""A trace holds each call once, in its thread and at its time, whatever kind of stage makes it."""

import asyncio
import errno
import json
import threading
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest

from diagnosis_helpers import needs

needs("observers.trace")

from my_pipeline import pipeline_core
from my_pipeline.observers.diagnosis import Diagnosis
from my_pipeline.observers.trace import Trace
from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager

Slice = dict[str, Any]


class Pass(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


class Slow(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        time.sleep(0.001)
        return item


class Together(BaseWorker[int, int]):
    """Has one call in each of two workers at the same time, as long as there are two items."""

    def __init__(self, barrier: threading.Barrier) -> None:
        self.barrier = barrier

    def process_item(self, item: int) -> int:
        if item < 2:
            self.barrier.wait()
        time.sleep(0.001)
        return item


class Odd(BaseWorker[int, int]):
    """Drops every third item, fails every seventh, and every fifth at the first attempt."""

    def setup(self) -> None:
        self.tried: set[int] = set()

    def process_item(self, item: int) -> int | None:
        first = item not in self.tried
        self.tried.add(item)
        if item % 7 == 0 or (item % 5 == 0 and first):
            raise ValueError(item)
        return None if item % 3 == 0 else item


class Fails(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        time.sleep(0.002)
        raise StopIteration


class Several(BaseWorker[int, int]):
    def process_item(self, item: int) -> Generator[int, None, None]:
        yield from range(item % 4)
        if item % 7 == 6:
            raise ValueError(item)


class InFlight(BaseWorker[int, int]):
    """Fails every seventh item, and every fifth at the first attempt."""

    def setup(self) -> None:
        self.tried: set[int] = set()

    async def process_item(self, item: int) -> int | None:
        first = item not in self.tried
        self.tried.add(item)
        await asyncio.sleep(0.001 * (item % 4))
        if item % 7 == 0 or (item % 5 == 0 and first):
            raise ValueError(item)
        return None if item % 3 == 0 else item


class SeveralInFlight(BaseWorker[int, int]):
    async def process_item(self, item: int) -> AsyncGenerator[int, None]:
        for number in range(item % 4):
            await asyncio.sleep(0.001)
            yield number
        if item % 7 == 6:
            raise ValueError(item)


class Batches(BaseWorker[int, int]):
    def process_batch(self, items: list[int]) -> list[int | None]:
        time.sleep(0.001)
        if any(item % 13 == 0 for item in items):
            raise ValueError(items)
        return [None if item % 3 == 0 else item for item in items]


class File:
    """A file on a disk that gets `full`: then one write fails, and after it there is room again."""

    def __init__(self, file: Any) -> None:
        self.file, self.full, self.text = file, False, ""

    def write(self, text: str) -> None:
        if self.full:
            self.full = False
            raise OSError(errno.ENOSPC, "No space left on device")
        self.file.write(text)
        self.text += text

    def __enter__(self) -> "File":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()


def traced(pipeline: PipelineManager, source: Any, path: Path, *, serial: bool = False) -> list[Slice]:
    """The slices of a run, after a look at those of each thread: one after the other."""
    with Trace(Diagnosis(pipeline), path):
        list(pipeline.run(source, serial=serial))
    return checked(path)


def checked(path: Path) -> list[Slice]:
    events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    threads = defaultdict(list)
    for event in slices:
        threads[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    for timeline in threads.values():
        assert all(end < start for (_, end), (start, _) in pairwise(sorted(timeline)))
    return slices


def calls(slices: list[Slice], process: int = 1) -> list[Slice]:
    """Those of a stage, by the index of their item and their time."""
    found = [event for event in slices if event["cat"] == "call" and event["pid"] == process]
    return sorted(found, key=lambda event: (event["args"]["index"], event["ts"]))


def threads(slices: list[Slice]) -> set[int]:
    return {event["tid"] for event in slices}


KINDS: dict[str, tuple[type[BaseWorker[Any, Any]], dict[str, Any]]] = {
    "quick": (Pass, {}),
    "one worker": (Odd, {"retries": 1}),
    "several workers": (Odd, {"workers": 3, "retries": 1}),
    "generators": (Several, {}),
    "generators in several workers": (Several, {"workers": 3}),
    "event loop": (InFlight, {"workers": 3, "retries": 1, "backoff": 0}),
    "generators in an event loop": (SeveralInFlight, {"workers": 3}),
}


@pytest.mark.parametrize("serial", [False, True], ids=["threads", "serial"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_call_has_a_slice_with_the_index_of_its_item(kind: str, serial: bool, tmp_path: Path) -> None:
    worker_class, options = KINDS[kind]
    pipeline = PipelineManager(on_error="skip", queue_size=3)
    pipeline.add_worker(worker_class, **options).add_worker(Pass, name="behind")
    slices = traced(pipeline, range(30), tmp_path / "trace.json", serial=serial)
    stage, behind = pipeline.report.stages
    by_item = {index: [*found] for index, found in groupby(calls(slices), lambda event: event["args"]["index"])}
    failed = [index for index, found in by_item.items() if "error" in found[-1]["args"]]
    assert failed == sorted(letter.index or 0 for letter in pipeline.report.dead_letters)
    assert len(failed) == stage.failed
    if worker_class in (Several, SeveralInFlight):  # An output is a call, and so is what raises, and what gives none.
        given = {index: max(1, index % 4 + (index % 7 == 6)) for index in range(30)}
        assert {index: len(found) for index, found in by_item.items()} == given
    else:
        assert list(by_item) == list(range(30))
        assert sum(map(len, by_item.values())) == 30 + stage.retried
    assert [event["args"]["index"] for event in calls(slices, 2)] == list(range(behind.received))
    assert len(threads(calls(slices))) <= (1 if serial else options.get("workers", 1))


@pytest.mark.parametrize("workers", [1, 3])
def test_a_batch_is_one_slice_and_its_items_have_one_each_if_it_fails(workers: int, tmp_path: Path) -> None:
    pipeline = PipelineManager(on_error="skip").add_worker(Batches, batch_size=4, workers=workers)
    found = calls(traced(pipeline, range(1, 17), tmp_path / "trace.json"))
    assert [event["args"] for event in found if event["args"].get("items")] == [
        {"index": 0, "items": 4},
        {"index": 4, "items": 4},
        {"index": 8, "items": 4},
        {"index": 12, "items": 4, "error": "ValueError"},
    ]
    alone = [event for event in found if "items" not in event["args"]]
    assert [event["args"]["index"] for event in alone] == [12, 13, 14, 15]
    assert [event["args"].get("error") for event in alone] == ["ValueError", None, None, None]
    assert found[3]["name"] == "batch of 4 failed"
    assert all(event["ts"] > found[3]["ts"] + found[3]["dur"] for event in alone)


def test_a_slice_lasts_as_long_as_the_work(tmp_path: Path) -> None:
    start = time.perf_counter()
    pipeline = PipelineManager().add_worker(Together, workers=2, worker_args={"barrier": threading.Barrier(2)})
    found = calls(traced(pipeline, range(20), tmp_path / "trace.json"))
    longest = (time.perf_counter() - start) * 1e6  # Microseconds, as in the file.
    assert all(event["ts"] >= 0 and event["dur"] >= 1_000 and event["ts"] + event["dur"] < longest for event in found)
    assert len(threads(found)) == 2


def test_each_attempt_is_a_slice(tmp_path: Path) -> None:
    pipeline = PipelineManager(on_error="skip").add_worker(Fails, retries=2)
    found = calls(traced(pipeline, [7], tmp_path / "trace.json"))
    assert [(event["name"], event["args"]) for event in found] == [
        ("item 0 failed", {"index": 0, "error": "StopIteration"})
    ] * 3
    assert all(event["dur"] >= 2_000 for event in found)


def test_an_event_loop_has_as_many_tracks_as_calls_in_flight(tmp_path: Path) -> None:
    pipeline = PipelineManager(on_error="skip").add_worker(InFlight, name="a", workers=8, rate_limit=2000)
    slices = traced(pipeline, range(100), tmp_path / "trace.json")
    assert len(threads(calls(slices))) > 1
    in_loop = [event for event in slices if event["name"] != "waiting for an item in front"]
    assert len(threads(in_loop)) <= 8 + 1  # And the stage's own.
    assert any(event["name"] == "waiting for its rate" for event in slices)
    events = json.loads((tmp_path / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    assert {"a-0", "a-0 (2)"} <= {event["args"]["name"] for event in events if event["name"] == "thread_name"}


def test_a_pool_has_a_track_for_each_sub_worker(tmp_path: Path) -> None:
    if not hasattr(pipeline_core, "SubTaskPoolWorker"):
        pytest.skip("this project has no sub-task pool: no answer asked for it")

    class Pool(pipeline_core.SubTaskPoolWorker[int, int, int, int]):
        def __init__(self) -> None:
            super().__init__(sub_workers=2, window=3)
            self.barrier = threading.Barrier(2)

        def process_sub_task(self, sub: int) -> int:
            if sub < 2:
                self.barrier.wait()
            return sub

    pipeline = PipelineManager().add_worker(Pool)
    found = calls(traced(pipeline, range(100), tmp_path / "trace.json"))
    assert [event["args"]["index"] for event in found] == list(range(100))
    assert len(threads(found)) == 2


def test_waits_are_seen_in_front_of_and_behind_a_slow_stage(tmp_path: Path) -> None:
    pipeline = PipelineManager(queue_size=1)
    for name, worker_class in (("before", Pass), ("slow", Slow), ("behind", Pass)):
        pipeline.add_worker(worker_class, name=name)
    waits = [event for event in traced(pipeline, range(30), tmp_path / "trace.json") if event["cat"] == "wait"]
    before = sum(event["dur"] for event in waits if (event["pid"], event["name"]) == (1, "waiting for output"))
    behind = sum(event["dur"] for event in waits if (event["pid"], event["name"]) == (3, "waiting for input"))
    assert before > 15_000
    assert behind > 15_000


def test_stages_are_processes_and_workers_are_threads_with_names(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    pipeline = PipelineManager(name="p").add_worker(Slow, name="one")
    pipeline.add_worker(Together, name='two "2"', workers=2, worker_args={"barrier": threading.Barrier(2)})
    traced(pipeline, range(20), path)
    about = [event for event in json.loads(path.read_text(encoding="utf-8"))["traceEvents"] if event["ph"] == "M"]
    names = {(event["pid"], event["args"]["name"]) for event in about if event["name"] == "process_name"}
    assert names == {(1, "one"), (2, 'two "2"')}
    names = {(event["pid"], event["args"]["name"]) for event in about if event["name"] == "thread_name"}
    assert names == {(1, "one-0"), (2, 'two "2"-0'), (2, 'two "2"-1'), (2, 'two "2"-loop')}


def test_it_is_written_while_the_run_lasts(tmp_path: Path) -> None:
    path, sizes = tmp_path / "trace.json", []
    pipeline = PipelineManager(queue_size=1).add_worker(Slow)
    with Trace(Diagnosis(pipeline), path):
        for _ in pipeline.run(range(2000)):  # More than a buffer, which newer Pythons make of 128 KiB.
            sizes.append((tmp_path / "trace.json.part").stat().st_size)
    assert sizes[0] < sizes[-1]
    assert len(calls(checked(path))) == 2000
    assert [file.name for file in tmp_path.iterdir()] == ["trace.json"]


@pytest.mark.parametrize("end", ["error", "interrupt", "stop"])
def test_it_is_whole_however_the_run_ends(end: str, tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    pipeline = PipelineManager().add_worker(Odd).add_worker(Pass, name="behind")
    expected = PipelineError if end == "error" else KeyboardInterrupt
    with pytest.raises(expected), Trace(Diagnosis(pipeline), path):  # noqa: PT012
        results = pipeline.run(iter([1, 2, 7, 8]) if end == "error" else iter(lambda: 1, None))
        for _ in results:
            if end == "stop":
                results.close()
            if end != "error":
                raise KeyboardInterrupt
    found = calls(checked(path))
    results.close()
    assert found
    assert [event["args"]["index"] for event in found] == list(range(len(found)))
    assert ("error" in found[-1]["args"]) == (end == "error")


def test_a_run_that_goes_on_after_it_is_not_disturbed(tmp_path: Path) -> None:
    pipeline = PipelineManager(queue_size=2).add_worker(Slow)
    with Trace(Diagnosis(pipeline), tmp_path / "trace.json"):
        results = pipeline.run(range(50))
        assert next(results) == 0
    assert list(results) == list(range(1, 50))
    assert 1 <= len(calls(checked(tmp_path / "trace.json"))) < 50


def test_a_disk_that_is_full_is_said_at_the_end_and_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    pipeline = PipelineManager().add_worker(Slow)
    results: list[int] = []
    files: list[File] = []

    def open_file(*arguments: Any, **keywords: Any) -> File:
        files.append(File(open(*arguments, **keywords)))  # noqa: SIM115
        return files[-1]

    with monkeypatch.context() as patch:
        patch.setattr("my_pipeline.files.open", open_file, raising=False)
        with pytest.raises(OSError, match="No space left"), Trace(Diagnosis(pipeline), path):  # noqa: PT012
            files[0].full = True
            results.extend(pipeline.run(range(10)))
    assert results == list(range(10))
    assert not path.exists()
    assert not list(tmp_path.iterdir())
    assert '"call' not in files[0].text


@pytest.mark.parametrize(
    ("name", "said"), [("none/trace.json", "no folder .*none: make it first"), (".", "is a folder")]
)
def test_a_path_that_will_not_do_is_refused_in_one_line(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said) as refused:
        Trace(Diagnosis(PipelineManager().add_worker(Pass)), tmp_path / name)
    assert "\n" not in str(refused.value)


def test_it_must_begin_before_the_run(tmp_path: Path) -> None:
    pipeline = PipelineManager().add_worker(Pass)
    diagnosis = Diagnosis(pipeline)
    list(pipeline.run([1]))
    with pytest.raises(RuntimeError, match="after the start"), Trace(diagnosis, tmp_path / "trace.json"):
        pass
    assert not list(tmp_path.iterdir())


def test_two_traces_of_one_run_hold_the_same_items(tmp_path: Path) -> None:
    pipeline = PipelineManager().add_worker(Pass)
    diagnosis = Diagnosis(pipeline)
    with Trace(diagnosis, tmp_path / "one.json"), Trace(diagnosis, tmp_path / "other.json"):
        list(pipeline.run(range(5)))
    one, other = (calls(checked(tmp_path / name)) for name in ("one.json", "other.json"))
    assert [event["args"] for event in one] == [event["args"] for event in other] == [{"index": n} for n in range(5)]
