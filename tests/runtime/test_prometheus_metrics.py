"""Prometheus: what a scrape over HTTP finds is what the reading says, while a run lasts, and nothing is left behind."""

import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

from baking import Bake, Baker, environment
from diagnosis_helpers import needs_metrics

needs_metrics("prometheus", "prometheus_client")

from my_pipeline.observers.diagnosis import Diagnosis
from my_pipeline.observers.prometheus_metrics import PrometheusMetrics, observer
from my_pipeline.observers.reading import Reading
from my_pipeline.pipeline_core import BaseWorker, PipelineManager
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

COUNTS = ("received", "emitted", "processed", "filtered", "failed", "aborted", "retried", "passed", "replaced")
RATIOS = ("busy", "waiting_for_input", "waiting_for_output", "waiting_for_order", "waiting_for_rate", "cpu")
GAUGES = ("queued", "queue_size", "workers")

Samples = dict[tuple[str, ...], float]  # A name and the values of its labels.


class Halves(BaseWorker[int, int]):
    """Drops some, fails some, and waits before number 30."""

    def __init__(self, gate: threading.Event, waits: threading.Event) -> None:
        self.gate, self.waits = gate, waits

    def process_item(self, item: int) -> int | None:
        if item == 30:
            self.waits.set()
            self.gate.wait()
        if item % 10 == 7:
            raise ValueError(item)
        return item if item % 2 else None


