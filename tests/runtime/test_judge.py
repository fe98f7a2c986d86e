"""What a verdict reads off a reading, case by case, on readings made by hand."""

import random
from dataclasses import astuple, replace
from math import ceil, isfinite, log
from typing import Any

import pytest

from diagnosis_helpers import needs

needs("observers.verdict")

from my_pipeline.observers.advice import advise
from my_pipeline.observers.reading import Reading, StageReading
from my_pipeline.observers.service_times import GAMMA, ServiceTimes
from my_pipeline.observers.verdict import Verdict, judge
from my_pipeline.pipeline_core import PipelineReport, StageReport

OPTIONS = {"workers": "--workers {part}={then}", "queue_size": "--queue-size {then}", "profile": "my-pipeline profile"}


def times(*calls: tuple[float, int], **more: Any) -> ServiceTimes:
    """Pairs of seconds and the calls that took so long."""
    buckets = tuple((ceil(log(seconds) / log(GAMMA)), number) for seconds, number in calls)
    return ServiceTimes(sum(seconds * number for seconds, number in calls), buckets, **more)


def stage(name: str = "a", **numbers: Any) -> StageReading:
    """A stage that had 100 items for 10 seconds, each for 0.1 seconds."""
    counts = {
        "received": 100,
        "emitted": 100,
        "processed": 100,
        "filtered": 0,
        "failed": 0,
        "aborted": 0,
        "retried": 0,
    }
    shares = {"busy": 0.99, "waiting_for_input": 0.01, "waiting_for_output": 0.0, "computing": 0.02, "seconds": 10.0}
    told: dict[str, Any] = {"name": name, "workers": 1, "times": times((0.1, 100)), **counts, **shares, **numbers}
    return StageReading(**told)


def read(*stages: StageReading, **numbers: Any) -> Reading:
    """A reading of a run in which items flowed from the first moment on."""
    known = {"seconds": 10.0, "read": 100, "delivered": 100, "cpu_seconds": 0.3, "cores": 4}
    zero = {"source_failed": 0, "source_aborted": 0, "undelivered": 0, "skipped": 0, "dead_letters": (), "error": None}
    told: dict[str, Any] = {"name": "p", "state": "completed"} | zero | known | numbers
    more: dict[str, Any] = {name: told.pop(name) for name in ("cores", "gil", "crowded") if name in told}
    plain = [StageReport(**{name: getattr(one, name) for name in StageReport.__dataclass_fields__}) for one in stages]
    more["items_per_second"] = (
        told["read"] / told["seconds"] if any(one.processed + one.filtered for one in stages) else 0
    )
    more |= {"cores_used": told["cpu_seconds"] / (told["seconds"] or 1), "options": OPTIONS}
    return Reading(**told, stages=stages, whole=PipelineReport(**told, stages=tuple(plain)), **more)


def through(items: int, seconds: float) -> dict[str, Any]:
    """The numbers of a stage through which so many items went, each in so many seconds."""
    return dict.fromkeys(("received", "processed", "emitted"), items) | {"times": times((seconds, items))}


def changes(verdict: Verdict) -> list[tuple[str, str, float, float]]:
    """The part, the setting, its number now and the number that it should have."""
    return [astuple(change) for change in verdict.changes]


IDLE: dict[str, Any] = {"busy": 0.05, "waiting_for_input": 0.95, "times": times((0.005, 100))}
COMPUTES: dict[str, Any] = {"computing": 0.98}
CHILDREN: dict[str, Any] = {"pool": "process", "executor": "process", "computing": 0.97, "times": times((0.2, 100))}
NOT_STARTED: dict[str, Any] = dict.fromkeys(("received", "emitted", "processed", "busy", "computing", "seconds"), 0) | {
    "times": times()
}


