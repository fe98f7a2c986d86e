"""The columns of the table of stages, the same in a terminal and on a page: a heading, and a text for each stage."""

from collections.abc import Sequence

from .reading import StageReading
from .units import duration

COUNTS = ("received", "processed", "passed", "filtered", "failed", "aborted", "retried", "replaced")
USUAL = ("received", "processed")  # The other counts have a column only if a stage has such items.
LEAST = 0.005  # Share of the time from which a wait that is not usual has a column: it is shown as 1%.

Columns = dict[str, list[str]]


def counts(stages: Sequence[StageReading]) -> Columns:
    """How many workers there are, and what became of the items."""
    shown = [name for name in COUNTS if name in USUAL or any(getattr(stage, name) for stage in stages)]
    numbers = {name: [f"{getattr(stage, name):,}" for stage in stages] for name in shown}
    return {"workers": [stage.crew for stage in stages]} | numbers


def times(stages: Sequence[StageReading]) -> Columns:
    """What the workers' time was spent on, and how long calls took."""
    waits = ["input", "output"] + ["order"] * any(stage.waiting_for_order >= LEAST for stage in stages)
    waits += ["rate"] * any(stage.waiting_for_rate >= LEAST for stage in stages)
    shares = {"busy": "busy"} | {f"waits:\n{wait}": f"waiting_for_{wait}" for wait in waits} | {"CPU": "cpu"}
    spent = {heading: [f"{getattr(stage, name):.0%}" for stage in stages] for heading, name in shares.items()}
    calls = {name: [duration(getattr(stage, name)) for stage in stages] for name in ("p50", "p95", "p99")}
    return spent | calls
