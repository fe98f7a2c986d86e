"""Watches a run, so that there is something to show of it, and a verdict: attach it before the start."""

from collections.abc import Mapping
from threading import Lock

from ..pipeline_core import Observer, PipelineManager, PipelineReport
from ..pipeline_core.machine import cores, has_gil
from .reading import Reading, StageReading, finished, share_between, shares_between
from .run_queue import RunQueue
from .service_times import Calls


class Diagnosis(Observer):
    """Watches a pipeline from now on, which is before the run. Any thread may ask for a `reading`.

    `options`  for texts: how the user changes "workers" and "queue_size" without an edit of pipeline.py, such as
               "--workers {part}={then}", and the command "profile", which tries numbers of workers
    """

    def __init__(self, pipeline: PipelineManager, options: Mapping[str, str] | None = None) -> None:
        self.pipeline, self.options = pipeline, dict(options or {})
        self._run_queue = RunQueue()
        self._lock = Lock()  # Guards what the next two become.
        self._calls: dict[str, Calls] = {}  # Of each stage that has made a call.
        self._flowing: PipelineReport | None = None  # The report when the last stage made its first call.
        self._final: Reading | None = None
        pipeline.observe(self)

    def called(
        self, stage: str, index: int | None, start: float, seconds: float, cpu_seconds: float, calls: int, items: int
    ) -> None:
        if stage not in self._calls:
            with self._lock:
                self._calls.setdefault(stage, Calls())
                self._flowing = self.pipeline.report
        self._calls[stage].add(start, seconds, calls, items)
        self._run_queue.look(start + seconds)

    def ended(self, report: PipelineReport) -> None:
        self._final = self._read(report)

    def reading(self) -> Reading:
        """The run as of now; after its end, always the same."""
        return self._final or self._read(self.pipeline.report)

    def _read(self, report: PipelineReport) -> Reading:
        before = self._flowing
        if finished(report) < finished(before) + 2:  # That time is too short to say anything.
            before = None
        seconds = report.seconds - (before.seconds if before else 0.0)
        per_second = 1 / seconds if seconds > 0 else 0.0
        stages = []
        for position, stage in enumerate(report.stages):
            calls, old = self._calls.get(stage.name, Calls()), before.stages[position] if before else None
            shares = shares_between(old if old and old.seconds < stage.seconds else None, stage)
            stages.append(StageReading(**vars(stage) | shares, times=calls.times()))
        shares = {name: share_between(before, report, name) for name in ("source_busy", "consumer_busy")}
        return Reading(
            **vars(report) | shares | {"stages": tuple(stages)},
            items_per_second=(finished(report) - finished(before)) * per_second,
            cores_used=(report.cpu_seconds - (before.cpu_seconds if before else 0.0)) * per_second,
            crowded=self._run_queue.share,
            cores=cores(),
            gil=has_gil(),
            options=self.options,
            whole=report,
        )