@pytest.mark.parametrize(
    "nothing",
    [
        read(stage(**NOT_STARTED), seconds=0.0, read=0, delivered=0, cpu_seconds=0.0, state="new"),
        read(stage(**NOT_STARTED), read=0, delivered=0),
        read(stage(**NOT_STARTED), seconds=1e-6, read=1, delivered=0, state="running"),
        read(stage(received=1, processed=1, emitted=1), seconds=0.1, read=1, delivered=1),
        read(stage(processed=0, emitted=0, failed=100), stage("b", **NOT_STARTED), delivered=0, skipped=100),
        read(stage(**NOT_STARTED), source_failed=100, delivered=0),
        read(),
    ],
    ids=["new", "no items", "the first instant", "one item", "all failed", "the source failed", "no stage"],
)
def test_of_nothing_nothing_is_said(nothing: Reading) -> None:
    verdict = judge(nothing)
    assert (verdict.part, verdict.reason, verdict.changes, verdict.expected) == ("", "unknown", (), 0)
    assert advise(nothing) == "Too few items are done to say what limits the run."


def test_one_stage_that_waits_in_words() -> None:
    reading = read(stage("model_inference"), source_busy=0.125)
    finding = "model_inference limits the run: its 1 worker was busy 99% of the time, and waits (2% CPU)."
    brings = "would bring about 80 items a second instead of 10 if calls do not wait for one another. That is a guess:"
    option = "(--workers model_inference=8, or in pipeline.py)"
    profile = "`my-pipeline profile` tries it."
    assert advise(reading) == f"{finding} workers: 1 -> 8 {option} {brings} {profile}"
    without_command = replace(reading, options={})
    assert advise(without_command) == f"{finding} workers: 1 -> 8 (in pipeline.py) {brings} try it."


def test_all_filtered_in_the_first_stage_is_work_too() -> None:
    verdict = judge(read(stage(processed=0, filtered=100, emitted=0), stage("b", **NOT_STARTED), delivered=0))
    assert (verdict.part, verdict.reason) == ("a", "waits")


def test_a_stage_behind_one_that_yields_many_is_counted_by_the_items_of_the_source() -> None:
    verdict = judge(read(stage(emitted=1000, **IDLE), stage("b", **through(1000, 0.01)), delivered=1000))
    assert (verdict.part, verdict.items_per_second) == ("b", pytest.approx(10))
    assert verdict.expected == pytest.approx(80)


def test_an_item_that_the_source_cannot_make_counts_as_one() -> None:
    verdict = judge(read(stage(), read=200, source_failed=100))
    assert (verdict.part, verdict.items_per_second) == ("a", pytest.approx(20))


def test_a_consumer_that_is_slow_gets_a_stage() -> None:
    verdict = judge(read(stage(**IDLE), consumer_busy=0.98))
    assert (verdict.part, verdict.reason, changes(verdict)) == ("consumer", "waits", [("consumer", "workers", 1, 8)])


def test_nobody_busy_is_nobodys_fault() -> None:
    reading = read(stage(**IDLE), source_busy=0.3)
    verdict = judge(reading)
    assert (verdict.part, verdict.reason, verdict.busy) == ("", "unknown", (("source", pytest.approx(0.3)),))
    assert "the busiest part, source, was busy 30% of the time" in advise(reading)


def test_what_computes_under_the_gil_is_told_of_processes() -> None:
    reading = read(stage(**COMPUTES), stage("b", **IDLE), cpu_seconds=9.9)
    verdict = judge(reading)
    assert (verdict.part, verdict.reason) == ("a", "computes")
    assert changes(verdict) == [("a", "processes", 0, 4)]
    assert verdict.expected == pytest.approx(40, rel=0.05)
    assert "free-threaded" in advise(reading)


def test_what_computes_in_many_threads_under_the_gil_does_so_too() -> None:
    starved: dict[str, Any] = {"computing": 0.12, "workers": 8, "times": times((0.8, 100))}
    reading = read(stage(**starved), cpu_seconds=9.9)
    verdict = judge(reading)
    assert (verdict.part, verdict.reason, verdict.changes[0].setting) == ("a", "computes", "processes")
    assert "compute, under the GIL one at a time" in advise(reading)


