"""R15: one stage, any executor. The same results, accounts, dead letters and errors, whatever makes the calls."""

from random import Random
from typing import Any

import pytest
from my_pipeline.pipeline_core import DeadLetter, PipelineError, PipelineManager, PipelineReport

from workers_for_executors import KINDS, TWINS, Expanding, Faults, Faulty, InBatches, Plain, Refused, is_worth_it

HOW: dict[str, Any] = {
    "threads 1": {"workers": 1},
    "threads 3": {"workers": 3},
    "children 1": {"workers": 1, "executor": "process"},
    "children 2": {"workers": 2, "executor": "process"},
}
HOW_ASYNC: dict[str, Any] = {"async 1": {"workers": 1}, "async 5": {"workers": 5}, "async serial": {}}


def two_of_three(item: int) -> bool:
    return item % 3 > 0


def draw_stage(random: Random, seed: int, depth: int) -> tuple[type[Faulty], dict[str, Any]]:
    worker_class = random.choice([Plain, Plain, Expanding, InBatches])
    options: dict[str, Any] = {
        "name": f"s{depth}",
        "worker_args": {"faults": Faults(seed, depth, KINDS[worker_class])},
        "queue_size": random.choice([1, 3, 100]),
        "retries": random.choice([0, 1, 2]),
        "retry_on": random.choice([Exception, Refused, (KeyError, Refused), LookupError, is_worth_it]),
        "backoff": 0.0001,
        "when": random.choice([None, two_of_three]),
        "batch_size": random.choice([1, 2, 5]) if worker_class is InBatches else None,
    }
    return worker_class, options


def draw(seed: int) -> tuple[dict[str, Any], list[tuple[type[Faulty], dict[str, Any]]], int]:
    """What the manager is told, the stages, and how many items there are."""
    random = Random(seed)
    manager: dict[str, Any] = {"on_error": random.choice(["skip", "skip", "stop"])}
    if manager["on_error"] == "skip":
        manager["max_failures"] = random.choice([None, None, 4, 0.5])
    stages = [draw_stage(random, seed, depth) for depth in range(random.choice([1, 2]))]
    return manager, stages, random.choice([0, 1, 7, 40])


def of_error(error: BaseException) -> tuple[str, str]:
    return type(error).__name__, str(error)


def of_letter(letter: DeadLetter) -> Any:
    index = -1 if letter.index is None else letter.index
    return letter.stage, index, repr(letter.item), of_error(letter.error), letter.attempts


def of_report(report: PipelineReport) -> Any:
    """All that is the same whoever works, of a run that is complete."""
    stages = [
        (s.name, s.received, s.processed, s.filtered, s.failed, s.aborted, s.passed, s.emitted, s.retried, s.replaced)
        for s in report.stages
    ]
    return report.state, report.read, report.delivered, stages


def outcome(manager: PipelineManager, source: Any, *, serial: bool = False, ordered: bool = True) -> Any:
    results: list[Any] = []
    raised: PipelineError | None = None
    try:
        results.extend(manager.run(source, serial=serial))
    except PipelineError as error:
        raised = error
    report = manager.report
    assert report.imbalances() == []
    letters = [of_letter(letter) for letter in report.dead_letters]
    if raised is None:
        return sorted(results) if not ordered else results, sorted(letters), of_report(report)
    assert raised.__cause__ is not None
    told = raised.stage, raised.phase, repr(raised.item), raised.index, raised.attempt, of_error(raised.__cause__)
    return results, told, report.state


@pytest.mark.parametrize("seed", range(16))
def test_r15_a_stage_gives_the_same_whatever_its_executor(seed: int) -> None:
    """Under faults drawn at random: of each kind, in each method, and with each way to deal with it."""
    options, stages, number = draw(seed)

    def run(how: dict[str, Any], *, serial: bool = False, asynchronous: bool = False) -> Any:
        manager = PipelineManager(**options)
        for worker_class, arguments in stages:
            manager.add_worker(
                TWINS.get(worker_class, worker_class) if asynchronous else worker_class, **arguments, **how
            )
        return outcome(manager, range(number), serial=serial)

    expected = run({}, serial=True)
    for name, how in HOW.items():
        assert run(how) == expected, f"{name}: {options} {stages}"
    for name, how in HOW_ASYNC.items():
        how = how if all(worker in TWINS for worker, _ in stages) else {}  # The others are in threads.
        found = run(how, serial="serial" in name, asynchronous=True)
        assert found == expected, f"{name}: {options} {stages}"


@pytest.mark.parametrize("worker_class", KINDS)
@pytest.mark.parametrize("how", [*HOW, *HOW_ASYNC])
def test_r15_without_order_it_is_the_same_multiset(how: str, worker_class: type[Faulty]) -> None:
    arguments: dict[str, Any] = {"worker_args": {"faults": Faults(99, 0, KINDS[worker_class])}, "name": "s0"}
    arguments |= {"retries": 1, "backoff": 0.0001, "batch_size": 4 if worker_class is InBatches else None}
    expected = outcome(
        PipelineManager(on_error="skip").add_worker(worker_class, **arguments), range(60), serial=True, ordered=False
    )
    in_loop = how in HOW_ASYNC
    if in_loop and worker_class not in TWINS:
        pytest.skip("process_batch cannot be async")
    manager = PipelineManager(on_error="skip", ordered=False)
    manager.add_worker(TWINS[worker_class] if in_loop else worker_class, **arguments, **(HOW | HOW_ASYNC)[how])
    assert outcome(manager, range(60), serial="serial" in how, ordered=False) == expected
