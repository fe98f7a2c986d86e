"""R15 on a real Ray: a cluster of several nodes on this machine. `test_ray.py` runs this in an environment that has Ray."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from my_pipeline.pipeline_core import DeadLetter, FailedItem, PipelineError, PipelineManager
from my_pipeline.ray_crew import connect
from ray.cluster_utils import Cluster

import workers_for_ray as workers
from test_any_executor import draw, outcome
from workers_for_executors import KINDS, TWINS, AsksToWait, Faults, Faulty, Hanging, InBatches

NODE: dict[str, Any] = {"num_cpus": 2, "object_store_memory": 200 * 2**20}


@pytest.fixture(scope="session", autouse=True)
def cluster() -> Iterator[Cluster]:
    """Two nodes."""
    soon = {"health_check_period_ms": 1000, "health_check_failure_threshold": 2}  # A lost node is noticed.
    cluster = Cluster(initialize_head=True, head_node_args=NODE | {"_system_config": soon})
    cluster.add_node(**NODE, resources={"second": 8})
    connect(cluster.address)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def actors() -> int:
    """How many are alive."""
    return sum(actor["State"] == "ALIVE" for actor in ray._private.state.actors().values())


def on_ray(worker_class: Any, **options: Any) -> PipelineManager:
    manager = {name: options.pop(name) for name in ("on_error", "ordered") if name in options}
    return PipelineManager(**manager).add_worker(worker_class, name="s0", executor="ray", **options)


@pytest.mark.parametrize("seed", range(20))
def test_r15_a_random_pipeline_gives_the_same_on_ray_as_in_the_plain_loop(seed: int) -> None:
    options, stages, number = draw(seed)

    def run(how: dict[str, Any], *, serial: bool = False, asynchronous: bool = False) -> Any:
        manager = PipelineManager(**options)
        for worker_class, arguments in stages:
            manager.add_worker(
                TWINS.get(worker_class, worker_class) if asynchronous else worker_class, **arguments, **how
            )
        return outcome(manager, range(number), serial=serial)

    expected = run({}, serial=True)
    assert run({"workers": 2}) == expected
    assert run({"workers": 1 + seed % 2, "executor": "ray"}) == expected
    if seed % 2 and all(worker in TWINS for worker, _ in stages):
        assert run({"workers": 5, "executor": "ray"}, asynchronous=True) == expected


@pytest.mark.parametrize("worker_class", KINDS)
def test_r15_without_order_it_is_the_same_multiset(worker_class: type[Faulty]) -> None:
    arguments: dict[str, Any] = {"worker_args": {"faults": Faults(99, 0, KINDS[worker_class])}, "name": "s0"}
    arguments |= {"retries": 1, "backoff": 0.0001, "batch_size": 4 if worker_class is InBatches else None}

    def run(*, serial: bool, **how: Any) -> Any:
        manager = PipelineManager(on_error="skip", ordered=serial).add_worker(worker_class, **arguments, **how)
        return outcome(manager, range(60), serial=serial, ordered=False)

    assert run(serial=False, executor="ray", workers=2) == run(serial=True)


@pytest.mark.parametrize("refuses", [workers.Refuses, workers.AsyncRefuses])
@pytest.mark.parametrize("ordered", [True, False])
def test_r5_a_dead_letter_of_an_actor_names_the_item_of_the_source(ordered: bool, refuses: type[Any]) -> None:
    def run(**how: Any) -> Any:
        told: list[DeadLetter] = []
        manager = PipelineManager(on_error="skip", on_dead_letter=told.append, ordered=ordered)
        manager.add_worker(workers.Splits, name="a", **how).add_worker(refuses, name="b", **how)
        results = list(manager.run(range(30)))
        assert manager.report.dead_letters == tuple(told)
        letters = [(each.source_index, each.item, type(each.error).__name__, str(each.error)) for each in told]
        return (results, letters) if ordered else (sorted(results), sorted(letters))

    results, letters = run(executor="ray", workers=2)
    assert (results, letters) == run()
    assert len(letters) == 20
    assert all(index == item // 10 for index, item, *_ in letters)


def test_r10_each_actor_has_a_worker_with_one_life(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = on_ray(workers.Tells, workers=2, worker_args={"folder": tmp_path})
    with caplog.at_level(logging.WARNING):
        results = list(manager.run(range(40)))
    assert [result[0] for result in results[:40]] == [*range(40)]
    assert results[40:] == ["end of 0", "end of 1"]
    assert {(name, index) for _, name, index, _ in results[:40]} <= {("s0", 0), ("s0", 1)}
    assert os.getpid() not in {pid for *_, pid in results[:40]}
    for index in range(2):
        what = [line.split()[0] for line in (tmp_path / str(index)).read_text().splitlines()]
        assert what == ["setup", "finish", "teardown"]
        assert len({line.split(maxsplit=1)[1] for line in (tmp_path / str(index)).read_text().splitlines()}) == 1
    records = [record for record in caplog.records if record.getMessage().startswith("at work on")]
    assert sorted(record.item_index for record in records) == [*range(40)]  # type: ignore[attr-defined]


def test_r15_a_worker_stops_the_run_by_its_stop_event() -> None:
    manager = on_ray(workers.StopsAt)
    list(manager.run(range(1000)))
    assert (manager.report.state, manager.report.imbalances()) == ("stopped", [])


def test_r6_whoever_leaves_the_loop_leaves_no_actor_behind() -> None:
    for _ in on_ray(workers.Slow, workers=2).run(range(1000)):
        break
    deadline = time.monotonic() + 20
    while actors() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert actors() == 0


@pytest.mark.parametrize("worker_class", [workers.DiesOnce, workers.AsyncDiesOnce])
def test_r15_an_actor_that_is_lost_costs_an_attempt(worker_class: type[workers.DiesOnce], tmp_path: Path) -> None:
    manager = on_ray(worker_class, workers=2, worker_args={"folder": tmp_path}, retries=1, backoff=0.001)
    assert list(manager.run(range(100))) == [-item for item in range(100)]
    assert manager.report.imbalances() == []


def test_r15_a_call_whose_actor_is_lost_fails_with_an_error_that_says_so(tmp_path: Path) -> None:
    manager = on_ray(workers.DiesOnce, worker_args={"folder": tmp_path}, on_error="skip", timeout=60)
    assert sorted(manager.run(range(20)), reverse=True) == [-item for item in range(20) if item != 7]
    (letter,) = manager.report.dead_letters
    assert (letter.item, str(letter.error)) == (
        7,
        "an actor of Ray died in the middle of a call: killed, crashed, out of memory, or its machine was lost",
    )


def test_r3_a_node_that_is_lost_costs_what_was_in_its_hands(cluster: Cluster) -> None:
    """5,000 items, and a third node that goes in their middle: all are there once."""
    node = cluster.add_node(**NODE, resources={"third": 8})
    manager = PipelineManager(queue_size=20)
    manager.add_worker(workers.Slow, name="s0", workers=6, executor="ray", retries=2, backoff=0.01)
    manager.add_worker(workers.Negate, name="s1", workers=2, executor="ray", retries=2, backoff=0.01)
    results = manager.run(range(5000))
    found = [next(results) for _ in range(1000)]
    killer = threading.Thread(target=cluster.remove_node, args=(node,), kwargs={"allow_graceful": False})
    killer.start()
    found += results
    killer.join()
    assert found == [*range(5000)]
    assert manager.report.imbalances() == []


def test_r16_a_time_limit_kills_the_actor_and_another_goes_on(tmp_path: Path) -> None:
    arguments = {"stuck": {3}, "calls": 1, "folder": tmp_path}
    manager = on_ray(Hanging, worker_args=arguments, timeout=2.0, retries=1, backoff=0.001)
    assert list(manager.run(range(8))) == [-item for item in range(8)]
    assert (manager.report.stages[0].replaced, manager.report.stages[0].retried) == (1, 1)


def test_r16_an_async_call_is_cancelled() -> None:
    manager = on_ray(workers.AsyncSleep, workers=4, timeout=1.0, on_error="skip")
    assert list(manager.run([0.0, 60.0, 0.01])) == [0.0, 0.01]
    assert [type(letter.error) for letter in manager.report.dead_letters] == [TimeoutError]


def test_r17_retry_after_is_kept(tmp_path: Path) -> None:
    manager = on_ray(AsksToWait, workers=2, worker_args={"folder": tmp_path, "at": 0, "seconds": 0.5}, retries=1)
    begun = list(manager.run(range(10)))
    asked = (tmp_path / "asked").stat().st_mtime - time.time() + time.monotonic()
    assert begun[0] > asked + 0.45
    assert manager.report.stages[0].retried == 1


def test_r15_large_values_go_from_actor_to_actor() -> None:
    """Without passing the process of the run, and as values of one's own, which may be changed."""
    manager = PipelineManager(on_error="skip")
    kinds: list[Any] = [workers.Makes, workers.Changes, workers.Measures]
    for name, kind in zip("abc", kinds, strict=True):
        manager.add_worker(kind, name=name, executor="ray", resources={"num_cpus": 0.5})
    sizes = [500_000, 10, 500_001, 500_003]
    results = list(manager.run(sizes))
    assert [(size, first) for size, first, _ in results] == [(500_000, 1), (10, 1), (500_001, 1)]
    for size, _, seen in results:
        assert (os.getpid() in seen) == (size == 10)
    (letter,) = manager.report.dead_letters
    assert len(letter.item) == 500_003  # type: ignore[arg-type]


