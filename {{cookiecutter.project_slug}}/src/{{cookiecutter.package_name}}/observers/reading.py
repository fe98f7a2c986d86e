"""A run at one moment. All that is shown of a run, and its verdict, comes from one such reading, and so agrees."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..pipeline_core import PipelineReport, StageReport
from .service_times import ServiceTimes

WAITS = ("waiting_for_input", "waiting_for_output", "waiting_for_order", "waiting_for_rate")


@dataclass(frozen=True)
class StageReading(StageReport):
    """A stage: what its StageReport says, and how long its calls took. The shares add up to 1; see Reading."""

    times: ServiceTimes = field(default_factory=ServiceTimes)

    @property
    def cpu(self) -> float:
        """The share of its workers' time in which they computed; in the rest of the busy time they waited.

        Of an event loop, in which calls compute one at a time, the share of its time.
        """
        return self.computing if self.executor == "async" else self.busy * self.computing

    @property
    def p50(self) -> float:
        return self.times.quantile(0.5)

    @property
    def p95(self) -> float:
        return self.times.quantile(0.95)

    @property
    def p99(self) -> float:
        return self.times.quantile(0.99)

    @property
    def crew(self) -> str:
        """How many workers of which kind."""
        kinds = {"process": ("process", "processes"), "ray": ("actor", "actors"), "async": ("in flight", "in flight")}
        kind = kinds.get(self.executor, ("", ""))[self.workers != 1]
        where = "in a pool" if self.pool else "on Ray" if self.room and self.executor == "async" else ""
        return " ".join(filter(None, (str(self.workers), kind, where)))


@dataclass(frozen=True)
class Reading(PipelineReport):
    """A run. Counts are those of the whole run, as in its PipelineReport.

    Shares of the time, `items_per_second` and `cores_used` are about the time in which items flowed: since each stage has
    made its first call. So a model that takes long to load, and the way of the first item, change none of them.

    `items_per_second`  items of the source that the pipeline was done with, also filtered and failed ones
    `cores_used`        CPU seconds of this process for each second
    `crowded`           share of the time in which threads of the run could run, and others had the core; None where the
                        system does not tell
    `cores`, `gil`      CPUs that this process may use; whether one thread at a time runs Python
    `options`           how the command that runs this changes a setting: see Diagnosis
    `whole`             the report of the whole run
    """

    stages: tuple[StageReading, ...]
    items_per_second: float = 0.0
    cores_used: float = 0.0
    crowded: float | None = None
    cores: int = 1
    gil: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    whole: PipelineReport = field(kw_only=True)


def finished(report: PipelineReport | None) -> int:
    """How many of the items read are done with, also filtered and failed ones, but not those that a stop has aborted.

    Behind a stage that yields several outputs for an item, so many together stand for that item.
    """
    if report is None:
        return 0
    inside, outputs = 0.0, 1.0
    for stage in report.stages:
        given = stage.processed + stage.passed
        inside += (stage.queued + stage.received - given - stage.filtered - stage.failed) / outputs
        outputs *= max(1.0, stage.emitted / max(1, given))
    return max(0, int(report.read - report.source_aborted - inside))


def share_between(before: Any, after: Any, name: str) -> float:
    """A share of the time between two reports of one run, or of one stage; `before` may be None: since the start."""
    seconds = after.seconds - (before.seconds if before else 0.0)
    spent = getattr(after, name) * after.seconds - (getattr(before, name) * before.seconds if before else 0.0)
    return min(1.0, max(0.0, spent / seconds)) if seconds > 0 else 0.0


def shares_between(before: StageReport | None, after: StageReport) -> dict[str, float]:
    """What a stage's workers did between two reports. The shares add up to 1, or are all 0 if no worker was there.

    With the share of its rate that the stage used and, of an event loop, the share in which it computed.
    """
    others = ("rate_used", "computing") if after.executor == "async" else ("rate_used",)
    more = {name: share_between(before, after, name) for name in others}
    if after.seconds <= (before.seconds if before else 0.0):
        return dict.fromkeys(("busy", *WAITS), 0.0) | more
    waits = {name: share_between(before, after, name) for name in WAITS}
    together = max(1.0, sum(waits.values()))
    waits = {name: share / together for name, share in waits.items()}
    return {"busy": max(0.0, 1 - sum(waits.values()))} | waits | more
