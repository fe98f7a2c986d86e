"""A picture for each workload: bars, or lines where something varies. Readable on light and on dark pages."""

import statistics
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes

from workloads import Point, Workload

matplotlib.use("svg")
from matplotlib import pyplot  # It asks for the backend when it is imported.

GREY, OURS = "#808890", "#d9480f"
LINES = ("#1c7ed6", "#2f9e44", "#9c36b5", "#e8a317", "#0c8599", "#808890", "#c2255c", "#66a80f")
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "performance",  # The same samples give the same file.
    "svg.fonttype": "none",
    "font.size": 11,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def draw(workload: Workload, samples: dict[Point, list[float]], folder: Path) -> None:
    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(figsize=(8, 4 if workload.x else 0.8 + 0.42 * len(samples)))
        (lines if workload.x else bars)(workload, samples, axes)
        axes.set_title(f"{workload.about}: {workload.unit}", color=GREY, loc="left")
        folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(folder / f"{workload.name}.svg", transparent=True, bbox_inches="tight", metadata={"Date": None})
        pyplot.close(figure)


def bars(workload: Workload, samples: dict[Point, list[float]], axes: Axes) -> None:
    ranked = sorted(samples.items(), key=lambda entry: -workload.worse(statistics.median(entry[1])))
    middles = [statistics.median(values) for _, values in ranked]
    spans = [
        [middle - min(values) for middle, (_, values) in zip(middles, ranked, strict=True)],
        [max(values) - middle for middle, (_, values) in zip(middles, ranked, strict=True)],
    ]
    names = [point.peer for point, _ in ranked]
    colours = [OURS if name == "ours" else GREY for name in names]
    drawn = axes.barh(names, middles, color=colours, xerr=spans, ecolor=GREY, height=0.6)
    axes.bar_label(drawn, labels=[f" {middle:,.3g}" for middle in middles], color=GREY, padding=6)
    axes.margins(x=0.15)
    if max(middles) > 30 * min(middles):
        axes.set_xscale("log")


def lines(workload: Workload, samples: dict[Point, list[float]], axes: Axes) -> None:
    names = list(dict.fromkeys(point.peer for point in samples))
    for name, colour in zip(names, LINES, strict=False):
        xs = [point.x or 0 for point in samples if point.peer == name]
        ys = [statistics.median(values) for point, values in samples.items() if point.peer == name]
        ours = name == "ours"
        axes.plot(
            xs, ys, marker="o", markersize=4, label=name, color=OURS if ours else colour, linewidth=2.5 if ours else 1.2
        )
    if max(workload.values) > 30 * max(min(workload.values), 1e-9):
        axes.set_xscale("log")
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(workload.x)
    axes.legend(frameon=False, labelcolor=GREY, loc="center left", bbox_to_anchor=(1, 0.5))
