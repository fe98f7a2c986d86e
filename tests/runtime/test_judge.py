"""What is read off a report, case by case, on reports made by hand."""

import random
from dataclasses import astuple, replace
from math import isfinite
from typing import Any

import pytest
from my_pipeline.pipeline_core import PipelineReport, StageReport, Verdict


def stage(name: str = "a", **numbers: Any) -> StageReport:
    """A stage that had 100 items for 10 seconds, each for 0.1 seconds."""
    counts: dict[str, Any] = {
        "received": 100,
        "emitted": 100,
        "processed": 100,
        "filtered": 0,
        "failed": 0,
        "aborted": 0,
        "retried": 0,
    }
    shares: dict[str, Any] = {
        "busy": 0.99,
        "waiting_for_input": 0.01,
        "waiting_for_output": 0.0,
        "computing": 0.02,
        "seconds": 10.0,
    }
    called: dict[str, Any] = {"service_times": ((0.1, 100),)}
    return StageReport(**{"name": name, "workers": 1, **counts, **shares, **called, **numbers})


def report(*stages: StageReport, **numbers: Any) -> PipelineReport:
    known: dict[str, Any] = {"seconds": 10.0, "read": 100, "delivered": 100, "cpu_seconds": 0.3, "cores": 4}
    zero: dict[str, Any] = {
        "source_failed": 0,
        "source_aborted": 0,
        "undelivered": 0,
        "skipped": 0,
        "dead_letters": (),
        "error": None,
    }
    return PipelineReport(**{"name": "p", "state": "completed", "stages": stages, **zero, **known, **numbers})


def changes(verdict: Verdict) -> list[tuple[str, str, int, int]]:
    """The part, the setting, its number now and the number that it should have."""
    return [astuple(change) for change in verdict.changes]


IDLE: dict[str, Any] = {"busy": 0.05, "waiting_for_input": 0.95, "service_times": ((0.005, 100),)}
COMPUTES: dict[str, Any] = {"computing": 0.98}
NOT_STARTED: dict[str, Any] = dict.fromkeys(("received", "emitted", "processed", "busy", "computing", "seconds"), 0) | {
    "service_times": ()
}


@pytest.mark.parametrize(
    "nothing",
    [
        report(stage(**NOT_STARTED), seconds=0.0, read=0, delivered=0, cpu_seconds=0.0, state="new"),
        report(stage(**NOT_STARTED), read=0, delivered=0),
        report(stage(**NOT_STARTED), seconds=1e-6, read=1, delivered=0, state="running"),
        report(stage(received=1, processed=1, emitted=1), seconds=0.1, read=1, delivered=1),
        report(stage(processed=0, emitted=0, failed=100), stage("b", **NOT_STARTED), delivered=0, skipped=100),
        report(stage(**NOT_STARTED), source_failed=100, delivered=0),
        report(),
    ],
    ids=["new", "no items", "the first instant", "one item", "all failed", "the source failed", "no stage"],
)
def test_of_nothing_nothing_is_said(nothing: PipelineReport) -> None:
    verdict = nothing.verdict
    assert (verdict.part, verdict.reason, verdict.changes, verdict.expected) == ("", "unknown", (), 0)
    assert verdict.text == "Too few items are done to say what limits the run."


def test_one_stage_that_waits_in_words() -> None:
    assert report(stage("model_inference"), source_busy=0.125).verdict.text == (
        "model_inference limits the run: its 1 worker was busy 99% of the time, and waits (2% CPU). "
        "workers: 1 -> 8 (--workers model_inference=8, or in pipeline.py) should bring about 80 items a second "
        "instead of 10."
    )


def test_all_filtered_in_the_first_stage_is_work_too() -> None:
    verdict = report(stage(processed=0, filtered=100, emitted=0), stage("b", **NOT_STARTED), delivered=0).verdict
    assert (verdict.part, verdict.reason) == ("a", "waits")


def test_a_stage_behind_one_that_yields_many_is_counted_by_the_items_of_the_source() -> None:
    many: dict[str, Any] = {"received": 1000, "processed": 1000, "emitted": 1000, "service_times": ((0.01, 1000),)}
    verdict = report(stage(emitted=1000, **IDLE), stage("b", **many), delivered=1000).verdict
    assert (verdict.part, verdict.items_per_second) == ("b", pytest.approx(10))
    assert verdict.expected == pytest.approx(80)


def test_an_item_that_the_source_cannot_make_counts_as_one() -> None:
    verdict = report(stage(), read=200, source_failed=100).verdict
    assert (verdict.part, verdict.items_per_second) == ("a", pytest.approx(20))


def test_what_comes_before_the_first_result_is_not_the_consumers_time() -> None:
    verdict = report(stage(**IDLE), consumer_busy=0.49, first_wait=5.0).verdict
    assert (verdict.part, verdict.items_per_second) == ("consumer", pytest.approx(20))


