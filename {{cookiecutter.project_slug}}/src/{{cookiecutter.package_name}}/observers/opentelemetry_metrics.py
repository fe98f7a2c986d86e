"""The numbers of a run for OpenTelemetry, whose SDK reads and exports them."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from ..pipeline_core import PipelineManager
from .instruments import INSTRUMENTS, Instrument, Readings

logger = logging.getLogger(__name__)

Callback = Callable[[CallbackOptions], Iterator[Observation]]


class OpenTelemetryMetrics:
    """Around a run: `pipeline.report` behind observable instruments, read whenever the SDK collects.

    `meter_provider`  as it stands the global one, be it set before or after; without an SDK, that does nothing

    On exit the last numbers are flushed, which may take as long as the SDK waits for a collector that is away, and
    from then on there are none.
    """

    def __init__(self, pipeline: PipelineManager, meter_provider: MeterProvider | None = None) -> None:
        self._pipeline, self._provider, self._readings = pipeline, meter_provider, Readings()

    def __enter__(self) -> "OpenTelemetryMetrics":
        self._observed = _observed(self._provider)
        self._observed.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        flush = getattr(self._provider or metrics.get_meter_provider(), "force_flush", None)
        try:
            if flush is not None:
                flush()
        except Exception:
            logger.warning("the last numbers did not go out", exc_info=True)
        finally:
            self._observed.remove(self)

    def observe(self, instrument: Instrument) -> Iterator[Observation]:
        for labels, number in self._readings.read(instrument, self._pipeline.report):
            yield Observation(number, labels)

    def observe_service_times(self) -> Iterator[Observation]:
        report = self._pipeline.report
        for stage in report.stages:
            for quantile, seconds in (("0.5", stage.p50), ("0.95", stage.p95), ("0.99", stage.p99)):
                labels = {"pipeline": report.name, "stage": stage.name, "quantile": quantile}
                yield Observation(seconds, labels)


def observer(pipeline: PipelineManager) -> AbstractContextManager[object]:
    """The metrics on the global meter provider, which `opentelemetry-instrument` makes from the OTEL_ variables."""
    return OpenTelemetryMetrics(pipeline)


# An SDK keeps an instrument for good, and ignores a second one of its name: so each provider gets one set, and whoever
# observes a run joins the list that the set reads. The module `metrics` stands for the global provider.
_lists: WeakKeyDictionary[Any, list[OpenTelemetryMetrics]] = WeakKeyDictionary()
_lock = Lock()


def _observed(provider: MeterProvider | None) -> list[OpenTelemetryMetrics]:
    key = metrics if provider is None or provider is metrics.get_meter_provider() else provider
    with _lock:
        if key not in _lists:
            _lists[key] = []
            _make_instruments(metrics.get_meter(__name__, meter_provider=provider), _lists[key])
        return _lists[key]


def _make_instruments(meter: metrics.Meter, observed: list[OpenTelemetryMetrics]) -> None:
    def callback(instrument: Instrument) -> Callback:
        return lambda _: (number for one in list(observed) for number in one.observe(instrument))

    for instrument in INSTRUMENTS:
        make = meter.create_observable_counter if instrument.total else meter.create_observable_gauge
        make(instrument.name, [callback(instrument)], instrument.unit, instrument.description)
    meter.create_observable_gauge(
        "pipeline.stage.service_time",
        [lambda _: (number for one in list(observed) for number in one.observe_service_times())],
        "s",
        "Quantiles of how long calls took",
    )
