"""R1, and with it R2, R3, R6 and R10: random pipelines against the plain loop, with jitter at every hand-over."""

import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from my_pipeline.pipeline_core import PipelineError, PipelineReport, SubTaskPoolWorker

from jitter import jitter
from model import (
    ALWAYS,
    Case,
    Fates,
    Injected,
    InjectedBase,
    Item,
    Log,
    PlainLoop,
    StageCase,
    bound,
    build,
    source,
)
from watch import eventually, watched

pytestmark = pytest.mark.usefixtures("fast_switches")

EXAMPLES = int(os.environ.get("STRESS_EXAMPLES", "2000"))
EXAMPLE_SECONDS = float(os.environ.get("STRESS_EXAMPLE_SECONDS", "60"))


def examples(share: float) -> settings:
    return settings(
        max_examples=max(1, int(EXAMPLES * share)),
        deadline=None,
        database=None,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )


KINDS: list[Any] = ["ok", "ok", "filter", "expand", "batch"]
KINDS += ["pool"] if SubTaskPoolWorker.__module__ != "no_pool" else []
SIZES = st.sampled_from([1, 1, 2, 3, 4, 5, 100])
BAD = st.just(frozenset[int]()) | st.frozensets(st.integers(0, 30), max_size=4)


@st.composite
def stage_cases(draw: st.DrawFn) -> StageCase:
    return StageCase(
        kind=draw(st.sampled_from(KINDS)),
        workers=draw(st.integers(1, 5)),
        queue_size=draw(SIZES),
        skip=draw(st.booleans()),
        retries=draw(st.sampled_from([0, 0, 1, 2])),
        bad=draw(BAD),
        fails=draw(st.sampled_from([ALWAYS, 1, 2])),
        error=draw(st.sampled_from(["error", "error", "error", "exit", "base"])),
        after=draw(st.integers(0, 2)),
        where=draw(st.sampled_from(["split", "process_sub_task", "merge"])),
        window=draw(st.integers(1, 4)),
        sub_workers=draw(st.integers(1, 3)),
        batch_size=draw(st.integers(1, 6)),
        batch_timeout=draw(st.sampled_from([None, 0.0005, 0.01])),
        slow=draw(st.booleans()),
        asynchronous=draw(st.sampled_from([False, False, True])),
        when=draw(st.sampled_from([False, False, True])),
        totals=draw(st.sampled_from([0, 0, 0, 2])),
        limited=draw(st.sampled_from([False, False, True])),
        worth=draw(st.sampled_from([True, True, False])),
    )


@st.composite
def cases(draw: st.DrawFn, /, **fixed: Any) -> Case:
    wishes: dict[str, Any] = {
        "stages": tuple(draw(st.lists(stage_cases(), min_size=1, max_size=4))),
        "items": draw(st.sampled_from([0, 1, 2, 5, 12, 30, 30])),
        "source_raises": draw(st.sampled_from([False, False, False, True])),
        "source_slow": draw(st.sampled_from([False, False, True])),
        "ordered": True,
        "queue_size": draw(SIZES),
        "seed": draw(st.integers(0, 2**16)),
    }
    return Case(**(wishes | {name: draw(value) for name, value in fixed.items()}))


@dataclass
class Outcome:
    report: PipelineReport
    log: Log
    results: list[Item] = field(default_factory=list)
    failure: PipelineError | None = None
    in_flight: int = 0


def run(case: Case) -> Outcome:
    manager, log = build(case)
    outcome = Outcome(manager.report, log)
    results = outcome.results
    if case.end == "stop from a stage":
        log.stop_at = case.at
    act = {"stop": manager.stop, "drain": lambda: manager.stop(drain=True)}.get(case.end)
    iterator = manager.run(source(case, log), serial=case.serial)

    def stop_later() -> None:
        time.sleep(case.at * 0.0005)
        manager.stop()

    stopper = threading.Thread(target=stop_later)
    if case.end == "stop from a thread":
        stopper.start()
    if act is not None and case.at == 0:
        act()
    try:
        for result in iterator:
            outcome.in_flight = max(outcome.in_flight, log.read - len(results))
            results.append(result)
            if len(results) == case.at and act is not None:
                act()
            if len(results) >= case.at and case.end == "leave":
                iterator.close()
                break
    except PipelineError as error:
        outcome.failure = error
    finally:
        if stopper.ident is not None:
            stopper.join()
    eventually(lambda: log.source_ended or not log.source_began)
    outcome.report = manager.report
    return outcome


def check(case: Case) -> None:
    """Run the case, and compare with what the plain loop says."""
    with watched(case, seconds=EXAMPLE_SECONDS):
        with jitter(case.seed):
            outcome = run(case)
        check_accounts(case, outcome)
        if case.end == "exhaust":
            check_whole(case, outcome)
        else:
            check_part(case, outcome)


def check_accounts(case: Case, outcome: Outcome) -> None:
    report, log = outcome.report, outcome.log
    assert report.imbalances() == [], (case, report)
    assert report.delivered == len(outcome.results), (case, report)
    assert log.source_ended or not log.source_began, f"R6: the source's finally did not run: {case}"
    assert sorted(log.setups) == sorted(log.teardowns), f"R10: {case} {log.setups} {log.teardowns}"
    assert len(log.setups) == len(set(log.setups)), f"R10: {case} {log.setups}"
    assert not log.strangers, f"R10: called in another thread: {case} {log.strangers}"
    assert (report.error is None) == (outcome.failure is None) or case.end == "leave", (case, report)
    assert all(stage.replaced == 0 for stage in report.stages), (case, report)
    if all(stage.kind in ("ok", "pool", "batch") and not stage.skip for stage in case.stages):
        assert outcome.in_flight <= bound(case), f"R2: {outcome.in_flight} in flight, bound {bound(case)}: {case}"
    if outcome.failure is not None:
        assert isinstance(outcome.failure.__cause__, (Injected, InjectedBase, SystemExit)), (case, outcome.failure)