def test_who_only_waits_for_the_gil_is_not_what_limits() -> None:
    verdict = judge(read(stage(computing=0.7), stage("b", computing=0.3, busy=1.0), cpu_seconds=9.9))
    assert (verdict.part, verdict.changes[0].setting, verdict.then) == ("a", "processes", "the CPU")
    assert verdict.expected == pytest.approx(34, rel=0.05), "b needs the GIL for 0.03 s an item"


def test_two_that_share_the_gil_get_what_the_other_one_leaves() -> None:
    half: dict[str, Any] = {"computing": 0.5, "busy": 1.0}
    verdict = judge(read(stage(**half), stage("b", **half), cpu_seconds=9.9, cores=8))
    assert (verdict.reason, verdict.changes[0].setting) == ("computes", "processes")
    assert verdict.expected == pytest.approx(20, rel=0.05), "the other one still needs half of the GIL"


def test_the_next_part_bounds_what_processes_bring() -> None:
    verdict = judge(read(stage(**COMPUTES), source_busy=0.5, cpu_seconds=9.9))
    assert (verdict.then, verdict.expected) == ("source", pytest.approx(20, rel=0.05))
    assert changes(verdict) == [("a", "processes", 0, 2)]


def test_what_releases_the_gil_gets_workers_up_to_the_cores() -> None:
    hashes: dict[str, Any] = {"workers": 2, "computing": 0.98, "times": times((0.2, 100))}
    verdict = judge(read(stage(**hashes), cpu_seconds=19.8))
    assert (verdict.part, verdict.reason, changes(verdict)) == ("a", "computes", [("a", "workers", 2, 4)])
    assert verdict.expected == pytest.approx(20, rel=0.05)
    verdict = judge(read(stage(**hashes), cpu_seconds=19.8, cores=2))
    assert (verdict.part, verdict.reason, verdict.changes) == ("a", "cores", ())


def test_without_a_gil_a_stage_that_computes_gets_workers() -> None:
    verdict = judge(read(stage(**COMPUTES), cpu_seconds=9.9, gil=False))
    assert changes(verdict) == [("a", "workers", 1, 4)]


def test_a_process_pool_gets_as_many_as_there_are_cores() -> None:
    verdict = judge(read(stage(workers=2, **CHILDREN)))
    assert changes(verdict) == [("a", "sub_workers", 2, 4)]
    reading = read(stage(workers=4, **CHILDREN | {"times": times((0.4, 100))}))
    verdict = judge(reading)
    assert (verdict.part, verdict.reason, verdict.changes) == ("a", "cores", ())
    assert "its 4 sub-workers were busy 99% of the time (96% CPU), and no core is free for more" in advise(reading)


def test_with_one_core_there_is_nothing_to_gain() -> None:
    verdict = judge(read(stage(**COMPUTES), cpu_seconds=9.9, cores=1))
    assert (verdict.part, verdict.reason, verdict.changes) == ("a", "cores", ())
    assert verdict.expected == verdict.items_per_second


def test_the_cpu_bounds_what_workers_bring() -> None:
    verdict = judge(read(stage(computing=0.25), cpu_seconds=2.5))
    assert changes(verdict) == [("a", "workers", 1, 4)]
    assert (verdict.then, verdict.expected) == ("the CPU", pytest.approx(40))


def test_items_without_work_are_told_to_carry_more() -> None:
    quick = stage(computing=1.0, times=times((1e-6, 100)))
    verdict = judge(read(quick, replace(quick, name="b"), cpu_seconds=9.9))
    assert (verdict.part, verdict.reason, verdict.changes) == ("", "hand-over", ())
    quick = stage(computing=1.0, **through(10**6, 4e-6))
    verdict = judge(read(quick, replace(quick, name="b"), read=10**6, delivered=10**6, cpu_seconds=9.9))
    assert verdict.reason == "hand-over", "also where the calls seem to take most of the time: so does measuring them"