def test_nobody_busy_is_nobodys_fault() -> None:
    verdict = report(stage(**IDLE), source_busy=0.3).verdict
    assert (verdict.part, verdict.reason, verdict.busy) == ("", "unknown", (("source", pytest.approx(0.3)),))
    assert "the busiest part, source, was busy 30% of the time" in verdict.text


def test_what_computes_under_the_gil_is_told_of_processes() -> None:
    verdict = report(stage(**COMPUTES), stage("b", **IDLE), cpu_seconds=9.9).verdict
    assert (verdict.part, verdict.reason) == ("a", "computes")
    assert changes(verdict) == [("a", "processes", 0, 4)]
    assert verdict.expected == pytest.approx(40, rel=0.05)
    assert "free-threaded" in verdict.text


def test_what_computes_in_many_threads_under_the_gil_does_so_too() -> None:
    starved: dict[str, Any] = {"computing": 0.12, "workers": 8, "service_times": ((0.8, 100),)}
    verdict = report(stage(**starved), cpu_seconds=9.9).verdict
    assert (verdict.part, verdict.reason, verdict.changes[0].setting) == ("a", "computes", "processes")
    assert "compute, under the GIL one at a time" in verdict.text


def test_who_only_waits_for_the_gil_is_not_what_limits() -> None:
    verdict = report(stage(computing=0.7), stage("b", computing=0.3, busy=1.0), cpu_seconds=9.9).verdict
    assert (verdict.part, verdict.changes[0].setting, verdict.then) == ("a", "processes", "the CPU")
    assert verdict.expected == pytest.approx(34, rel=0.05), "b needs the GIL for 0.03 s an item"


def test_two_that_share_the_gil_get_what_the_other_one_leaves() -> None:
    half: dict[str, Any] = {"computing": 0.5, "busy": 1.0}
    verdict = report(stage(**half), stage("b", **half), cpu_seconds=9.9, cores=8).verdict
    assert (verdict.reason, verdict.changes[0].setting) == ("computes", "processes")
    assert verdict.expected == pytest.approx(20, rel=0.05), "the other one still needs half of the GIL"


def test_the_next_part_bounds_what_processes_bring() -> None:
    verdict = report(stage(**COMPUTES), source_busy=0.5, cpu_seconds=9.9).verdict
    assert (verdict.then, verdict.expected) == ("source", pytest.approx(20, rel=0.05))
    assert changes(verdict) == [("a", "processes", 0, 2)]


def test_what_releases_the_gil_gets_workers_up_to_the_cores() -> None:
    hashes: dict[str, Any] = {"workers": 2, "computing": 0.98, "service_times": ((0.2, 100),)}
    verdict = report(stage(**hashes), cpu_seconds=19.8).verdict
    assert (verdict.part, verdict.reason, changes(verdict)) == ("a", "computes", [("a", "workers", 2, 4)])
    assert verdict.expected == pytest.approx(20, rel=0.05)
    verdict = report(stage(**hashes), cpu_seconds=19.8, cores=2).verdict
    assert (verdict.part, verdict.reason, verdict.changes) == ("a", "cores", ())


def test_without_a_gil_a_stage_that_computes_gets_workers() -> None:
    verdict = report(stage(**COMPUTES), cpu_seconds=9.9, gil=False).verdict
    assert changes(verdict) == [("a", "workers", 1, 4)]


def test_a_process_pool_gets_as_many_as_there_are_cores() -> None:
    pool: dict[str, Any] = {"pool": "process", "workers": 2, "computing": 0.97, "service_times": ((0.2, 100),)}
    verdict = report(stage(**pool)).verdict
    assert changes(verdict) == [("a", "sub_workers", 2, 4)]
    verdict = report(stage(**(pool | {"workers": 4, "service_times": ((0.4, 100),)}))).verdict
    assert (verdict.part, verdict.reason, verdict.changes) == ("a", "cores", ())
    assert "its 4 sub-workers were busy 99% of the time, and no core is free for more" in verdict.text


def test_with_one_core_there_is_nothing_to_gain() -> None:
    verdict = report(stage(**COMPUTES), cpu_seconds=9.9, cores=1).verdict
    assert (verdict.part, verdict.reason, verdict.changes) == ("a", "cores", ())
    assert verdict.expected == verdict.items_per_second


def test_the_cpu_bounds_what_workers_bring() -> None:
    verdict = report(stage(computing=0.25), cpu_seconds=2.5).verdict
    assert changes(verdict) == [("a", "workers", 1, 6)], "some more than four, since they wait for the GIL, too"
    assert (verdict.then, verdict.expected) == ("the CPU", pytest.approx(40))


def test_items_without_work_are_told_to_carry_more() -> None:
    quick = stage(computing=1.0, service_times=((1e-6, 100),))
    verdict = report(quick, replace(quick, name="b"), cpu_seconds=9.9).verdict
    assert (verdict.part, verdict.reason, verdict.changes) == ("", "hand-over", ())
    many: dict[str, Any] = {"received": 10**6, "processed": 10**6, "emitted": 10**6, "service_times": ((4e-6, 10**6),)}
    quick = stage(computing=1.0, **many)
    verdict = report(quick, replace(quick, name="b"), read=10**6, delivered=10**6, cpu_seconds=9.9).verdict
    assert verdict.reason == "hand-over", "also where the calls seem to take most of the time: so does measuring them"


