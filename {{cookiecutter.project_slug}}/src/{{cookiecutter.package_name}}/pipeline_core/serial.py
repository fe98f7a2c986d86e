"""The plain loop: every stage in the caller's thread, one item after the other. For a debugger, and as the model."""

from collections.abc import Generator
from typing import Any

from .base_worker import BaseWorker
from .errors import PipelineError
from .policy import ABORTED, Expansion, Failure
from .stage import Stage


def serial_stage(stage: Stage, upstream: Generator[Any, None, None]) -> Generator[Any, None, None]:
    """The outputs of a stage for what `upstream` gives. Raises the PipelineError that ends the run, in its place."""
    worker = stage.workers[0]
    port = worker._port
    in_hand = 0
    failure = stage.call(worker, "setup")
    try:
        more = failure is None
        while more:
            items: list[Any] = []
            try:
                while len(items) < (worker._batch_size or 1):
                    items.append(next(upstream))
                    port.received += 1
                    port.ticket += 1
            except StopIteration:
                more = False
            except PipelineError as error:
                more, failure = False, error
            in_hand = len(items)
            for outcome in worker._outcomes(items, port):
                in_hand -= 1
                yield from _outputs(worker, outcome)
                if port.failure is not None:
                    more = False
                    break
            outcome = None  # While upstream works, the last one can go.
    finally:
        upstream.close()
        port.count("aborted", in_hand)
        late_failure = stage.call(worker, "teardown")
    failure = port.failure or failure or late_failure
    if failure is not None:
        raise failure


def _outputs(worker: BaseWorker[Any, Any], outcome: Any) -> Generator[Any, None, None]:
    """What an outcome gives, counted as a port counts it."""
    port = worker._port
    if type(outcome) is Expansion:
        try:
            for output in outcome:
                if output is not None:
                    port.emitted += 1
                    yield output
                elif worker.stop_event.is_set():
                    break
        except BaseException:
            port.count("aborted")
            raise
        finally:
            outcome.close()
        if outcome.failure is None:
            port.count("filtered" if outcome.empty else "processed")
            return
        outcome = Failure(outcome.failure)
    if type(outcome) is Failure:
        port.count("failed")
        failure = worker._policy.judge(outcome.error)
        if failure is not None:
            port.end(failure)
    elif outcome is None:
        port.count("filtered")
    elif outcome is ABORTED:
        port.count("aborted")
    else:
        port.count("processed")
        port.emitted += 1
        yield outcome


def close_accounts(stages: list[Stage], given: int) -> None:
    """After Ctrl-C, which may strike between any two counts: what was given to a stage and is nowhere was aborted."""
    for stage in stages:
        port = stage.workers[0]._port
        port.received = given
        port.aborted = given - port.processed - port.filtered - port.failed
        given = port.emitted
