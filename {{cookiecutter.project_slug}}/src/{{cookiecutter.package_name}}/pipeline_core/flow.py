"""Source, stages and channels of a run, and their accounts: the report while it runs, how they are closed, who is told."""

import logging
from contextlib import suppress
from itertools import pairwise, takewhile
from math import inf
from time import perf_counter, process_time
from typing import Any

from .channel import Channel
from .errors import PipelineError
from .lane import COUNTERS
from .observer import teller
from .plan import Plan
from .report import PipelineReport, StageReport
from .serial import SerialLane
from .source_function import SourceLike, make_source
from .stacks import stacks
from .stage import Stage

logger = logging.getLogger(__name__)


class Flow:
    """What a plan describes, made for one run.

    `outbox`  the channel behind the last stage: results that wait for the consumer
    """

    def __init__(self, plan: Plan, source: SourceLike, *, serial: bool = False) -> None:
        self.plan, self.name, self.serial, self.dead_letters = plan, plan.name, serial, plan.dead_letters
        self.state, self.delivered = "new", 0
        self.completed = self.interrupted = False
        self.error: BaseException | None = None
        self.started = self.ended = self.cpu_started = self.cpu_ended = 0.0
        channels = [Channel[Any](size) for size in (*(spec.queue_size for spec in plan.stages), plan.queue_size)]
        self.source = make_source(source, channels[0], plan.policy("source", plan.on_error))
        self.outbox = channels[-1]
        self.stages: list[Stage] = []
        self.rejected = 0
        for spec, (inbox, outbox) in zip(plan.stages, pairwise(channels), strict=True):
            self.stages.append(Stage(plan, spec, inbox, outbox, self.stages[:]))

    def report(self) -> PipelineReport:
        running, source = self.state == "running", self.source
        seconds = (perf_counter() if running else self.ended) - self.started
        if self.serial:  # Who waits for an item reads it.
            source_busy = source.outbox.reading.seconds()
        else:
            source_busy = (source.ended or self.started + seconds) - self.started - source.outbox.writing.seconds()
        return PipelineReport(
            name=self.name,
            state=self.state,
            seconds=seconds,
            read=source.read,
            source_failed=source.failed,
            source_aborted=source.aborted,
            stages=tuple(map(stage_report, self.stages)),
            delivered=self.delivered,
            undelivered=(self.stages[-1].lane.emitted if self.stages else 0) - self.delivered,
            rejected=self.rejected,
            skipped=self.dead_letters.count,
            dead_letters=tuple(self.dead_letters.kept),
            error=self.error if isinstance(self.error, PipelineError) else None,
            source_busy=share(source_busy, seconds),
            consumer_busy=share(seconds - self.outbox.reading.seconds(), seconds),
            cpu_seconds=(process_time() if running else self.cpu_ended) - self.cpu_started,
            serial=self.serial,
        )

    def origin(self, stage: str, index: int | None) -> int | None:
        """The position of the source's item that this item of a stage, or of the consumer, came from; None if that is not known."""
        if stage != "source":
            for giver in reversed([*takewhile(lambda each: each.name != stage, self.stages)]):
                index = None if index is None else giver.lane.lineage.item_of(index)
            index = None if index is None else self.source.lineage.item_of(index)
        return None if index is None else self.plan.number_of(index)

    def close_accounts(self) -> None:
        """When nobody works any more: find the error that ended the run, and book what is left."""
        for stage in self.stages:
            stage.settle()
        self.error = self._first_error()
        state = "failed" if self.error is not None else "completed" if self.completed else "stopped"
        if state != "completed" and isinstance(self.stages[-1].lane, SerialLane):
            self._balance()
        while self.dead_letters.travelling:  # It did not arrive: its item was still in the pipeline.
            failure, _ = self.dead_letters.travelling.popitem()
            if failure.error.phase == "finish":  # It was no item that the stage received.
                continue
            counts: Any = next((stage.lane for stage in self.stages if stage.name == failure.error.stage), self.source)
            counts.failed, counts.aborted = counts.failed - 1, counts.aborted + 1
        self.outbox.clear()
        self.ended, self.cpu_ended, self.state = perf_counter(), process_time(), state

    def tell_of_the_end(self) -> None:
        """Log what went wrong, and call the observers."""
        with suppress(Exception):  # A log handler that raises must not hide the failure.
            if self.error is not None:
                logger.error("%s: %s", self.name, self.error)
            for imbalance in self.report().imbalances():
                logger.error("%s: the accounts do not balance: %s", self.name, imbalance)
            if (tell := teller(self.plan.observers, "ended")) is not None:
                tell(self.report())

    def look_for_a_stall(self, before: object) -> object:
        """Log the stacks of all workers if the numbers are those of `before`. Returns the numbers of now."""
        report = self.report()
        now = report.read, report.delivered, *((s.received, s.emitted, s.retried) for s in report.stages)
        if now == before:
            found = stacks(self.stages, only_busy=False)
            logger.warning("%s: nothing has moved for %s seconds:\n%s", self.name, self.plan.stall_timeout, found)
        return now

    def _balance(self) -> None:
        """After the plain loop was left early, between any two counts: what was taken was given, the rest is aborted."""
        lanes: list[Any] = [stage.lane for stage in self.stages]
        taken = [*(lane.received for lane in lanes[1:]), self.delivered]
        given = self.source.read - self.source.failed - self.source.aborted
        for lane, number in zip(lanes, taken, strict=True):
            lane.received = max(lane.received, given)
            more = max(0, number - lane.emitted)
            in_hand = lane.received - lane.processed - lane.filtered - lane.failed - lane.passed
            lane.aborted = max(0, in_hand - more)
            lane.processed, lane.surplus = lane.processed + min(in_hand, more), lane.surplus + max(0, more - in_hand)
            given = lane.emitted

    def _first_error(self) -> BaseException | None:
        """An earlier stage's `setup` comes first, then what ended the results, then what ended a stage, then `teardown`."""
        found = [stage.failure for stage in self.stages]
        in_setup = [failure for failure in found if failure is not None and failure.phase == "setup"]
        late = [stage.late for stage in self.stages]
        for error in (*in_setup, self.error, self.outbox.failure, *found, self.source.failure, *late):
            if error is not None:
                return error
        if self.completed and self.dead_letters.too_many(max(1, self.source.read)):
            first = self.dead_letters.kept[0]
            phase = "more items than max_failures"
            return PipelineError(first.stage, phase, first.item, first.index, 1, first.error)
        return None


