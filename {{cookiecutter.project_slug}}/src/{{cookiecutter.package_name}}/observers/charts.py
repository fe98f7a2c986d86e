"""The pictures of a report, as SVG that takes its colours and its font from the page around it."""

import io
import re
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise
from math import ceil, log
from typing import TYPE_CHECKING, Any

from ..pipeline_core import StageReport
from ..pipeline_core.errors import short
from .history import Sample
from .units import duration, rate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

POINTS = 300  # In a curve; more could not be seen.
WIDTH = 5.2  # inches, which the page stretches or shrinks to what it has
SHADES = 6  # Colours for the stages, then they come again.

# Colours that nobody else uses stand for what the page calls them, until the picture is drawn.
INK, LINE, DELIVERED = "#000001", "#000002", "#000003"
PAGE_COLOURS = {INK: "currentColor", LINE: "var(--line)", DELIVERED: "var(--accent)"}
STAGES = [f"#0000{16 + shade:x}" for shade in range(SHADES)]
PAGE_COLOURS |= {colour: f"var(--stage-{shade})" for shade, colour in enumerate(STAGES)}

STYLE: Any = {
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": LINE,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "ytick.left": False,
}


def over_time(samples: Sequence[Sample], stages: Sequence[StageReport]) -> str:
    """Results a second, and below, how full the queue in front of each stage was. Empty: there is nothing to see."""
    if len(samples) < 2:
        return ""
    points = _thinned(samples)
    seconds = [point.seconds for point in points]
    rates = [
        (later.delivered - earlier.delivered) / (later.seconds - earlier.seconds) for earlier, later in pairwise(points)
    ]

    def paint(figure: "Figure") -> None:
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        heights = [2.6, *(1.0 for _ in stages)]
        first, *others = figure.subplots(len(heights), sharex=True, gridspec_kw={"height_ratios": heights})
        first.stairs(rates, seconds, fill=True, color=DELIVERED, alpha=0.18, linewidth=0)
        first.stairs(rates, seconds, baseline=None, color=DELIVERED, linewidth=1.6)
        _name(first, "results a second")
        first.set_ylim(0, 1.15 * max(*rates, 1e-9))
        first.yaxis.set_major_locator(MaxNLocator(4))
        first.yaxis.set_major_formatter(FuncFormatter(lambda value, _: rate(value)))
        first.grid(axis="y", linewidth=0.6)
        first.set_axisbelow(True)
        first.set_xlim(seconds[0], seconds[-1])
        first.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 3, 5, 6, 10]))
        first.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
        for number, axes in enumerate(others):
            queues = [point.stages[number] for point in points]
            fill = [min(1.0, queue.queued / max(1, queue.queue_size)) for queue in queues]
            _name(axes, f"stage{number}.")
            axes.set_yticks([])
            axes.fill_between(seconds, fill, color=STAGES[number % SHADES], alpha=0.75, linewidth=0)
            axes.set_ylim(0, 1)

    return _drawn(paint, 1.5 + 0.45 * len(stages), stages, "Results a second, and how full the queues were")


def service_times(stages: Sequence[StageReport]) -> str:
    """How long the calls of each stage took, with marks at p50, p95 and p99. Empty: there was no call."""
    every = [seconds for stage in stages for seconds, _ in stage.service_times]
    if not every:
        return ""

    def paint(figure: "Figure") -> None:
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

        rows = figure.subplots(len(stages), sharex=True, squeeze=False)[:, 0]
        for number, (axes, stage) in enumerate(zip(rows, stages, strict=True)):
            colour = STAGES[number % SHADES]
            _name(axes, f"stage{number}.")
            axes.set_yticks([])
            axes.set_xscale("log")
            axes.set_ylim(0, 1.02)
            if stage.service_times:
                counts, edges = _dense(stage)
                axes.stairs([count / max(counts) for count in counts], edges, fill=True, color=colour, alpha=0.75)
                for mark, height in ((stage.p50, 1.0), (stage.p95, 0.6), (stage.p99, 0.35)):
                    axes.vlines(mark, 0, height, color=INK, linewidth=1)
        rows[0].set_xlim(min(every) / 1.6, max(every) * 1.6)
        rows[0].xaxis.set_major_locator(LogLocator(numticks=7))
        rows[0].xaxis.set_minor_locator(NullLocator())
        rows[0].xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))

    return _drawn(paint, 0.5 + max(1.2, 0.75 * len(stages)), stages, "How long calls took")


def _thinned(samples: Sequence[Sample]) -> list[Sample]:
    """Not too many, and the last one not so close behind another that a rate between them would be chance."""
    samples = [*samples[:-1][:: ceil(len(samples) / POINTS)], *samples[-1:]]
    gaps = [later.seconds - earlier.seconds for earlier, later in pairwise(samples)]
    if len(gaps) > 1 and gaps[-1] < gaps[-2] / 2:
        del samples[-2]
    return samples


def _dense(stage: StageReport) -> tuple[list[int], list[float]]:
    """The counts of all buckets from the first to the last, also of the empty ones, and the bounds between them."""
    step = log(1.1)  # As `pipeline_core/clocks.py` has it.
    counts = {round(log(seconds) / step + 0.5): count for seconds, count in stage.service_times}
    buckets = range(min(counts), max(counts) + 1)
    bounds = [1.1 ** (bucket - 1) for bucket in (*buckets, buckets.stop)]
    return [counts.get(bucket, 0) for bucket in buckets], bounds


def _name(axes: "Axes", text: str) -> None:
    """Above its left end. For the names of stages, which can be anything, stand numbers until the picture is drawn."""
    axes.text(0, 1.04, text, transform=axes.transAxes, va="bottom", size=8.5)


def _drawn(paint: Callable[["Figure"], None], height: float, stages: Sequence[StageReport], label: str) -> str:
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    file = io.StringIO()
    with rc_context(STYLE | {"svg.hashsalt": label}):  # So ids are always the same, and no other picture's.
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        paint(figure)
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", transparent=True, metadata=nothing)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") + 4 :]
    svg = re.sub("<style.*?</style>", "", svg)  # It would be for the whole page.
    svg = re.sub(r' id="[\w.]+_\d+"', "", svg)  # Ids that nothing refers to, and that the next picture has, too.
    svg = re.sub("#0000[01][0-9a-f]", lambda found: PAGE_COLOURS.get(found[0], found[0]), svg)
    svg = re.sub(r"stage(\d+)\.", lambda found: escape(short(stages[int(found[1])].name, str, 48)), svg)
    return f'<svg role="img" aria-label="{escape(label)}"{svg}'