def test_r15_large_outputs_of_a_generator_go_from_actor_to_actor() -> None:
    manager = PipelineManager()
    manager.add_worker(workers.Expands, name="a", executor="ray")
    manager.add_worker(workers.Measures, name="b", executor="ray", workers=2)
    results = list(manager.run([500_000, 600_000]))
    assert [size for size, *_ in results] == [500_000, 500_001, 500_002, 600_000, 600_001, 600_002]
    assert all(os.getpid() not in seen for *_, seen in results)


def test_r15_what_is_large_comes_whole_to_a_thread_and_to_the_consumer() -> None:
    manager = PipelineManager().add_worker(workers.Makes, name="a", executor="ray")
    manager.add_worker(workers.Changes, name="b")
    manager.add_worker(workers.Changes, name="c", executor="ray")
    assert [(len(value), value[0]) for value in manager.run([500_000])] == [(500_000, 2)]


def test_r11_a_pool_does_whole_items_in_actors() -> None:
    manager = on_ray(workers.Pool, worker_args={"sub_workers": 2})
    assert list(manager.run([0, 3, 10])) == [0, 5, 285]
    assert manager.report.stages[0].workers == 2


def test_resources_place_workers() -> None:
    manager = on_ray(workers.Negate, workers=2, resources={"second": 4})
    assert list(manager.run(range(5))) == [-item for item in range(5)]


