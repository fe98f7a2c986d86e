"""The numbers of a run for Prometheus, which scrapes them over HTTP."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from math import inf

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from ..pipeline_core import PipelineManager, StageReport
from .instruments import INSTRUMENTS, Instrument, Readings

BOUNDS = (*(float(f"{digits}e{power}") for power in range(-5, 2) for digits in (1, 2.5, 5)), 100.0, inf)  # seconds


class PrometheusMetrics(Collector):
    """Around a run: `pipeline.report` in a registry of prometheus_client, read whenever that is scraped.

    `port`      serve the registry there, at `/metrics`; 0 takes any free port, and the attribute `port` then says
                which. None: no server, since the registry is served already
    `host`      the address to listen on; as it stands, on all of the machine
    `registry`  as it stands the global one, which has numbers of the process, too, and what you may have put there. Two
                pipelines at the same time need one each, or the second raises ValueError

    On exit the server and the numbers are gone: what happened after the last scrape, nobody sees. The server looks for
    its end every half second, so the exit may take that long. Raises OSError for a port that is taken.
    """

    def __init__(
        self,
        pipeline: PipelineManager,
        *,
        port: int | None = None,
        host: str = "0.0.0.0",
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self.port, self.host, self.registry = port, host, registry
        self._pipeline, self._readings = pipeline, Readings()

    def __enter__(self) -> "PrometheusMetrics":
        with ExitStack() as stack:
            self.registry.register(self)
            stack.callback(self.registry.unregister, self)
            if self.port is not None:
                self._serve(self.port, stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def collect(self) -> Iterator[Metric]:
        report = self._pipeline.report
        for instrument in INSTRUMENTS:
            family = _family(instrument)
            for labels, number in self._readings.read(instrument, report):
                family.add_metric(list(labels.values()), number)
            yield family
        times = HistogramMetricFamily(
            "pipeline_stage_service_seconds",
            "How long calls took, give or take 5%; of quick ones some stand for many, so count items, not these",
            labels=["pipeline", "stage"],
        )
        for stage in report.stages:
            times.add_metric([report.name, stage.name], _buckets(stage), sum(s * n for s, n in stage.service_times))
        yield times

    def _serve(self, port: int, stack: ExitStack) -> None:
        try:
            server, thread = start_http_server(port, self.host, self.registry)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f"port {port} of {self.host}") from None
        stack.callback(thread.join)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
        self.port = server.server_port


def observer(pipeline: PipelineManager) -> AbstractContextManager[object]:
    """The metrics at the port METRICS_PORT of METRICS_HOST; nothing where METRICS_PORT is not set, or empty.

    There is no port that is taken unasked, so that any number of runs go side by side. Raises ValueError for what is no
    port.
    """
    port = os.environ.get("METRICS_PORT", "").strip()
    if not port:
        return nullcontext()
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise ValueError(f"METRICS_PORT must be a number from 0 to 65535, not {port!r}")
    return PrometheusMetrics(pipeline, port=int(port), host=os.environ.get("METRICS_HOST") or "0.0.0.0")


def _family(instrument: Instrument) -> CounterMetricFamily | GaugeMetricFamily:
    """Named as OpenTelemetry would name it on its way to Prometheus, so that dashboards are the same."""
    kind = CounterMetricFamily if instrument.total else GaugeMetricFamily
    name = instrument.name.replace(".", "_") + ("_ratio" if instrument.unit == "1" else "")
    return kind(name, instrument.description, labels=instrument.labels)


def _buckets(stage: StageReport) -> list[tuple[str, float]]:
    """How many calls took no longer than each of the BOUNDS."""
    times = stage.service_times
    numbers = [sum(calls for seconds, calls in times if seconds <= bound) for bound in BOUNDS]
    return list(zip([*map(str, BOUNDS[:-1]), "+Inf"], numbers, strict=True))
