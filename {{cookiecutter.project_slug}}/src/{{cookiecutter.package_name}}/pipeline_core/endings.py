"""What the workers of a stage still give when the stream has ended in order."""

from collections.abc import Callable, Generator
from math import inf
from typing import Any

from .channel import Channel
from .errors import FailedItem, Failure, Raised, tried
from .policy import NOTHING, Policy

Outputs = Generator[Any, None, None]
Owner = Any  # The Stage. Its module imports this one.


def has_ended_in_order(stage: Owner) -> bool:
    inbox, crew = stage.inbox, stage.crew
    complete = inbox.closed and not inbox.cancelled if crew is None else crew.complete
    failed = inbox.failure is not None and inbox.failure.phase != "teardown"  # Which comes after all items.
    return complete and not failed and not stage.outbox.closed and not stage.policy.stop_event.is_set()


def endings(stage: Owner) -> Outputs:
    """What each worker gives, one after the other. The loop of the stage hands it on, and counts."""
    if stage.crew is None or stage.crew.pooled:
        given = [ending(stage.policy, worker.finish) for worker in stage.workers]
    else:
        given = [_rest(channel) for channel in stage.crew.endings]
    stage.lane.lineage.note(stage.lane.emitted, inf)
    for outputs in given:
        for output in outputs:
            if type(output) is Failure:
                stage.lane.announce()
            yield output
            stage.lane.surplus += type(output) is not Failure
            del output


def ending(policy: Policy, finish: Callable[[], Any]) -> Outputs:
    """What a worker gives. Raises the PipelineError that ends the run."""
    outputs, output = tried(_begun, finish), None
    try:
        while type(outputs) is not Raised and (output := tried(next, outputs, NOTHING)) is not NOTHING:
            if type(output) is Raised:
                outputs, output = output, None
            elif type(output) is FailedItem:
                output = policy.judge(Failure(policy.blame(output.error, "finish", output.item)))
            if output is not None:
                yield output
            output = None
        if type(outputs) is Raised:
            raise policy.blame(outputs.take(), "finish")
    finally:
        outputs = output = None  # The traceback of an error refers to this frame.


def _begun(finish: Callable[[], Any]) -> Any:
    outputs = finish()
    return iter(() if outputs is None else outputs)


def _rest(channel: Channel[Any]) -> Outputs:
    """What comes out of a channel until its end."""
    while type(output := tried(channel.get)) is not Raised:
        yield output
        del output
    del output
    if channel.failure is not None:
        raise channel.failure