def test_resources_that_no_machine_has_are_refused() -> None:
    manager = on_ray(workers.Negate, workers=3, resources={"num_gpus": 2})
    with pytest.raises(ValueError, match=r"^resources: the stages need 6 GPU, and Ray has 0$"):
        list(manager.run(range(5)))


def test_an_argument_that_cannot_be_pickled_is_said() -> None:
    manager = on_ray(workers.Tells, worker_args={"folder": threading.Lock()})
    with pytest.raises(PipelineError, match=r"stage 's0' failed in setup: TypeError: cannot pickle '_thread.lock'"):
        list(manager.run(range(5)))


def test_an_item_that_cannot_be_pickled_fails_alone() -> None:
    manager = on_ray(workers.Negate, on_error="skip")
    assert list(manager.run([1, threading.Lock(), 2])) == [-1, -2]


def test_a_worker_of_a_script_needs_no_module() -> None:
    """Nor does one of a notebook."""

    class Local(workers.Negate):
        def process_item(self, item: Any) -> Any:
            return FailedItem(item, ValueError("two")) if item == 2 else item * 10

    manager = on_ray(Local, on_error="skip")
    assert list(manager.run([1, 2, 3])) == [10, 30]


def test_an_array_among_the_arguments_of_a_worker_arrives() -> None:
    manager = on_ray(workers.Holds, worker_args={"buffer": workers.Buffer(range(10))})
    assert list(manager.run([3, 9])) == [3, 9]


def test_r10_an_async_actor_whose_setup_raised_is_torn_down(tmp_path: Path) -> None:
    manager = on_ray(workers.AsyncNeverReady, worker_args={"folder": tmp_path})
    with pytest.raises(PipelineError, match=r"stage 's0' failed in setup: OSError: no model"):
        list(manager.run([1]))
    assert (tmp_path / "over").exists()


def test_u7_the_report_knows_what_actors_compute_and_how_many_the_cluster_has_room_for() -> None:
    stages = []
    for worker_class, resources in ((workers.AsyncBurns, None), (workers.Slow, {"num_cpus": 0.5})):
        manager = on_ray(worker_class, workers=4, resources=resources)
        list(manager.run(range(100)))
        stages.append(manager.report.stages[0])
    burns, slow = stages
    assert (burns.executor, burns.room, slow.executor, slow.room) == ("async", 400, "ray", 8)
    assert slow.computing < burns.computing / 3