def test_calls_too_short_for_child_processes_are_told_so() -> None:
    items = 1_500_000
    reading = read(stage(**COMPUTES, **through(items, 6e-6)), cpu_seconds=9.9, read=items, delivered=items)
    verdict = judge(reading)
    assert (verdict.part, verdict.reason, verdict.changes) == ("a", "computes", ())
    assert "too short for child processes" in advise(reading)


def test_a_source_that_computes_is_told_of_processes() -> None:
    verdict = judge(read(stage(**IDLE), source_busy=0.98, cpu_seconds=9.9))
    assert (verdict.part, verdict.reason) == ("source", "computes")
    assert changes(verdict) == [("source", "processes", 0, 4)]
    assert verdict.expected == pytest.approx(40, rel=0.05)


def test_the_next_part_bounds_what_a_longer_queue_brings() -> None:
    held_up: dict[str, Any] = {"busy": 0.3, "waiting_for_order": 0.69, "workers": 4, "window": 10}
    verdict = judge(read(stage(times=times((0.1, 95), (1.0, 5)), **held_up), source_busy=0.6))
    assert (verdict.reason, verdict.then) == ("order", "source")
    assert verdict.expected == pytest.approx(100 / 6)


def test_what_computes_beside_something_that_releases_the_gil_is_told_of_processes() -> None:
    starved: dict[str, Any] = {"computing": 0.25, "workers": 4, "times": times((0.4, 100))}
    hashes: dict[str, Any] = {"computing": 1.0, "busy": 0.5, "times": times((0.05, 100))}
    verdict = judge(read(stage(**starved), stage("b", **hashes), cpu_seconds=15))
    assert (verdict.part, verdict.reason, verdict.changes[0].setting) == ("a", "computes", "processes")


def test_child_processes_take_cores_from_the_others() -> None:
    verdict = judge(read(stage(), stage("b", workers=8, busy=0.25, waiting_for_input=0.7, **CHILDREN)))
    assert (verdict.part, verdict.then) == ("a", "the CPU")
    assert verdict.expected == pytest.approx(20, rel=0.1)


def test_a_window_is_never_told_to_grow_without_end() -> None:
    held_up: dict[str, Any] = {"busy": 0.5, "waiting_for_order": 0.49, "workers": 4, "window": 10, "queue_size": 6}
    verdict = judge(read(stage(times=times((0.001, 99), (900.0, 1)), **held_up)))
    assert changes(verdict) == [("a", "queue_size", 6, 8192)]
    assert verdict.items_per_second < verdict.expected < 20
    verdict = judge(read(stage(times=times((0.001, 99), (900.0, 1)), **(held_up | {"window": 8192}))))
    assert (verdict.reason, verdict.changes) == ("order", ())


def test_whatever_a_report_says_there_is_an_answer() -> None:
    """Reports of runs that were stopped, asked early, or measured on a machine that was late: numbers need not fit."""
    chance = random.Random(0)

    def some_stage(name: str) -> StageReading:
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
            waiting_for_rate=share(),
            rate_limit=chance.choice([None, 0.1, 50]),
            rate_used=share(),
            passed=chance.choice([0, 100]),
            replaced=chance.choice([0, 1, 3]),
            computing=share(),
            seconds=chance.choice([0.0, 1e-6, 10.0]),
            times=chance.choice([times(), times((1e-7, done)), times((1.0, done))]),
            pool=chance.choice(["", "thread"]),
            executor=chance.choice(["thread", "process", "async", "ray"]),
            room=chance.choice([0, 0, 1, 100]),
            queue_size=chance.choice([1, 100]),
            window=chance.choice([0, 1, 100]),
        )

    for _ in range(3000):
        reading = read(
            *(some_stage(name) for name in "abc"[: chance.choice([1, 2, 3])]),
            seconds=chance.choice([1e-6, 10.0]),
            read=chance.choice([0, 2, 100]),
            delivered=chance.choice([0, 100]),
            cpu_seconds=chance.choice([0.0, 0.1, 9.9, 35.0]),
            cores=chance.choice([1, 4]),
            gil=chance.choice([True, False]),
            crowded=chance.choice([None, 0.0, 0.5, 1.0]),
            serial=chance.random() < 0.1,
            source_busy=chance.random(),
            consumer_busy=chance.random(),
        )
        verdict = judge(reading)
        assert isfinite(verdict.expected)
        assert verdict.expected >= verdict.items_per_second
        assert all(change.then != change.now for change in verdict.changes)
        assert all(
            change.then > change.now if change.setting == "rate_limit" else change.then >= 1
            for change in verdict.changes
        )
        assert advise(reading).endswith(".")


