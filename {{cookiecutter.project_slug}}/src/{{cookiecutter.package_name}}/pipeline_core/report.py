"""The numbers of a run."""

from dataclasses import dataclass

from .errors import DeadLetter, PipelineError


@dataclass(frozen=True)
class StageReport:
    """One stage. Each item that it received has one of five outcomes. Each outcome is counted; none is computed.

    `received`  items taken in; `processed` of them gave output, `filtered` gave none, `failed` raised (in the last of
                their attempts), `aborted` were in when the run ended, and `passed` by, as the stage's `when` said
    `emitted`   outputs; more than `processed` where a stage yields several for an item
    `retried`   attempts beyond the first
    `replaced`  workers whose call took longer than `timeout`: another worker has taken their place
    `busy`, `waiting_for_input`, `waiting_for_output`, `waiting_for_order`
                shares of its workers' time, from 0 to 1. Busy near 1: this stage limits the pipeline. Waiting for
                output: a later one does. Waiting for input: an earlier one, or the source. Waiting for order: results
                are done, and an item before them is not. Several workers wait for tasks; that time is shared out in
                proportion to what the stage's loop waited for
    `waiting_for_rate`
                share of its workers' time, from 0 to 1, in which calls were held back by `rate_limit` or a RetryAfter
    `rate_limit`, `rate_used`
                calls a second that it may begin, or None; the share of them, from 0 to 1, that it began. Near 1: the rate
                limits the pipeline
    `computing` share of the time in calls that was CPU time: near 1, they compute; near 0, they wait. Of an event loop, the
                share of all its time: near 1, its calls wait for it
    `queued`    items that wait in front of it, and `queue_size` may
    `executor`  "thread", "process", "ray", or "async": then its `workers` are the calls that may be in flight, in one event loop
    `room`      workers that a cluster has room for, if it makes the calls: with CPUs, or what `resources` asks for; else 0
    `pool`      the executor of a sub-task pool, with `workers` of them; else ""
    `seconds`   from `setup` to `teardown`, on average of its workers: what the shares are shares of
    `window`    items, or batches, that it may have in hand
    """

    name: str
    workers: int
    received: int
    emitted: int
    processed: int
    filtered: int
    failed: int
    aborted: int
    retried: int
    busy: float
    waiting_for_input: float
    waiting_for_output: float
    waiting_for_order: float = 0.0
    computing: float = 0.0
    queued: int = 0
    queue_size: int = 1
    executor: str = "thread"
    pool: str = ""
    seconds: float = 0.0
    window: int = 1
    passed: int = 0
    replaced: int = 0
    waiting_for_rate: float = 0.0
    rate_limit: float | None = None
    rate_used: float = 0.0
    room: int = 0


@dataclass(frozen=True)
class PipelineReport:
    """A whole run; while it goes on, its numbers so far.

    `state`          "new", "running", "completed", "stopped" (by `stop()` or a consumer that left) or "failed"
    `seconds`        since the start, or from start to end
    `read`           items that the source gave; `source_failed` of them it could not make, `source_aborted` never reached a stage
    `delivered`      results that the consumer got; `undelivered` ones were on their way when the run ended
    `rejected`       results on which the consumer failed: see `PipelineManager.reject`; they are among the delivered ones
    `skipped`        dead letters; `dead_letters` are the first 1,000 of them
    `error`          what ended the run
    `source_busy`, `consumer_busy`
                     shares of the time, from 0 to 1, in which the source was asked for its next item, and the consumer
                     worked on the last result
    `cpu_seconds`    CPU time of this process since the start of the run
    `serial`         whether it was the plain loop, one item after another
    """

    name: str
    state: str
    seconds: float
    read: int
    source_failed: int
    source_aborted: int
    stages: tuple[StageReport, ...]
    delivered: int
    undelivered: int
    skipped: int
    dead_letters: tuple[DeadLetter, ...]
    error: PipelineError | None
    source_busy: float = 0.0
    consumer_busy: float = 0.0
    cpu_seconds: float = 0.0
    serial: bool = False
    rejected: int = 0

    @property
    def failed(self) -> int:
        """Items that failed, in the source or in any stage, and results on which the consumer failed."""
        return self.source_failed + self.rejected + sum(stage.failed for stage in self.stages)

    @property
    def bottleneck(self) -> StageReport | None:
        """The stage whose workers were busy, or held back by its rate, for the largest share of their time."""
        return max(self.stages, key=lambda stage: stage.busy + stage.waiting_for_rate, default=None)

    def imbalances(self) -> list[str]:
        """The sums that are wrong after the end of a run. If there are any, the core has a bug."""
        found = []
        given, giver = self.read - self.source_failed - self.source_aborted, "the source"
        for stage in self.stages:
            outcomes = stage.processed + stage.filtered + stage.failed + stage.aborted + stage.passed
            if stage.received != given:
                found.append(f"{giver} emitted {given} items, and {stage.name} received {stage.received}")
            if stage.received != outcomes:
                found.append(f"{stage.name} received {stage.received} items and accounts for {outcomes}")
            given, giver = stage.emitted, stage.name
        if given != self.delivered + self.undelivered:
            found.append(f"{giver} emitted {given} items, and {self.delivered} + {self.undelivered} came out")
        return found