def check_whole(case: Case, outcome: Outcome) -> None:
    """Nobody stopped it: all the plain loop's results, and its error."""
    report, results = outcome.report, outcome.results
    loop = PlainLoop(case)
    failure = outcome.failure and (outcome.failure.stage, outcome.failure.phase)
    setup = [f"s{depth}" for depth, stage in enumerate(case.stages) if stage.setup_fails]
    teardown = [f"s{depth}" for depth, stage in enumerate(case.stages) if stage.teardown_fails]
    if setup:
        assert (results, failure) == ([], (setup[0], "setup")), (case, results, failure)
        return
    expected = loop.failure or ((teardown[0], "teardown") if teardown else None)
    if case.ordered:
        assert results == loop.results, f"R1: {case}\n{results}\n{loop.results}"
        assert failure == expected, f"R1: {case}: {failure}, not {expected}"
    elif loop.failure is None:
        assert Counter(results) == Counter(loop.results), f"R1: {case}\n{results}\n{loop.results}"
        assert failure == expected, f"R1: {case}: {failure}, not {expected}"
    else:
        assert Counter(results) <= Counter(in_spite_of_all(case)), f"R1: {case}\n{results}"
        assert failure is not None, f"R6: {case}"
    assert report.state == ("failed" if expected else "completed"), (case, report)
    if loop.failure is None:
        assert report.undelivered == 0, (case, report)
        found = [Fates(s.received, s.processed, s.filtered, s.failed, s.retried, s.passed) for s in report.stages]
        assert found == loop.fates, f"R3: {case}\n{found}\n{loop.fates}"
        assert all(stage.aborted == 0 for stage in report.stages), (case, report)


def in_spite_of_all(case: Case) -> list[Item]:
    """The results if no failure ended the run."""
    stages = tuple(replace(stage, skip=True, error="error") for stage in case.stages)
    return PlainLoop(replace(case, stages=stages, source_raises=False)).results


def check_part(case: Case, outcome: Outcome) -> None:
    """Somebody stopped it: a part of the plain loop's results, and perhaps its error."""
    report, results = outcome.report, outcome.results
    if case.end == "drain":
        source_raised = report.error is not None and report.error.stage == "source"
        case = replace(case, items=report.read - report.source_aborted, source_raises=source_raised)
    loop = PlainLoop(case)
    if case.source_raises and len(results) > len(
        loop.results
    ):  # A drain had ended the stream before the source raised.
        loop = PlainLoop(replace(case, source_raises=False))
    whole = loop.results if case.ordered else in_spite_of_all(case)
    if case.ordered:
        assert results == whole[: len(results)], f"R1: {case}\n{results}\n{whole}"
    else:
        assert Counter(results) <= Counter(whole), f"R1: {case}\n{results}\n{whole}"
    if case.end in ("stop", "leave"):
        assert len(results) <= max(case.at, case.end == "leave"), f"R7: results after the stop: {case} {results}"
    if case.end == "drain" and loop.failure in (None, ("source", "read")):
        assert len(results) == len(loop.results), f"R7: not drained: {case}\n{results}\n{loop.results}"
        assert report.state in ("completed", "failed"), (case, report)


ENDS = st.sampled_from(["stop", "drain", "leave", "stop from a thread", "stop from a stage"])


@examples(0.35)
@given(cases())
def test_r1_ordered_is_the_plain_loop(case: Case) -> None:
    check(case)


@examples(0.15)
@given(cases(ordered=st.just(False)))
def test_r1_unordered_gives_the_same_multiset(case: Case) -> None:
    check(case)


@examples(0.3)
@given(cases(ordered=st.booleans(), end=ENDS, at=st.integers(0, 12)))
@example(Case((StageCase(),), end="leave", at=1))
@example(Case((StageCase(queue_size=1), StageCase(queue_size=1)), queue_size=1, end="drain", at=1))
def test_r6_ended_early_it_gives_a_part(case: Case) -> None:
    check(case)


@examples(0.1)
@given(cases(serial=st.just(True), end=st.just("exhaust") | ENDS, at=st.integers(0, 12)))
def test_r1_serial_is_the_plain_loop(case: Case) -> None:
    check(case)


@examples(0.1)
@given(cases(serial=st.booleans()), st.integers(0, 3), st.sampled_from(["setup_fails", "teardown_fails", "both"]))
def test_r10_setup_and_teardown_that_raise(case: Case, which: int, what: str) -> None:
    which %= len(case.stages)
    faults: dict[str, Any] = {name: True for name in ("setup_fails", "teardown_fails") if what in (name, "both")}
    stages = tuple(replace(stage, **faults) if at == which else stage for at, stage in enumerate(case.stages))
    check(replace(case, stages=stages))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("kind", ["ok", "batch", "pool"])
def test_r2_a_slow_consumer_holds_the_source_back(kind: Any, workers: int, ordered: bool) -> None:
    """All full, and nobody takes: no more is read than the bound says. The formula is `model.bound`."""
    for size in (1, 3):
        stages = (StageCase(kind=kind, workers=workers, queue_size=size),) * 2
        case = Case(stages, items=10**9, ordered=ordered, queue_size=size)
        manager, log = build(case)
        iterator = manager.run(source(case, log))
        for _ in range(5):
            next(iterator)
        last = -1
        while last != log.read:
            last = log.read
            time.sleep(0.1)
        assert log.read - 5 <= bound(case)
        iterator.close()
        assert manager.report.imbalances() == []
