"""OpenTelemetry: what the SDK collects is what the reading says, while a run lasts, and nothing comes afterwards."""

import logging
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from diagnosis_helpers import needs_metrics

needs_metrics("opentelemetry", "opentelemetry.sdk")

from my_pipeline.observers.diagnosis import Diagnosis
from my_pipeline.observers.opentelemetry_metrics import OpenTelemetryMetrics, observer
from my_pipeline.observers.reading import Reading
from my_pipeline.pipeline_core import BaseWorker, PipelineManager
from opentelemetry import metrics
from opentelemetry.metrics import MeterProvider as AnyMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, Metric, Sum

COUNTS = ("received", "emitted", "processed", "filtered", "failed", "aborted", "retried", "passed", "replaced")
GAUGES = ("queued", "queue_size", "workers")
SHARES = ("busy", "waiting_for_input", "waiting_for_output", "waiting_for_order", "waiting_for_rate", "cpu")

Numbers = dict[tuple[Any, ...], float]  # A name and the values of its attributes.


class Halves(BaseWorker[int, int]):
    """Drops some, fails some, and waits before number 30."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    def process_item(self, item: int) -> int | None:
        if item == 30:
            self.gate.wait()
        if item % 10 == 7:
            raise ValueError(item)
        return item if item % 2 else None


def make_pipeline(gate: threading.Event, name: str = "p") -> PipelineManager:
    pipeline = PipelineManager(name=name, on_error="skip", queue_size=5)
    pipeline.add_worker(Halves, name="first", worker_args={"gate": gate}, retries=1)
    return pipeline.add_worker(Halves, name="second", worker_args={"gate": gate}, workers=2)


@pytest.fixture
def reader() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture
def provider(reader: InMemoryMetricReader) -> Iterator[MeterProvider]:
    provider = MeterProvider([reader], shutdown_on_exit=False)
    yield provider
    provider.shutdown()


def collected(reader: InMemoryMetricReader) -> dict[str, Metric]:
    """What there is now."""
    reader.get_metrics_data()  # Where it finds nothing, it gives what was flushed before, once.
    data = reader.get_metrics_data()
    if data is None:
        return {}
    found = [m for resource in data.resource_metrics for scope in resource.scope_metrics for m in scope.metrics]
    assert len({metric.name for metric in found}) == len(found)
    return {metric.name: metric for metric in found}


def numbers(found: dict[str, Metric]) -> Numbers:
    points = [(metric.name, point) for metric in found.values() for point in metric.data.data_points]
    return {(name, *(point.attributes or {}).values()): getattr(point, "value", -1) for name, point in points}


def counts(reading: Reading) -> Numbers:
    """What should be found of a reading, but for what moves with the time."""
    expected: Numbers = {
        ("pipeline.items.read", "p"): reading.read,
        ("pipeline.items.delivered", "p"): reading.delivered,
        ("pipeline.items.failed", "p"): reading.failed,
    }
    for stage in reading.stages:
        for count in COUNTS:
            expected[f"pipeline.stage.items.{count}", "p", stage.name] = getattr(stage, count)
        for gauge in GAUGES:
            expected[f"pipeline.stage.{gauge}", "p", stage.name] = getattr(stage, gauge)
    return expected


def shares(reading: Reading) -> Numbers:
    expected: Numbers = {
        ("pipeline.source.busy", "p"): reading.source_busy,
        ("pipeline.consumer.busy", "p"): reading.consumer_busy,
        ("pipeline.items_per_second", "p"): reading.items_per_second,
    }
    for stage in reading.stages:
        for share in SHARES:
            expected[f"pipeline.stage.{share}", "p", stage.name] = getattr(stage, share)
        for quantile, seconds in (("0.5", stage.p50), ("0.95", stage.p95), ("0.99", stage.p99)):
            expected["pipeline.stage.service_time", "p", stage.name, quantile] = seconds
    return expected


def test_what_is_collected_is_what_the_reading_says(
    reader: InMemoryMetricReader,
    provider: MeterProvider,
    gate: threading.Event,
    until: Callable[[Callable[[], object]], None],
) -> None:
    pipeline = make_pipeline(gate)
    diagnosis = Diagnosis(pipeline)
    with OpenTelemetryMetrics(diagnosis, provider):
        assert numbers(collected(reader))["pipeline.items.read", "p"] == 0
        pipeline.start(range(100))
        until(lambda: pipeline.report.stages[0].retried == 3 and pipeline.report.stages[1].processed == 12)
        until(
            lambda: counts(diagnosis.reading()).items() <= numbers(collected(reader)).items()
        )  # Once the queue is full.
        gate.set()
        pipeline.wait_for_completion()
        report = diagnosis.reading()
        found = collected(reader)
    assert numbers(found) == counts(report) | shares(report)
    assert all(isinstance(metric.data, Sum) == (".items." in name) for name, metric in found.items())
    assert all(metric.data.is_monotonic for metric in found.values() if isinstance(metric.data, Sum))
    assert {metric.unit for metric in found.values()} == {"{item}", "{item}/s", "{attempt}", "{worker}", "1", "s"}


def test_the_last_numbers_are_flushed_and_then_there_are_none(
    reader: InMemoryMetricReader, provider: MeterProvider, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate.set()
    pipeline = make_pipeline(gate)
    diagnosis = Diagnosis(pipeline)
    flushed: list[Numbers] = []
    monkeypatch.setattr(provider, "force_flush", lambda: flushed.append(numbers(collected(reader))))
    with OpenTelemetryMetrics(diagnosis, provider):
        list(pipeline.run(range(100)))
    assert flushed == [counts(diagnosis.reading()) | shares(diagnosis.reading())]
    assert collected(reader) == {}


def test_runs_one_after_another_and_at_a_time_do_not_collide(
    reader: InMemoryMetricReader, provider: MeterProvider, gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    gate.set()
    caplog.set_level(logging.WARNING, "opentelemetry")
    for number in (10, 5):
        pipeline = make_pipeline(gate)
        diagnosis = Diagnosis(pipeline)
        with OpenTelemetryMetrics(diagnosis, provider):
            list(pipeline.run(range(number)))
            assert numbers(collected(reader))["pipeline.items.read", "p"] == number
    one, other = make_pipeline(gate), make_pipeline(gate, "q")
    with OpenTelemetryMetrics(Diagnosis(one), provider), OpenTelemetryMetrics(Diagnosis(other), provider):
        list(one.run(range(3)))
        list(other.run(range(4)))
        found = numbers(collected(reader))
        assert (found["pipeline.items.read", "p"], found["pipeline.items.read", "q"]) == (3, 4)
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]


def test_a_flush_that_fails_is_logged_and_does_not_end_the_run(
    provider: MeterProvider, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise RuntimeError("no collector there")

    gate.set()
    monkeypatch.setattr(provider, "force_flush", fails)
    pipeline = make_pipeline(gate)
    diagnosis = Diagnosis(pipeline)
    with OpenTelemetryMetrics(diagnosis, provider):
        list(pipeline.run(range(3)))
    assert "the last numbers did not go out" in caplog.text


def test_without_an_sdk_nothing_happens_and_one_that_is_set_later_is_used(
    reader: InMemoryMetricReader, gate: threading.Event
) -> None:
    """In one test, since a process can set its global provider only once: it stays until the end."""
    gate.set()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    assert not hasattr(metrics.get_meter_provider(), "force_flush")
    first = make_pipeline(gate)
    diagnosis = Diagnosis(first)
    with observer(diagnosis):
        list(first.run(range(3)))
    metrics.set_meter_provider(provider)
    given: list[AnyMeterProvider | None] = [None, provider, None]
    for meter_provider in given:
        pipeline = make_pipeline(gate)
        diagnosis = Diagnosis(pipeline)
        with OpenTelemetryMetrics(diagnosis, meter_provider):
            list(pipeline.run(range(4)))
            assert numbers(collected(reader))["pipeline.items.read", "p"] == 4
