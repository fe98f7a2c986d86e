"""What monitoring is told of a run: a table of instruments, and how each is read from the run's report."""

from collections.abc import Iterator
from threading import Lock
from typing import NamedTuple

from ..pipeline_core import PipelineReport, StageReport


class Instrument(NamedTuple):
    """One number of each stage, if its name begins with `pipeline.stage.`, or else of the whole run.

    `attribute`  of a StageReport, or of the PipelineReport
    `unit`       "1" for a share from 0 to 1; what stands in braces is counted
    `total`      whether it counts from the start of the run, and only grows
    """

    name: str
    attribute: str
    unit: str
    description: str
    total: bool = False

    @property
    def labels(self) -> list[str]:
        return ["pipeline", "stage"] if self.name.startswith("pipeline.stage.") else ["pipeline"]


INSTRUMENTS = (
    Instrument("pipeline.stage.items.received", "received", "{item}", "Items that the stage took in", total=True),
    Instrument("pipeline.stage.items.emitted", "emitted", "{item}", "Outputs of the stage", total=True),
    Instrument("pipeline.stage.items.processed", "processed", "{item}", "Items that gave output", total=True),
    Instrument("pipeline.stage.items.filtered", "filtered", "{item}", "Items that gave no output", total=True),
    Instrument("pipeline.stage.items.failed", "failed", "{item}", "Items whose last attempt failed", total=True),
    Instrument("pipeline.stage.items.aborted", "aborted", "{item}", "Items in it when the run ended", total=True),
    Instrument("pipeline.stage.items.retried", "retried", "{attempt}", "Attempts beyond an item's first", total=True),
    Instrument("pipeline.stage.queued", "queued", "{item}", "Items that wait in front of the stage"),
    Instrument("pipeline.stage.queue_size", "queue_size", "{item}", "Items that may wait in front of the stage"),
    Instrument("pipeline.stage.workers", "workers", "{worker}", "Workers of the stage"),
    Instrument("pipeline.stage.busy", "busy", "1", "Share of the workers' time since the start: at work"),
    Instrument("pipeline.stage.waiting_for_input", "waiting_for_input", "1", "The same: without an item"),
    Instrument("pipeline.stage.waiting_for_output", "waiting_for_output", "1", "The same: for a slower stage behind"),
    Instrument("pipeline.stage.waiting_for_order", "waiting_for_order", "1", "The same: for an item in front"),
    Instrument("pipeline.stage.computing", "computing", "1", "Share of the busy time that was CPU time"),
    Instrument("pipeline.items.read", "read", "{item}", "Items that the source gave", total=True),
    Instrument("pipeline.items.delivered", "delivered", "{item}", "Results that the consumer got", total=True),
    Instrument("pipeline.items.failed", "failed", "{item}", "Items that failed, in the source or a stage", total=True),
    Instrument("pipeline.source.busy", "source_busy", "1", "Share of the time in which the source made an item"),
    Instrument("pipeline.consumer.busy", "consumer_busy", "1", "Share of the time in which the consumer was at work"),
)


class Readings:
    """Reads the numbers of one run, each with its labels. Any thread may.

    Totals never go back, since monitoring takes a smaller one for a restart. So an item whose result a stop has dropped
    may count as processed and as aborted, where the report counts it once.
    """

    def __init__(self) -> None:
        self._highest: dict[tuple[str, str], float] = {}
        self._lock = Lock()

    def read(self, instrument: Instrument, report: PipelineReport) -> Iterator[tuple[dict[str, str], float]]:
        labels = {"pipeline": report.name}
        if "stage" in instrument.labels:
            for stage in report.stages:
                yield labels | {"stage": stage.name}, self._number(instrument, stage)
        else:
            yield labels, self._number(instrument, report)

    def _number(self, instrument: Instrument, report: StageReport | PipelineReport) -> float:
        number: float = getattr(report, instrument.attribute)
        if not instrument.total:
            return number
        with self._lock:
            key = instrument.name, report.name
            self._highest[key] = max(number, self._highest.get(key, 0))
            return self._highest[key]
