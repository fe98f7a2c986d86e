"""The profile of a pipeline: what each stage gains from more workers, and how many of them the whole needs."""

import asyncio
import re
import threading
import time
from collections.abc import Generator
from itertools import pairwise
from time import thread_time
from typing import Any

import pytest

from diagnosis_helpers import needs

needs("profiling", "rich")

from my_pipeline.pipeline_core import BaseWorker, PipelineError, PipelineManager
from my_pipeline.profiling import GAIN, Profile, StageProfile, plan, profile, profile_table
from rich.console import Console

from watch import HAS_GIL

ONE_AT_A_TIME = threading.Lock()


class Fetch(BaseWorker[dict[str, int], dict[str, int]]):
    """Waits 10 ms, and changes the item that it gets: twice would be too much."""

    def process_item(self, item: dict[str, int]) -> dict[str, int]:
        assert "fetched" not in item
        item["fetched"] = 1
        time.sleep(0.01)
        return item


class Answers(BaseWorker[int, int]):
    """Waits 50 ms."""

    def process_item(self, item: int) -> int:
        time.sleep(0.05)
        return item


class Split(BaseWorker[dict[str, int], dict[str, int]]):
    """Waits 2 ms, and gives two for each."""

    def process_item(self, item: dict[str, int]) -> Generator[dict[str, int], None, None]:
        time.sleep(0.002)
        yield item
        yield dict(item)


class Store(BaseWorker[dict[str, int], dict[str, int]]):
    """Waits 4 ms at a place where only one can be."""

    def process_item(self, item: dict[str, int]) -> dict[str, int]:
        assert item["fetched"] == 1
        with ONE_AT_A_TIME:
            time.sleep(0.004)
        return item