LOCKED = tuple((0.0, 0.01 * (number + 1)) for number in range(8)) + tuple((0.01 * n, 0.08) for n in range(92))


def test_calls_that_wait_for_one_another_are_not_advised_more_workers() -> None:
    reading = read(stage(workers=8, times=times((0.8, 100), early=LOCKED)))
    verdict = judge(reading)
    assert (verdict.part, verdict.reason, verdict.changes) == ("a", "contention", ())
    assert "a lock, a limiter or a server seems to hold them up: one ended every 10 ms" in advise(reading)
    assert advise(reading).endswith("Whether more workers help is unknown: `my-pipeline profile` tries it.")


@pytest.mark.parametrize("computing", [0.6, 0.3])
def test_on_a_machine_that_is_busy_with_other_things_what_computes_is_not_advised_more(computing: float) -> None:
    busy: dict[str, Any] = {"workers": 2, "computing": computing, "times": times((0.2, 100))}
    reading = read(stage(**busy), cpu_seconds=6, crowded=0.4)
    verdict = judge(reading)
    assert (verdict.part, verdict.reason, verdict.changes) == ("a", "crowded", ())
    assert "other programs have the cores: threads waited for one 40% of the time" in advise(reading)


def test_what_only_waits_gets_workers_on_a_busy_machine_too() -> None:
    assert judge(read(stage(), crowded=0.6)).reason == "waits"


def test_calls_that_wait_for_a_lock_are_told_of_it_on_a_busy_machine_too() -> None:
    locked = stage(workers=8, computing=0.005, times=times((0.8, 100), early=LOCKED))
    assert judge(read(locked, cpu_seconds=0.5, crowded=0.95)).reason == "contention"


def test_who_needs_all_cores_is_not_held_up_by_others() -> None:
    hashes: dict[str, Any] = {"workers": 8, "computing": 0.5, "times": times((0.8, 100))}
    assert judge(read(stage(**hashes), cpu_seconds=39, crowded=0.5)).reason == "cores"


HELD: dict[str, Any] = {"rate_limit": 10, "rate_used": 0.99, "busy": 0.2, "waiting_for_input": 0.0}


def test_a_stage_at_its_rate_is_told_of_the_rate_and_not_of_workers() -> None:
    reading = read(stage("fetch", workers=4, waiting_for_rate=0.8, **HELD))
    assert changes(judge(reading)) == [("fetch", "rate_limit", 10, 40)]
    finding = "fetch limits the run: its rate_limit holds it to 10 calls a second, for which it waited 80% of the time."
    way = "rate_limit: 10 -> 40 (in pipeline.py), if what it calls allows that, should bring"
    assert advise(reading) == f"{finding} {way} about 40 items a second instead of 10."


def test_a_higher_rate_is_told_with_the_workers_that_it_needs() -> None:
    reading = read(stage(workers=2, waiting_for_rate=0.1, **HELD | {"busy": 0.9}), source_busy=0.4)
    verdict = judge(reading)
    assert (verdict.part, verdict.reason, verdict.then) == ("a", "rate", "source")
    assert changes(verdict) == [("a", "workers", 2, 5), ("a", "rate_limit", 10, 25)]
    assert "workers: 2 -> 5 (--workers a=5, or in pipeline.py) and rate_limit: 10 -> 25" in advise(reading)