def test_calls_too_short_for_child_processes_are_told_so() -> None:
    short: dict[str, Any] = {
        "computing": 0.98,
        "service_times": ((9e-5, 100_000),),
        "received": 100_000,
        "processed": 100_000,
    }
    verdict = report(stage(emitted=100_000, **short), cpu_seconds=9.9, read=100_000, delivered=100_000).verdict
    assert (verdict.part, verdict.reason, verdict.changes) == ("a", "computes", ())
    assert "too short for child processes" in verdict.text


def test_a_source_that_computes_is_told_of_processes() -> None:
    verdict = report(stage(**IDLE), source_busy=0.98, cpu_seconds=9.9).verdict
    assert (verdict.part, verdict.reason) == ("source", "computes")
    assert changes(verdict) == [("source", "processes", 0, 4)]
    assert verdict.expected == pytest.approx(40, rel=0.05)


def test_the_next_part_bounds_what_a_longer_queue_brings() -> None:
    held_up: dict[str, Any] = {"busy": 0.3, "waiting_for_order": 0.69, "workers": 4, "window": 10}
    verdict = report(stage(service_times=((0.1, 95), (1.0, 5)), **held_up), source_busy=0.6).verdict
    assert (verdict.reason, verdict.then) == ("order", "source")
    assert verdict.expected == pytest.approx(100 / 6)


def test_what_computes_beside_something_that_releases_the_gil_is_told_of_processes() -> None:
    starved: dict[str, Any] = {"computing": 0.25, "workers": 4, "service_times": ((0.4, 100),)}
    hashes: dict[str, Any] = {"computing": 1.0, "busy": 0.5, "service_times": ((0.05, 100),)}
    verdict = report(stage(**starved), stage("b", **hashes), cpu_seconds=15).verdict
    assert (verdict.part, verdict.reason, verdict.changes[0].setting) == ("a", "computes", "processes")


def test_child_processes_take_cores_from_the_others() -> None:
    pool: dict[str, Any] = {"pool": "process", "workers": 8, "computing": 0.99, "service_times": ((0.2, 100),)}
    verdict = report(stage(), stage("b", busy=0.25, waiting_for_input=0.7, **pool)).verdict
    assert (verdict.part, verdict.then) == ("a", "the CPU")
    assert verdict.expected == pytest.approx(20, rel=0.1)


def test_a_window_is_never_told_to_grow_without_end() -> None:
    held_up: dict[str, Any] = {"busy": 0.5, "waiting_for_order": 0.49, "workers": 4, "window": 10}
    verdict = report(stage(service_times=((0.001, 99), (900.0, 1)), **held_up)).verdict
    assert changes(verdict) == [("a", "queue_size", 10, 8192)]
    assert verdict.items_per_second < verdict.expected < 20
    verdict = report(stage(service_times=((0.001, 99), (900.0, 1)), **(held_up | {"window": 8192}))).verdict
    assert (verdict.reason, verdict.changes) == ("order", ())


def test_whatever_a_report_says_there_is_an_answer() -> None:
    """Reports of runs that were stopped, asked early, or measured on a machine that was late: numbers need not fit."""
    chance = random.Random(0)

    def some_stage(name: str) -> StageReport:
        def share() -> float:
            return chance.choice([0.0, 0.1, 0.5, 0.99, 1.0])

        done = chance.choice([0, 1, 2, 100])
        return stage(
            name,
            workers=chance.choice([1, 4]),
            received=done + chance.choice([0, 3]),
            processed=done,
            emitted=done * chance.choice([0, 1, 10]),
            busy=share(),
            waiting_for_input=share(),
            waiting_for_output=share(),
            waiting_for_order=share(),
            computing=share(),
            seconds=chance.choice([0.0, 1e-6, 10.0]),
            service_times=chance.choice([(), ((1e-7, done),), ((1.0, done),)]),
            pool=chance.choice(["", "", "thread", "process"]),
            window=chance.choice([0, 1, 100]),
            first_wait=chance.choice([0.0, 20.0]),
        )

    for _ in range(3000):
        verdict = report(
            *(some_stage(name) for name in "abc"[: chance.choice([1, 2, 3])]),
            seconds=chance.choice([1e-6, 10.0]),
            read=chance.choice([0, 2, 100]),
            delivered=chance.choice([0, 100]),
            cpu_seconds=chance.choice([0.0, 0.1, 9.9, 35.0]),
            cores=chance.choice([1, 4]),
            gil=chance.choice([True, False]),
            serial=chance.random() < 0.1,
            source_busy=chance.random(),
            consumer_busy=chance.random(),
        ).verdict
        assert isfinite(verdict.expected)
        assert verdict.expected >= verdict.items_per_second
        assert all(change.then >= 1 and change.then != change.now for change in verdict.changes)
        assert verdict.text.endswith(".")