class Drop(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> None:
        return None


class Counts(BaseWorker[Any, Any]):
    """About 2 ms of pure Python."""

    def process_item(self, item: Any) -> Any:
        return sum(number for number in range(40_000))


class InFlight(BaseWorker[Any, Any]):
    """Waits 20 ms."""

    async def process_item(self, item: Any) -> Any:
        await asyncio.sleep(0.02)
        return item


class Refuses(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        raise ValueError("not this one")


def build() -> PipelineManager:
    return PipelineManager().add_worker(Fetch).add_worker(Split).add_worker(Store)


def shown(found: Profile) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(profile_table(found))
    return captured.get()


def test_each_stage_is_measured_alone() -> None:
    items = [{"id": number} for number in range(30)]
    found = profile(build, items, most=2, seconds=0.2)
    fetch, split, store = found.stages
    assert items == [{"id": number} for number in range(30)], "the items themselves are left alone"
    assert (fetch.name, fetch.computing < 0.5) == ("fetch", True)
    assert (fetch.visits, split.visits, store.visits) == (1, 1, 2)
    for stage, seconds in ((fetch, 0.01), (split, 0.002), (store, 0.004)):
        for number, items_per_second in stage.rates:  # However slow a machine is, a sleep is never shorter.
            assert items_per_second <= 1.05 * number / seconds
    assert found.workers.keys() == {"fetch", "split", "store"}


def test_a_stage_that_waits_is_measured_with_more_and_more_workers() -> None:
    """Each call waits so long that a busy machine hardly matters beside it."""
    found = profile(lambda: PipelineManager().add_worker(Answers), [1], most=4, seconds=0.2)
    (answers,) = found.stages
    assert [number for number, _ in answers.rates] == [1, 2, 4]
    assert (answers.best, found.limit, found.workers) == (4, "answers", {"answers": 4})


def test_more_workers_are_tried_while_twice_as_many_bring_something() -> None:
    for stage in profile(build, [{"id": number} for number in range(30)], most=8, seconds=0.05).stages:
        numbers, rates = zip(*stage.rates, strict=True)
        assert numbers == (1, 2, 4, 8)[: len(numbers)]
        gains = [after >= GAIN * before for before, after in pairwise(rates)]
        assert all(gains[:-1])
        assert len(numbers) == 4 or not gains[-1]


# How many items a second stages take that wait, by their workers: as they do that sleep 10, 2, and under a lock 4 ms.
FETCH = StageProfile("fetch", ((1, 100.0), (2, 200.0), (4, 400.0), (8, 800.0)), cpu=1e-4)
SPLIT = StageProfile("split", ((1, 500.0), (2, 1000.0)), cpu=1e-4)
STORE = StageProfile("store", ((1, 250.0), (2, 260.0)), visits=2.0, cpu=1e-4)
WRITE = StageProfile("write", ((1, 250.0), (2, 500.0)), visits=2.0, cpu=1e-4)
PARSE = StageProfile("parse", ((1, 500.0), (2, 510.0)), cpu=0.002)
SCORE = StageProfile("score", ((1, 250.0), (2, 255.0)), cpu=0.004)
SHIPPED = StageProfile("shipped", ((1, 50.0), (2, 100.0), (4, 110.0)), cpu=0.02, holds_gil=False)


@pytest.mark.parametrize(
    ("stages", "items_per_second", "limit", "workers"),
    [
        pytest.param((FETCH, STORE), 125, "store", {"fetch": 2, "store": 1}, id="two visits an item"),
        pytest.param((FETCH, WRITE), 250, "write", {"fetch": 3, "write": 2}, id="more workers for two visits"),
        pytest.param((FETCH, SPLIT), 800, "fetch", {"fetch": 8, "split": 2}, id="the most that was tried"),
        pytest.param((PARSE, SCORE), 1000 / 6, "the CPU", {"parse": 1, "score": 1}, id="they share the GIL"),
        pytest.param((SHIPPED, FETCH), 2 / 0.0201, "the CPU", {"shipped": 2, "fetch": 1}, id="two cores"),
        pytest.param((FETCH, StageProfile("sink", ())), 800, "fetch", {"fetch": 8}, id="nothing came to the second"),
    ],
)
def test_the_plan_is_the_fewest_workers_with_which_only_the_limit_limits(
    stages: tuple[StageProfile, ...], items_per_second: float, limit: str, workers: dict[str, int]
) -> None:
    found = plan(list(stages), cores=2)
    assert (found.limit, found.workers) == (limit, workers)
    assert found.items_per_second == pytest.approx(items_per_second)


def test_stages_that_compute_share_the_gil() -> None:
    def build() -> PipelineManager:
        return PipelineManager().add_worker(Counts, name="parse").add_worker(Counts, name="score")

    if not HAS_GIL:
        pytest.skip("without a GIL each has a core, if there are two")
    parse, score = (found := profile(build, list(range(30)), most=2, seconds=0.1)).stages
    assert parse.holds_gil
    assert score.holds_gil
    start = thread_time()
    Counts().process_item(1)
    assert min(parse.cpu, score.cpu) > 0.4 * (thread_time() - start) > 0
    assert found.items_per_second <= 1.01 / (parse.cpu + score.cpu)


def test_the_table_has_a_row_a_stage_and_the_plan_as_options() -> None:
    stages = (
        StageProfile("fetch", ((1, 100.0), (2, 199.0), (4, 210.0)), workers=2, computing=0.04),
        StageProfile("score", ((1, 180.0), (2, 181.0)), workers=1, computing=0.97),
        StageProfile("store", ()),
    )
    lines = [line.strip() for line in shown(Profile(stages, 180.4, "score")).splitlines()]
    assert lines[0] == "items a second of each stage alone, by its number of workers"
    assert lines[1].split() == ["stage", "1", "2", "4", "best", "its", "calls"]
    assert lines[3].split() == ["fetch", "100", "199", "210", "2", "wait", "(4%", "CPU)"]
    assert lines[4].split() == ["score", "180", "181", "1", "compute", "(97%", "CPU)"]
    assert lines[5].split() == ["store", "no", "item", "reached", "it"]
    assert lines[-2] == "plan: --workers fetch=2 --workers score=1"
    assert lines[-1] == "about 180 items a second; then score limits"


@pytest.mark.parametrize(("wanted", "needed"), [(50, 1), (100, 1), (150, 2), (300, 3), (390, 4), (1000, 4)])
def test_the_fewest_workers_that_are_enough(wanted: float, needed: int) -> None:
    assert StageProfile("fetch", ((1, 100.0), (2, 200.0), (4, 400.0), (8, 410.0))).needed(wanted) == needed


def test_a_stage_that_no_item_reaches_is_said_to_be_so() -> None:
    def build() -> PipelineManager:
        return PipelineManager().add_worker(Drop).add_worker(Fetch)

    found = profile(build, [{"id": 1}], most=2, seconds=0.01)
    assert [stage.rates == () for stage in found.stages] == [False, True]
    assert list(found.workers) == ["drop"]


def test_a_setup_that_takes_longer_than_the_measurement_is_not_part_of_it() -> None:
    class OddOnes(BaseWorker[int, int]):
        def setup(self) -> None:
            time.sleep(0.4)

        def process_item(self, item: int) -> int | None:
            return item if item % 2 else None

    found = profile(
        lambda: PipelineManager().add_worker(OddOnes).add_worker(Drop), list(range(100)), most=1, seconds=0.3
    )
    odd_ones, drop = found.stages
    assert 0.3 < drop.visits <= 0.5
    assert len(odd_ones.rates) == len(drop.rates) == 1


def test_a_stage_that_fails_says_where_and_why() -> None:
    def build() -> PipelineManager:
        return PipelineManager().add_worker(Fetch).add_worker(Refuses)

    with pytest.raises(PipelineError, match=r"'refuses' failed in process_item on item 0.*not this one"):
        profile(build, [{"id": 1}, {"id": 2}], most=2, seconds=0.01)


def test_items_that_cannot_be_copied_are_taken_as_they_are() -> None:
    found = profile(lambda: PipelineManager().add_worker(Drop), [threading.Lock()], most=1, seconds=0.01)
    assert found.stages[0].best == 1


def test_without_items_there_is_nothing_to_profile() -> None:
    with pytest.raises(ValueError, match="items must not be empty"):
        profile(build, [])


def test_places_in_flight_and_rates_are_measured_as_what_they_are() -> None:
    def build() -> PipelineManager:
        pipeline = PipelineManager().add_worker(InFlight, name="fetch")
        return pipeline.add_worker(Drop, name="ask", rate_limit=50, when=lambda item: item % 2, timeout=5)

    found = profile(build, list(range(30)), most=4, seconds=0.2)
    fetch, ask = found.stages
    assert [number for number, _ in fetch.rates] == [1, 2, 4]
    assert fetch.computing < 0.5
    assert dict(ask.rates)[1] < 150, "half of the items pass"
    assert (found.limit, found.workers["ask"]) == ("ask", 1)
    assert re.search(r"wait \(\d+% CPU\), async *\n", shown(found))
    assert "at most 50 a second" in shown(found)
