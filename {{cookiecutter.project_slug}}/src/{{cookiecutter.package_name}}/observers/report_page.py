"""A run on one page of HTML that opens anywhere: no script, nothing that is fetched, light or dark as the reader likes it."""

import traceback
from collections.abc import Callable, Iterator, Sequence
from html import escape
from importlib.resources import files

from ..pipeline_core import DeadLetter, PipelineError, PipelineReport, StageReport
from ..pipeline_core.errors import short
from .charts import over_time, service_times
from .history import Sample
from .units import duration, rate

DEAD_LETTERS = 20  # So many are shown.

HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
"""

SPENT = {
    "busy": "working",
    "waiting_for_input": "waiting for input",
    "waiting_for_output": "waiting for room behind",
    "waiting_for_order": "waiting for its turn",
}


def _count(name: str) -> Callable[[StageReport], str]:
    return lambda stage: _number(getattr(stage, name))


def _share(name: str) -> Callable[[StageReport], str]:
    return lambda stage: _faint_zero(f"{getattr(stage, name):.0%}")


def _time(name: str) -> Callable[[StageReport], str]:
    return lambda stage: duration(getattr(stage, name)) if stage.service_times else ""


COLUMNS: dict[str, Callable[[StageReport], str]] = {
    **{name: _count(name) for name in ("received", "processed", "filtered", "failed", "aborted", "retried")},
    "workers": lambda stage: f"{stage.workers}{' in a ' * bool(stage.pool)}{stage.pool}{' pool' * bool(stage.pool)}",
    "busy": _share("busy"),
    "waits for input": _share("waiting_for_input"),
    "for output": _share("waiting_for_output"),
    "for order": _share("waiting_for_order"),
    "CPU": _share("computing"),
    **{name: _time(name) for name in ("p50", "p95", "p99")},
}


def page(report: PipelineReport, samples: Sequence[Sample], verdict: str) -> str:
    """The whole page. Needs matplotlib."""
    css = files(__package__).joinpath("report_page.css").read_text(encoding="utf-8")
    title = escape(f"{report.name}: {report.state}")
    body = "\n".join(_body(report, samples, verdict))
    return f"{HEAD}<title>{title}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"


def _body(report: PipelineReport, samples: Sequence[Sample], verdict: str) -> Iterator[str]:
    yield f'<header><h1>{escape(report.name)}</h1><p class="state {escape(report.state)}">{escape(report.state)}</p></header>'
    yield _figures(report)
    if report.error is not None:
        yield _error(report.error)
    if verdict:
        yield f'<section class="verdict"><h2>Verdict</h2><p>{escape(verdict)}</p></section>'
    yield _stages(report)
    yield from _charts(report, samples)
    if report.dead_letters:
        yield _dead_letters(report)


def _figures(report: PipelineReport) -> str:
    figures = {
        "time": duration(report.seconds),
        "read": _number(report.read),
        "delivered": _number(report.delivered),
        "a second": rate(report.delivered / report.seconds if report.seconds else 0.0),
        "failed": _number(report.failed),
    }
    tiles = (f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures.items())
    return f'<dl class="figures">{"".join(tiles)}</dl>'


def _error(error: PipelineError) -> str:
    text = short(error.__cause__ or error, lambda cause: "".join(traceback.format_exception(cause)), 20_000)
    return f'<section class="error"><h2>Error</h2><p>{escape(str(error))}</p>{_details("traceback", text)}</section>'


def _stages(report: PipelineReport) -> str:
    headings = "".join(f"<th>{name}</th>" for name in COLUMNS)
    rows = "".join(
        f'<tr><th scope="row">{escape(short(stage.name, str, 60))}</th><td>{_bar(stage)}</td>'
        + "".join(f"<td>{cell(stage)}</td>" for cell in COLUMNS.values())
        + "</tr>\n"
        for stage in report.stages
    )
    key = " ".join(f'<span class="key {name}"></span> {meaning}' for name, meaning in SPENT.items())
    cores = report.cpu_seconds / report.seconds if report.seconds else 0.0
    return (
        "<section><h2>Stages</h2>"
        '<div class="wide" tabindex="0" role="region" aria-label="Stages">'
        f"<table><thead><tr><th>stage</th><th>time of its workers</th>{headings}</tr></thead>\n"
        f"<tbody>{rows}</tbody></table></div>"
        f'<p class="note">{key}</p>'
        f'<p class="note">The source was busy {report.source_busy:.0%} of the time, and the consumer of the results '
        f"{report.consumer_busy:.0%}. The process used {duration(report.cpu_seconds)} of CPU time: {cores:.2f} cores. "
        "CPU of a stage is the share of CPU time in its working time; p50, p95 and p99 are how long calls took.</p></section>"
    )


def _bar(stage: StageReport) -> str:
    shares = {name: getattr(stage, name) for name in SPENT}
    parts = "".join(f'<i class="{name}" style="flex-grow:{share:.3f}"></i>' for name, share in shares.items() if share)
    said = ", ".join(f"{share:.0%} {SPENT[name]}" for name, share in shares.items())
    return f'<div class="bar" role="img" aria-label="{said}" title="{said}">{parts}</div>'


def _charts(report: PipelineReport, samples: Sequence[Sample]) -> Iterator[str]:
    charts = {
        "Over time": (over_time(samples, report.stages), "Under a stage's name: how full the queue before it was."),
        "Service times": (service_times(report.stages), "How long calls took, with marks at p50, p95 and p99."),
    }
    drawn = [
        f"<figure><h2>{title}</h2>{svg}<figcaption>{caption}</figcaption></figure>"
        for title, (svg, caption) in charts.items()
        if svg
    ]
    if drawn:
        yield f'<section class="charts">{"".join(drawn)}</section>'


def _dead_letters(report: PipelineReport) -> str:
    shown = report.dead_letters[:DEAD_LETTERS]
    which = f"{len(shown)}" if len(shown) == report.skipped else f"the first {len(shown)} of {report.skipped:,}"
    letters = "".join(map(_letter, shown))
    return f'<section><h2>Dead letters <small>{which}</small></h2><ol class="letters">{letters}</ol></section>'


def _letter(letter: DeadLetter) -> str:
    index = "" if letter.index is None else f", item {letter.index:,}"
    tries = f"<br>{letter.attempts} attempts" if letter.attempts > 1 else ""
    error = escape(f"{type(letter.error).__name__}: {short(letter.error, str)}")
    return (
        f'<li><p class="where">{escape(letter.stage)}{index}{tries}</p><div><p><strong>{error}</strong></p>'
        f"<p><code>{escape(short(letter.item))}</code></p>{_details('traceback', letter.traceback[:20_000])}</div></li>\n"
    )


def _details(summary: str, text: str) -> str:
    return f"<details><summary>{summary}</summary><pre>{escape(text)}</pre></details>"


def _number(number: int) -> str:
    return _faint_zero(f"{number:,}")


def _faint_zero(text: str) -> str:
    return f'<span class="zero">{text}</span>' if text in ("0", "0%") else text
