"""How fast the core is beside other ways to run the same stages.

python benchmarks/bench.py                      all workloads, seven rounds, about three quarters of an hour
python benchmarks/bench.py --only hop latency   some of them
python benchmarks/bench.py --quick              one small round of each: whether it works, not how fast
python benchmarks/bench.py --write              puts tables and pictures into docs/performance.md
python benchmarks/bench.py --free-threaded python3.13t    with the row that needs such a Python
python benchmarks/bench.py --core FOLDER        and an earlier edition of the core: FOLDER is its `pipeline_core`

Each measurement is a process of its own; within a round, the peers take turns, and each round begins with another.
Every peer's results are compared with those of the plain loop, in order where the peer keeps it.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from peers import CORE
from timing import Measured
from workloads import EVERYONE, WORKLOADS, Point, Workload

ROUNDS = 7
SECONDS = 300  # A measurement may take no longer.
HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "performance.md"

Samples = dict[Point, list[Measured]]


def main() -> None:
    options = parse()
    console = Console(width=None if sys.stdout.isatty() else 110)
    missing = []
    for name in options.only or WORKLOADS:
        workload = WORKLOADS[name]
        if workload.free_threaded and not options.free_threaded:
            console.print(f"{name}: needs --free-threaded PYTHON\n", highlight=False)
            continue
        samples = measure(workload, options, console)
        if not samples:
            missing.append(name)
            continue
        table, verdicts = summary(workload, samples)
        console.print(as_rich(workload, table))
        console.print(*verdicts, "", sep="\n", highlight=False)
        if options.write:
            from pictures import draw

            values = {point: [sample.value for sample in found] for point, found in samples.items()}
            draw(workload, values, PAGE.parent / "performance")
            write(workload, table, verdicts, options)
    if missing:
        raise SystemExit(f"nothing was measured: {', '.join(missing)}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, metavar="WORKLOAD", help=" ".join(WORKLOADS))
    parser.add_argument("--peers", nargs="+", choices=EVERYONE, metavar="PEER", help=" ".join(EVERYONE))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--free-threaded", metavar="PYTHON")
    parser.add_argument("--core", metavar="FOLDER", type=Path, help="measure this `pipeline_core`, too, as `earlier`")
    options = parser.parse_args()
    if options.core is not None and not (options.core / "pipeline_manager.py").is_file():
        parser.error(f"--core: {options.core} is no folder `pipeline_core`")
    return options


def measure(workload: Workload, options: argparse.Namespace, console: Console) -> Samples:
    earlier = [peer.replace("ours", "earlier") for peer in workload.peers if options.core and peer.startswith("ours")]
    points = [
        Point(peer, x)
        for x in workload.xs(quick=options.quick)
        for peer in (*workload.peers, *earlier)
        if EVERYONE[peer].installed and (not options.peers or peer in options.peers)
    ]
    samples: Samples = {point: [] for point in points}
    for number in range(1 if options.quick else options.rounds):
        turn = number % len(points)
        for point in points[turn:] + points[:turn]:
            if point in samples:
                try:
                    samples[point].append(run(workload, point, options))
                except RuntimeError as error:
                    console.print(f"{workload.name}, {point.peer}: {error}", style="red", markup=False, highlight=False)
                    del samples[point]
    return samples


def run(workload: Workload, point: Point, options: argparse.Namespace) -> Measured:
    python = options.free_threaded if workload.free_threaded else sys.executable
    core = options.core.resolve() if point.peer.startswith("earlier") else CORE
    task = json.dumps([workload.name, point.peer, point.x, 0.01 if options.quick else 1, str(core)])
    with tempfile.TemporaryDirectory() as folder:
        try:
            child = subprocess.run(
                [python, str(HERE / "workloads.py"), task],
                capture_output=True,
                text=True,
                timeout=SECONDS,
                env=os.environ | {"TMPDIR": folder, "PYTHONDONTWRITEBYTECODE": "1"},
            )
        except subprocess.TimeoutExpired:
            raise RuntimeError(f"not done in {SECONDS} seconds") from None
    if child.returncode:
        raise RuntimeError((child.stderr.strip() or "no message").splitlines()[-1])
    return Measured(*json.loads(child.stdout.splitlines()[-1]))


Row = list[str]


def summary(workload: Workload, samples: Samples) -> tuple[list[Row], list[str]]:
    """The head, and a row for each x and peer: the median, what it ranges over, and how many times ours that is."""
    samples = {point: found for point, found in samples.items() if found}
    medians = {point: statistics.median(sample.value for sample in found) for point, found in samples.items()}
    cpu = any(found[0].cpu is not None for found in samples.values())
    start = any(found[0].start is not None for found in samples.values())
    rows = [[*([workload.x] * bool(workload.x)), "", workload.unit, "range", *["CPU"] * cpu, *["ms to start"] * start]]
    rows[0].append("ratio to ours")
    for point, median in sorted(medians.items(), key=lambda entry: (entry[0].x or 0, workload.worse(entry[1]))):
        found, ours = samples[point], medians.get(Point("ours", point.x))
        row = [*([] if point.x is None else [f"{point.x:,}"]), point.peer, number(median)]
        row.append(spread([sample.value for sample in found]))
        if cpu:
            row.append(number(statistics.median(sample.cpu or 0.0 for sample in found)))
        if start:
            row.append(number(statistics.median(sample.start or 0.0 for sample in found) * 1e3))
        rows.append([*row, "" if ours is None or point.peer == "ours" else f"{median / ours:.2f}"])
    return rows, workload.verdicts({(point.peer, point.x): median for point, median in medians.items()})


def number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def spread(values: Iterable[float]) -> str:
    values = list(values)
    return f"{number(min(values))} to {number(max(values))}"


def as_rich(workload: Workload, rows: list[Row]) -> Table:
    table = Table(title=f"{workload.name}: {workload.about}", title_justify="left")
    for column in rows[0]:
        table.add_column(column, justify="right" if column else "left")
    for row in rows[1:]:
        table.add_row(*row)
    return table


def write(workload: Workload, rows: list[Row], verdicts: list[str], options: argparse.Namespace) -> None:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    if workload.free_threaded:
        python = "free-threaded CPython"
    lines = [
        f"![{workload.about}](performance/{workload.name}.svg)",
        "",
        *(f"| {' | '.join(row)} |" for row in (rows[0], ["---"] * len(rows[0]), *rows[1:])),
        "",
        *(f"- {verdict}" for verdict in verdicts),
        *([""] if verdicts else []),
        f"`python benchmarks/bench.py --only {workload.name}`: {options.rounds} rounds, {python}, {os.cpu_count()} CPUs.",
    ]
    put_into_page(workload.name, lines)


def put_into_page(name: str, lines: list[str]) -> None:
    """Between the two comments that bear that name."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    page = PAGE.read_text(encoding="utf-8")
    if begin not in page:
        raise SystemExit(f"{PAGE} has no place for it: add the lines '{begin}' and '{end}'")
    before, rest = page.split(begin)
    PAGE.write_text(before + "\n".join([begin, *lines, end]) + rest.split(end)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