def test_what_was_asked_to_wait_is_advised_nothing() -> None:
    for limit in (None, 50):
        reading = read(stage(workers=4, waiting_for_rate=0.8, **HELD | {"rate_limit": limit, "rate_used": 0.2}))
        assert (judge(reading).reason, judge(reading).changes) == ("retry-after", ())
        assert "asked it to wait (RetryAfter), 80% of the time; more workers would not help." in advise(reading)


def test_a_rate_that_does_not_limit_is_not_what_limits() -> None:
    spaced = stage(waiting_for_rate=0.3, **HELD | {"rate_limit": 20, "rate_used": 0.5, "waiting_for_input": 0.5})
    verdict = judge(read(spaced, stage("b")))
    assert (verdict.part, verdict.reason, verdict.then) == ("b", "waits", "a")
    assert verdict.expected == pytest.approx(20)


def test_in_a_balanced_pipeline_a_stage_at_its_rate_is_not_told_of_workers() -> None:
    verdict = judge(read(stage(waiting_for_rate=0.8, **HELD), stage("b")))
    assert (verdict.reason, verdict.changes) == ("balanced", ())
    assert verdict.busy == (("a", pytest.approx(1.0)), ("b", pytest.approx(0.99)))


IN_FLIGHT: dict[str, Any] = {"executor": "async", "workers": 20, "times": times((2.0, 100))}


def test_an_event_loop_that_waits_gets_more_places_in_flight() -> None:
    reading = read(stage(computing=0.03, **IN_FLIGHT))
    assert changes(judge(reading)) == [("a", "workers", 20, 80)]
    assert advise(reading).startswith(
        "a limits the run: its 20 places in flight were busy 99% of the time, and wait (3% CPU). workers: 20 -> 80"
    )


def test_more_places_in_flight_bring_no_more_than_the_event_loop_has_time_for() -> None:
    for gil in (True, False):
        verdict = judge(read(stage(computing=0.5, **IN_FLIGHT), cpu_seconds=5, gil=gil))
        assert (verdict.reason, changes(verdict)) == ("waits", [("a", "workers", 20, 40)])
        assert verdict.expected == pytest.approx(20)


def test_an_event_loop_that_computes_is_told_to_have_that_done_elsewhere() -> None:
    for gil in (True, False):
        reading = read(stage(computing=0.97, **IN_FLIGHT), cpu_seconds=9.9, gil=gil)
        verdict = judge(reading)
        assert (verdict.part, verdict.reason, changes(verdict)) == ("a", "computes", [("a", "processes", 0, 4)])
        assert "a limits the run: its event loop computes 97% of the time, and its calls wait for it." in advise(
            reading
        )
        assert "What it computes, in a stage of its own with executor='process', workers=4, or" in advise(reading)


def test_an_event_loop_that_mostly_hands_over_is_told_that() -> None:
    many: dict[str, Any] = dict.fromkeys(("received", "processed", "emitted"), 200_000)
    numbers: dict[str, Any] = {"cpu_seconds": 9.9, "read": 200_000, "delivered": 200_000}
    for gil in (True, False):
        quick = stage(computing=0.97, **IN_FLIGHT | many | {"times": times((0.001, 200_000))})
        assert judge(read(quick, gil=gil, **numbers)).reason == "hand-over"


def test_a_stage_that_most_items_pass_is_judged_by_those_that_it_processes() -> None:
    some: dict[str, Any] = {"processed": 10, "passed": 90, "times": times((1.0, 10))}
    verdict = judge(read(stage(**some), stage("b", busy=0.25)))
    assert (verdict.part, verdict.then, changes(verdict)) == ("a", "b", [("a", "workers", 1, 4)])
    assert (verdict.items_per_second, verdict.expected) == (10, pytest.approx(40))