class Pass(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


def make_pipeline(gate: threading.Event, waits: threading.Event, name: str = "p") -> PipelineManager:
    pipeline = PipelineManager(name=name, on_error="skip", queue_size=5)
    pipeline.add_worker(Halves, name="first", worker_args={"gate": gate, "waits": waits}, retries=1)
    return pipeline.add_worker(Pass, name="second", workers=2)


def scrape(port: int | None) -> Samples:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    samples = {(sample.name, *sample.labels.values()): sample.value for sample in found}
    assert len(samples) == len(found)
    return samples


def counts(reading: Reading) -> Samples:
    """What should be found of a reading, but for the shares, which move with the time."""
    expected: Samples = {
        ("pipeline_items_read_total", "p"): reading.read,
        ("pipeline_items_delivered_total", "p"): reading.delivered,
        ("pipeline_items_failed_total", "p"): reading.failed,
    }
    for stage in reading.stages:
        for count in COUNTS:
            expected[f"pipeline_stage_items_{count}_total", "p", stage.name] = getattr(stage, count)
        for gauge in GAUGES:
            expected[f"pipeline_stage_{gauge}", "p", stage.name] = getattr(stage, gauge)
        calls = sum(calls for _, calls in stage.times.durations)
        expected["pipeline_stage_service_seconds_count", "p", stage.name] = calls
    return expected


def shares(reading: Reading) -> Samples:
    expected: Samples = {
        ("pipeline_source_busy_ratio", "p"): reading.source_busy,
        ("pipeline_consumer_busy_ratio", "p"): reading.consumer_busy,
        ("pipeline_items_per_second", "p"): reading.items_per_second,
    }
    for stage in reading.stages:
        for ratio in RATIOS:
            expected[f"pipeline_stage_{ratio}_ratio", "p", stage.name] = getattr(stage, ratio)
    return expected


def test_a_scrape_finds_what_the_reading_says(gate: threading.Event, until: Callable[[Any], None]) -> None:
    waits = threading.Event()
    pipeline = make_pipeline(gate, waits)
    diagnosis = Diagnosis(pipeline)
    with PrometheusMetrics(diagnosis, port=0, host="127.0.0.1") as metrics:
        assert scrape(metrics.port)["pipeline_items_read_total", "p"] == 0
        pipeline.start(range(100))
        waits.wait()
        until(lambda: pipeline.report.delivered == 12)
        until(lambda: counts(diagnosis.reading()).items() <= scrape(metrics.port).items())  # Once the queue is full.
        samples = scrape(metrics.port)
        assert samples["pipeline_stage_items_retried_total", "p", "first"] == 3
        assert 0 < samples["pipeline_stage_waiting_for_input_ratio", "p", "second"] <= 1
        gate.set()
        pipeline.wait_for_completion()
        report = diagnosis.reading()
        samples = scrape(metrics.port)
        expected = counts(report) | shares(report)
        assert expected.items() <= samples.items()
        assert samples["pipeline_items_delivered_total", "p"] == 40
        ours = {sample for sample in samples if sample[0].startswith("pipeline_")}
        assert {name for name, *_ in ours - expected.keys()} == {
            "pipeline_stage_service_seconds_bucket",
            "pipeline_stage_service_seconds_sum",
        }
        assert ("process_cpu_seconds_total",) in samples or ("python_info",) in {sample[:1] for sample in samples}
    with pytest.raises(urllib.error.URLError):
        scrape(metrics.port)
    assert not [family for family in REGISTRY.collect() if family.name.startswith("pipeline_")]


def test_the_buckets_hold_the_calls_that_took_no_longer(gate: threading.Event) -> None:
    gate.set()
    pipeline = make_pipeline(gate, gate)
    diagnosis = Diagnosis(pipeline)
    with PrometheusMetrics(diagnosis, port=0, registry=CollectorRegistry()) as metrics:
        list(pipeline.run(range(100)))
        samples = scrape(metrics.port)
    assert {name.split("_")[0] for name, *_ in samples} == {"pipeline"}
    for stage in diagnosis.reading().stages:
        name, labels = "pipeline_stage_service_seconds", ("p", stage.name)
        of_stage = {key: number for key, number in samples.items() if key[0] == f"{name}_bucket" and key[2:] == labels}
        bounds = {bound: number for (_, bound, *_), number in of_stage.items()}
        assert list(bounds)[:4] == ["1e-05", "2.5e-05", "5e-05", "0.0001"]
        assert list(bounds)[-2:] == ["100.0", "+Inf"]
        for bound, number in bounds.items():
            assert number == sum(calls for seconds, calls in stage.times.durations if seconds <= float(bound))
        assert samples[f"{name}_count", *labels] == bounds["+Inf"] > 0
        assert samples[f"{name}_sum", *labels] == stage.times.call_seconds


def test_one_run_after_another_and_two_at_a_time_do_not_collide(gate: threading.Event) -> None:
    gate.set()
    port = None
    for _ in range(2):
        pipeline = make_pipeline(gate, gate)
        diagnosis = Diagnosis(pipeline)
        with PrometheusMetrics(diagnosis, port=port or 0, host="127.0.0.1") as metrics:
            list(pipeline.run(range(100)))
            port = metrics.port
            assert scrape(port)["pipeline_items_read_total", "p"] == 100
    one, other = make_pipeline(gate, gate), make_pipeline(gate, gate, "q")
    with (
        PrometheusMetrics(Diagnosis(one), port=0),
        PrometheusMetrics(Diagnosis(other), port=0, registry=CollectorRegistry()) as metrics,
    ):
        assert scrape(metrics.port)["pipeline_items_read_total", "q"] == 0
        with pytest.raises(ValueError, match="Duplicated"), PrometheusMetrics(Diagnosis(make_pipeline(gate, gate))):
            pass


def test_a_port_that_is_taken_is_named_and_leaves_nothing(gate: threading.Event) -> None:
    registry = CollectorRegistry()
    with PrometheusMetrics(Diagnosis(make_pipeline(gate, gate)), port=0, host="127.0.0.1", registry=registry) as first:
        second = PrometheusMetrics(
            Diagnosis(make_pipeline(gate, gate)), port=first.port, host="127.0.0.1", registry=REGISTRY
        )
        with pytest.raises(OSError, match=f"port {first.port} of 127.0.0.1"), second:
            pass
        assert not [family for family in REGISTRY.collect() if family.name.startswith("pipeline_")]


def test_the_environment_says_where(gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = make_pipeline(gate, gate)
    diagnosis = Diagnosis(pipeline)
    monkeypatch.setenv("METRICS_PORT", "0")
    monkeypatch.setenv("METRICS_HOST", "127.0.0.1")
    with observer(diagnosis) as metrics:
        assert isinstance(metrics, PrometheusMetrics)
        assert metrics.host == "127.0.0.1"
        assert scrape(metrics.port)["pipeline_stage_workers", "p", "second"] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has more than one address of this machine alone")
@pytest.mark.parametrize(("host", "reached"), [("", {"127.0.0.1"}), ("0.0.0.0", {"127.0.0.1", "127.0.0.2"})])
def test_nobody_outside_connects_unless_told(
    host: str, reached: set[str], gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METRICS_PORT", "0")
    monkeypatch.setenv("METRICS_HOST", host)
    with observer(Diagnosis(make_pipeline(gate, gate))) as metrics:
        assert isinstance(metrics, PrometheusMetrics)
        found = set()
        for address in ("127.0.0.1", "127.0.0.2"):
            with socket.socket() as client:
                if client.connect_ex((address, metrics.port)) == 0:
                    found.add(address)
    assert found == reached


@pytest.mark.parametrize("port", [None, "", " "])
def test_no_port_is_taken_unasked(port: str | None, gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METRICS_PORT", raising=False)
    if port is not None:
        monkeypatch.setenv("METRICS_PORT", port)
    with observer(Diagnosis(make_pipeline(gate, gate))) as metrics:
        assert metrics is None


@pytest.mark.parametrize("port", ["http", "-1", "65536", "²"])
def test_what_is_no_port_is_refused(port: str, gate: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METRICS_PORT", port)
    with pytest.raises(ValueError, match=f"METRICS_PORT must be a number from 0 to 65535, not '{port}'"):
        observer(Diagnosis(make_pipeline(gate, gate)))


@pytest.fixture
def project(bake: Baker) -> Bake:
    return bake(metrics="prometheus")


def command(project: Bake, port: str) -> "subprocess.Popen[str]":
    settings = environment(METRICS_PORT=port, METRICS_HOST="127.0.0.1", PYTHONPATH="src")
    call = [sys.executable, "-m", project.package, "run", "-q"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(call, cwd=project.path, env=settings, text=True, **pipes)  # type: ignore[call-overload, no-any-return]


def test_the_command_can_be_scraped_while_it_runs(project: Bake) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with command(project, str(port)) as running:
        running.stdin.write("1\n")  # type: ignore[union-attr]
        running.stdin.flush()  # type: ignore[union-attr]
        assert running.stdout.readline() == "1\n"  # type: ignore[union-attr]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            assert 'pipeline_items_read_total{pipeline="' in answer.read().decode()
        assert running.communicate(timeout=20) == ("", "")
    assert running.returncode == 0


@pytest.mark.parametrize("port", ["http", "taken"])
def test_the_command_says_what_is_wrong_with_the_port_in_one_line(project: Bake, port: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with command(project, str(taken.getsockname()[1]) if port == "taken" else port) as running:
            _, said = running.communicate("1\n", timeout=20)
    assert running.returncode == 2
    assert said.startswith("error: ")
    assert said.count("\n") == 1
