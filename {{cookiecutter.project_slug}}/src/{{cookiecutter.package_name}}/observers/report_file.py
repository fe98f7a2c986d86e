"""A run, as a file: JSON for machines, or a page for people."""

import json
import traceback
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..pipeline_core import DeadLetter, PipelineError, PipelineReport, StageReport
from ..pipeline_core.errors import short
from .history import History

ENDINGS = (".json", ".html")


def check_report_path(path: Path) -> None:
    """Before a run: raise ValueError, with one line that says what is wrong and what to do, if `write_report` would."""
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"a report ends in {' or '.join(ENDINGS)}, and {path} does not")
    if path.is_dir():
        raise ValueError(f"{path} is a folder: name a file in it")
    if not path.parent.is_dir():
        raise ValueError(f"there is no folder {path.parent}: make it first, or write the report elsewhere")
    if path.suffix.lower() == ".html" and find_spec("matplotlib") is None:
        raise ValueError("an .html report needs matplotlib: pip install matplotlib; a .json report does not")


def write_report(path: Path, report: PipelineReport, history: History | None = None, *, verdict: str = "") -> None:
    """Write the report, by the ending of its name: `.json` (see `as_json`) or `.html`, one page without anything else.

    It is written as PATH.part, and gets its name when it is complete. Raises ValueError as `check_report_path` does, and
    OSError if the file cannot be written.
    """
    check_report_path(path)
    if path.suffix.lower() == ".json":
        text = json.dumps(as_json(report, history, verdict=verdict), ensure_ascii=False) + "\n"
    else:
        from .report_page import page  # Matplotlib takes half a second to import, which only a page needs.

        text = page(report, history.samples if history else [], verdict)
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def as_json(report: PipelineReport, history: History | None = None, *, verdict: str = "") -> dict[str, Any]:
    """The report as JSON can hold it.

    It has the fields of PipelineReport, and of StageReport in `stages`, under their names; times are in seconds, shares
    go from 0 to 1. Besides them:

    `format`             1; another number when a field changes its meaning, or goes
    `items_per_second`   results delivered, a second
    `failed`, `bottleneck`, `p50`, `p95`, `p99`
                         as the properties of the reports say; `bottleneck` is the stage's name, or null
    `verdict`            what to change, in words; empty if nobody told
    `error`              null, or what ended the run: `message`, `stage`, `phase`, `index`, `item`, `attempt`, `traceback`
    `dead_letters`       `stage`, `index`, `item`, `error`, `attempts`, `traceback` of the first ones
    `history`            `seconds`, `read`, `delivered` and `stages` of each Sample, in the order of time

    An `item` is its repr, cut if it is long.
    """
    bottleneck = report.bottleneck
    return {
        "format": 1,
        **vars(report),
        "items_per_second": report.delivered / report.seconds if report.seconds else 0.0,
        "failed": report.failed,
        "bottleneck": bottleneck and bottleneck.name,
        "verdict": verdict,
        "stages": [_stage(stage) for stage in report.stages],
        "dead_letters": [_letter(letter) for letter in report.dead_letters],
        "error": report.error and _error(report.error),
        "history": [
            vars(sample) | {"stages": [vars(stage) for stage in sample.stages]}
            for sample in (history.samples if history else [])
        ],
    }


def _stage(stage: StageReport) -> dict[str, Any]:
    return vars(stage) | {"p50": stage.p50, "p95": stage.p95, "p99": stage.p99}


def _letter(letter: DeadLetter) -> dict[str, Any]:
    error = f"{type(letter.error).__name__}: {short(letter.error, str)}"
    return vars(letter) | {"item": short(letter.item), "error": error}


def _error(error: PipelineError) -> dict[str, Any]:
    text = short(error, lambda error: "".join(traceback.format_exception(error)), limit=100_000)
    named = {name: getattr(error, name) for name in ("stage", "phase", "index", "attempt")}
    return {"message": str(error), **named, "item": short(error.item), "traceback": text}
