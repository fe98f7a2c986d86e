"""How a run went over time: its numbers, sampled now and then."""

from dataclasses import dataclass
from threading import Event, Thread
from types import TracebackType

from ..pipeline_core import PipelineManager, StageReport

MOST = 1001  # Samples kept, so a run of days has a point every few minutes. Odd: thinned out, the last one stays.


@dataclass(frozen=True)
class StageSample:
    """A stage at one moment: what a StageReport says under the same names."""

    received: int
    emitted: int
    failed: int
    queued: int
    queue_size: int
    busy: float

    @classmethod
    def of(cls, stage: StageReport) -> "StageSample":
        return cls(stage.received, stage.emitted, stage.failed, stage.queued, stage.queue_size, stage.busy)


@dataclass(frozen=True)
class Sample:
    """A run at one moment, `seconds` after its start. Counts are since the start, as is the share `busy`."""

    seconds: float
    read: int
    delivered: int
    stages: tuple[StageSample, ...]


class History:
    """Samples the report of a run, from a thread of its own, while its `with` block lasts.

    `interval`  seconds between two samples; doubles whenever MOST of them are kept, and every second one is dropped
    """

    def __init__(self, pipeline: PipelineManager, interval: float = 0.25) -> None:
        self.interval = interval
        self._pipeline = pipeline
        self._samples: list[Sample] = []
        self._ended = Event()
        self._thread = Thread(target=self._watch, name=f"{pipeline.name}-history", daemon=True)

    @property
    def samples(self) -> list[Sample]:
        """Up to now; after the `with` block the last one is the end of the run. Any thread may ask."""
        return list(self._samples)

    def __enter__(self) -> "History":
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
        self._sample()

    def _watch(self) -> None:
        while not self._ended.wait(self.interval):
            self._sample()

    def _sample(self) -> None:
        report = self._pipeline.report
        sample = Sample(report.seconds, report.read, report.delivered, tuple(map(StageSample.of, report.stages)))
        kept = self._samples
        if kept and kept[-1].seconds == sample.seconds:  # Before the start, or after the end: time stands still.
            kept = kept[:-1]
        kept = [*kept, sample]
        if len(kept) == MOST:
            kept = kept[::2]
            self.interval *= 2
        self._samples = kept  # In one go, for those who read meanwhile.
