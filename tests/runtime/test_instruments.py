"""What monitoring is told: each number under the name of its own, and totals that never go back."""

from dataclasses import replace

from diagnosis_helpers import needs_metrics

needs_metrics("prometheus")

from my_pipeline.observers.instruments import INSTRUMENTS, Readings
from my_pipeline.observers.reading import Reading, StageReading
from my_pipeline.pipeline_core import PipelineReport

STAGE = StageReading("s", 1, 2, 3, 4, 5, 6, 7, 8, 0.1, 0.2, 0.3, 0.4, 0.5, queued=9, queue_size=10)
STAGE = replace(STAGE, passed=11, replaced=12, waiting_for_rate=0.6)
REPORT = PipelineReport("p", "running", 1.0, 11, 0, 0, (STAGE,), 12, 0, 0, (), None, 0.6, 0.7)
READING = Reading(**{**vars(REPORT), "stages": (STAGE,)}, items_per_second=8.0, whole=REPORT)


def numbers(readings: Readings, reading: Reading) -> dict[tuple[str, ...], float]:
    read = [(i.name, found) for i in INSTRUMENTS for found in readings.read(i, reading)]
    return {(name, *labels.values()): number for name, (labels, number) in read}


def test_each_number_of_a_stage_has_a_name_of_its_own() -> None:
    found = numbers(Readings(), READING)
    for name, unit in ((i.name, i.unit) for i in INSTRUMENTS if "stage" in i.labels):
        assert found[name, "p", "s"] == getattr(STAGE, name.split(".")[-1])
        assert (found[name, "p", "s"] < 1) == (unit == "1")
    of_the_whole = {name: number for (name, *labels), number in found.items() if labels == ["p"]}
    assert of_the_whole == {
        "pipeline.items.read": 11,
        "pipeline.items_per_second": 8.0,
        "pipeline.items.delivered": 12,
        "pipeline.items.failed": STAGE.failed,
        "pipeline.source.busy": 0.6,
        "pipeline.consumer.busy": 0.7,
    }
    assert len(found) == len(INSTRUMENTS)


def test_a_total_never_goes_back_and_all_else_does() -> None:
    readings = Readings()
    numbers(readings, READING)
    fewer = replace(STAGE, processed=1, queued=1)  # As when a stop drops results.
    found = numbers(readings, replace(READING, stages=(fewer, replace(fewer, name="other")), read=3))
    assert found["pipeline.stage.items.processed", "p", "s"] == STAGE.processed > 1
    assert found["pipeline.stage.items.processed", "p", "other"] == 1
    assert found["pipeline.stage.queued", "p", "s"] == 1
    assert found["pipeline.items.read", "p"] == 11
