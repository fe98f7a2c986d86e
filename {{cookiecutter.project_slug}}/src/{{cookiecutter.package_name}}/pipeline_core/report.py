"""What a run did, in numbers that add up."""

from dataclasses import dataclass

from .clocks import Histogram, quantile
from .errors import DeadLetter, PipelineError
from .verdict import Verdict, judge


@dataclass(frozen=True)
class StageReport:
    """One stage. The four fates of an item are counted apart, each by whoever let go of it; none is computed.

    `received`  items taken in; `processed` of them gave output, `filtered` gave none, `failed` raised (in the last of
                their attempts), and `aborted` were in when the run ended
    `emitted`   outputs; more than `processed` where a stage yields several for an item
    `retried`   attempts beyond the first
    `busy`, `waiting_for_input`, `waiting_for_output`, `waiting_for_order`
                shares of its workers' time, from 0 to 1. Busy near 1: this stage limits the pipeline. Waiting for
                output: a later one does. Waiting for input: an earlier one, or the source. Waiting for order: results
                are done, and an item in front of them is not. Of a sub-task pool, `busy` is about those who do sub-tasks
    `computing` share of the busy time that was CPU time of the stage's threads, or of its child processes: near 1, it
                computes; near 0, it waits
    `service_times`
                how long calls took: pairs of seconds and a number of calls; of one call, of an item's part of a batch, of
                each output of a generator. `p50`, `p95`, `p99` are its quantiles, in seconds
    `queued`    items that wait in front of it, and `queue_size` may
    `pool`      "thread" or "process": it is a sub-task pool with `workers` of them; else ""
    `seconds`   from `setup` to `teardown`, on average of its workers: what the shares are shares of
    `window`    results that may wait for the order; of a sub-task pool, items that it may have in hand
    `setup_cpu_seconds`
                CPU time of its workers in their `setup`
    `first_wait`
                seconds that it waited for its first item, on average of its workers
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
    service_times: Histogram = ()
    queued: int = 0
    queue_size: int = 1
    pool: str = ""
    seconds: float = 0.0
    window: int = 0
    setup_cpu_seconds: float = 0.0
    first_wait: float = 0.0

    @property
    def p50(self) -> float:
        return quantile(self.service_times, 0.5)

    @property
    def p95(self) -> float:
        return quantile(self.service_times, 0.95)

    @property
    def p99(self) -> float:
        return quantile(self.service_times, 0.99)


@dataclass(frozen=True)
class PipelineReport:
    """A whole run; while it runs, a glance at it.

    `state`          "new", "running", "completed", "stopped" (by `stop()` or a consumer that left) or "failed"
    `seconds`        since the start, or from start to end
    `read`           items that the source gave; `source_failed` of them it could not make, `source_aborted` never got in
    `delivered`      results that the consumer got; `undelivered` ones were on their way when the run ended
    `dead_letters`   the first items that were given up; `skipped` says how many there were
    `error`          what ended the run
    `source_busy`, `consumer_busy`
                     shares of the time, from 0 to 1, in which the source was asked for its next item, and the consumer
                     did something with the last one
    `cpu_seconds`    CPU time of the whole process since the start of the run, without its child processes
    `first_wait`     seconds until the consumer had its first result
    `cores`          CPUs that the process may use
    `gil`            whether only one thread at a time runs Python code
    `serial`         whether it was the plain loop, one item after the other
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
    first_wait: float = 0.0
    cores: int = 1
    gil: bool = True
    serial: bool = False

    @property
    def failed(self) -> int:
        """Items that failed, in the source or in any stage."""
        return self.source_failed + sum(stage.failed for stage in self.stages)

    @property
    def bottleneck(self) -> StageReport | None:
        """The stage whose workers were busy for the largest share of their time."""
        return max(self.stages, key=lambda stage: stage.busy, default=None)

    @property
    def verdict(self) -> Verdict:
        """What limits the run, what to change, and what that should bring: `print(report.verdict)`."""
        return judge(self)

    def imbalances(self) -> list[str]:
        """The sums that do not come out, of a run that has ended. Not empty: a bug in the pipeline's core."""
        found = []
        given, giver = self.read - self.source_failed - self.source_aborted, "the source"
        for stage in self.stages:
            fates = stage.processed + stage.filtered + stage.failed + stage.aborted
            if stage.received != given:
                found.append(f"{giver} emitted {given} items, and {stage.name} received {stage.received}")
            if stage.received != fates:
                found.append(f"{stage.name} received {stage.received} items and accounts for {fates}")
            given, giver = stage.emitted, stage.name
        if given != self.delivered + self.undelivered:
            found.append(f"{giver} emitted {given} items, and {self.delivered} + {self.undelivered} came out")
        return found
