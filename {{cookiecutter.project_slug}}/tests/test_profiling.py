"""The profile of a pipeline: what each stage gains from more workers, and a plan that brings what it says."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from {{ cookiecutter.package_name }}.pipeline import (
    build_pipeline,
)
from {{ cookiecutter.package_name }}.pipeline_core import (
    BaseWorker,
    PipelineError,
    PipelineManager,
)
from {{ cookiecutter.package_name }}.profiling import (
    Profile,
    StageProfile,
    profile,
    profile_table,
)

pytestmark = pytest.mark.usefixtures("no_thread_left")

ONE_AT_A_TIME = threading.Lock()


class Fetch(BaseWorker[dict[str, int], dict[str, int]]):
    """Waits 10 ms, and changes the item that it gets: twice would be too much."""

    def process_item(self, item: dict[str, int]) -> dict[str, int]:
        assert "fetched" not in item
        item["fetched"] = 1
        time.sleep(0.01)
        return item


class Split(BaseWorker[dict[str, int], dict[str, int]]):
    """Waits 2 ms, and gives two for each."""

    def process_item(self, item: dict[str, int]) -> Iterator[dict[str, int]]:
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


def test_each_stage_alone_and_a_plan_that_brings_what_it_says() -> None:
    items = [{"id": number} for number in range(30)]
    found = profile(build, items, most=8, seconds=0.2)
    fetch, _, store = found.stages
    assert items == [{"id": number} for number in range(30)], "the items themselves are left alone"
    assert (fetch.name, fetch.visits, fetch.computing < 0.5) == ("fetch", 1, True)
    assert [number for number, _ in fetch.rates] == [1, 2, 4, 8]
    assert fetch.best == 8
    assert dict(fetch.rates)[8] > 4 * dict(fetch.rates)[1]
    assert len(store.rates) <= 3, "more of them bring nothing: it goes no further"
    assert (store.visits, found.limit) == (2, "store")
    assert found.items_per_second == pytest.approx(120, rel=0.3)
    assert found.workers["split"] == 1
    assert found.workers["store"] <= 2
    assert 1 <= found.workers["fetch"] <= 3

    def planned() -> float:
        start = time.perf_counter()
        assert len(list(build().tune(workers=found.workers).run({"id": number} for number in range(60)))) == 120
        return 60 / (time.perf_counter() - start)

    assert any(planned() > 0.7 * found.items_per_second for _ in range(3))


def test_stages_that_compute_share_the_gil() -> None:
    def build() -> PipelineManager:
        return PipelineManager().add_worker(Counts, name="parse").add_worker(Counts, name="score")

    if not build().report.gil:
        pytest.skip("without a GIL each has a core, if there are two")
    for _ in range(5):
        found = profile(build, list(range(30)), most=2, seconds=0.1)
        alone = [dict(stage.rates)[1] for stage in found.stages]
        if all(stage.cpu * rate > 0.9 for stage, rate in zip(found.stages, alone, strict=True)):
            assert found.workers == {"parse": 1, "score": 1}
            assert found.limit == "the CPU"
            assert found.items_per_second < 0.75 * min(alone)
            return
    pytest.skip("other programs take the core away")


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
    assert lines[5].split() == ["store", "no", "item", "came", "so", "far"]
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


def test_this_projects_stages_can_be_profiled() -> None:
    found = profile(build_pipeline, [{"id": number} for number in range(20)], most=1, seconds=0.01)
    assert [stage.name for stage in found.stages] == build_pipeline().stage_names