def test_workers_that_were_replaced_are_named_whatever_limits_the_run() -> None:
    said = advise(read(stage(), stage("b", replaced=1, **IDLE), stage("c", replaced=12, executor="process", **IDLE)))
    assert said.startswith("a limits the run")
    b = "b replaced 1 worker whose calls took longer than its timeout; what was left behind may still run."
    assert said.endswith(f"{b} c replaced 12 workers whose calls took longer than its timeout.")


def test_a_stage_of_child_processes_is_told_as_such() -> None:
    reading = read(stage(executor="process", workers=2, computing=0.97, times=times((0.2, 100))))
    assert changes(judge(reading)) == [("a", "workers", 2, 4)]
    assert advise(reading).startswith(
        "a limits the run: its 2 processes were busy 99% of the time, and compute (96% CPU)"
    )


def test_no_more_computing_workers_than_cores_are_advised() -> None:
    for cores in (1, 2, 3, 8):
        for workers in (1, 2, 4):
            for executor in ("thread", "process"):
                busy: dict[str, Any] = {"computing": 0.9, "executor": executor, "workers": workers}
                reading = read(stage(**busy, times=times((0.1 * workers, 100))), cpu_seconds=9.0 * workers, cores=cores)
                assert all(change.then <= max(cores, workers) for change in judge(reading).changes)


ON_RAY: dict[str, Any] = {"executor": "ray", "workers": 4, "computing": 0.97, "room": 16, "times": times((0.4, 100))}


def test_what_computes_on_a_cluster_gets_actors_up_to_the_cpus_of_that_and_not_of_this_machine() -> None:
    reading = read(stage(**ON_RAY), cores=2, crowded=0.5)
    assert changes(judge(reading)) == [("a", "workers", 4, 16)]
    assert judge(reading).expected == pytest.approx(40)
    assert advise(reading).startswith(
        "a limits the run: its 4 actors were busy 99% of the time, and compute (96% CPU)."
    )
    full = read(stage(**ON_RAY | {"room": 4}), cores=2)
    assert (judge(full).reason, judge(full).changes) == ("room", ())
    assert advise(full).endswith("busy 99% of the time (96% CPU), and the cluster has no room for more.")


def test_what_waits_on_a_cluster_gets_no_more_actors_than_there_is_room_for() -> None:
    reading = read(stage(**ON_RAY | {"computing": 0.02, "room": 6}))
    assert changes(judge(reading)) == [("a", "workers", 4, 6)]


def test_what_a_stage_computes_on_a_cluster_is_not_taken_from_the_cores_of_this_machine() -> None:
    here: dict[str, Any] = {"busy": 0.99, "computing": 0.9}
    alone, beside = (
        judge(read(stage("b", **here), *more, cpu_seconds=9.2, cores=4))
        for more in ((), (stage(**ON_RAY | {"busy": 0.5, "room": 1000}),))
    )
    assert changes(beside) == changes(alone) == [("b", "processes", 0, 4)]


def test_an_event_loop_on_a_cluster_that_computes_is_told_so_and_nothing_of_child_processes() -> None:
    reading = read(stage(**ON_RAY | {"executor": "async", "workers": 100, "room": 400, "computing": 0.95}))
    assert (judge(reading).reason, judge(reading).changes) == ("computes", ())
    assert advise(reading) == "a limits the run: its event loop computes 95% of the time, and its calls wait for it."


def test_the_table_says_where_workers_are() -> None:
    kinds: list[dict[str, Any]] = [{"executor": "ray", "room": 4}, {"executor": "ray", "room": 4, "workers": 1}]
    kinds += [{"executor": "async", "room": 400}, {"executor": "async"}, {"executor": "process"}, {}]
    kinds += [{"executor": "process", "pool": "process"}, {"pool": "thread"}]
    assert [stage(**{"workers": 2} | kind).crew for kind in kinds] == [
        "2 actors",
        "1 actor",
        "2 in flight on Ray",
        "2 in flight",
        "2 processes",
        "2",
        "2 processes in a pool",
        "2 in a pool",
    ]