def share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / max(whole, 1e-9)))


def stage_report(stage: Stage) -> StageReport:
    spec, lane, crew, meters = stage.spec, stage.lane, stage.crew, list(stage.meters)
    present, called = sum(meter.present() for meter in meters) or 1e-9, sum(meter.seconds for meter in meters)
    size, pace = crew.size if crew is not None else len(meters) or 1, stage.policy.pace
    held, seconds = pace.waited, present / size
    waits = [stage.inbox.reading.seconds(), stage.outbox.writing.seconds(), 0.0]
    if isinstance(lane, SerialLane):
        waits[1] = present - called - waits[0] - held
    elif crew is not None:
        # Its workers wait for tasks, and its loop knows what for: their time is divided as its own is.
        waits[2] = crew.ordering.seconds()
        idle, loop = sum(meter.waits.seconds() for meter in meters), sum(waits)
        waits = [idle * share(wait, loop) for wait in waits]
    for_input, for_output, in_order, for_rate = (share(wait, present) for wait in (*waits, held))
    executor = spec.executor if crew is None else crew.executor
    return StageReport(
        spec.name,
        size if meters else spec.workers,
        lane.received,
        lane.emitted,
        **{counter: getattr(lane, counter) for counter in COUNTERS},
        busy=max(0.0, 1 - for_input - for_output - in_order - for_rate)
        if any(meter.since for meter in meters)
        else 0.0,
        waiting_for_input=for_input,
        waiting_for_output=for_output,
        waiting_for_order=in_order,
        waiting_for_rate=for_rate,
        rate_limit=spec.rate_limit,
        rate_used=share(pace.calls, (pace.rate or inf) * seconds),
        computing=share(sum(meter.cpu_seconds for meter in meters), seconds if executor == "async" else called),
        queued=len(stage.inbox),
        queue_size=stage.inbox.capacity,
        executor=executor,
        pool=executor if spec.is_pool else "",
        seconds=seconds,
        replaced=stage.replaced,
        room=stage.room,
        window=1 if crew is None else crew.most,
    )
