"""How near the core comes to its limits: stops, idleness, memory, and what a run costs that has nothing to do.

python tools/limits.py            a table, in less than a minute
python tools/limits.py --long     with 10 million items, too
python tools/limits.py --write    puts the table into docs/guarantees.md

Each measurement is a process of its own. Linux and macOS only: it reads what the system counts for a process.
"""

import argparse
import asyncio
import bisect
import itertools
import json
import platform
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

from peers import use_core

use_core()
from pipeline_core import BaseWorker, PipelineManager, SubTaskPoolWorker  # noqa: E402  # The path comes first.

STOPS = 400
KINDS = ("idle", "full queues", "slow stages", "sub-task pool")
IDLE_SECONDS = 5
EMPTY_RUNS = 300
RATE, RATE_SECONDS = 200.0, 20
TIME_LIMIT = 0.5
Figures = dict[str, str]


class Same(BaseWorker[Any, Any]):
    def process_item(self, item: Any) -> Any:
        return item


class Call(BaseWorker[int, int]):
    """Sleeps, and notes when it was done."""

    def __init__(self, seconds: float, ends: list[float]) -> None:
        self.seconds, self.ends = seconds, ends

    def process_item(self, item: int) -> int:
        time.sleep(self.seconds)
        self.ends.append(time.perf_counter())
        return item


class PoolCall(SubTaskPoolWorker[int, int, int, int]):
    def __init__(self, seconds: float, ends: list[float], sub_workers: int) -> None:
        super().__init__(sub_workers=sub_workers)
        self.seconds, self.ends = seconds, ends

    def split(self, item: int) -> list[int]:
        return [item] * 3

    def process_sub_task(self, sub: int) -> int:
        time.sleep(self.seconds)
        self.ends.append(time.perf_counter())
        return sub

    def merge(self, item: int, results: list[int]) -> int:
        return item


def stops() -> Figures:
    """From stop() to the end of the run, less what the last call in flight took of it."""
    found: defaultdict[str, list[float]] = defaultdict(list)
    draw = random.Random(5)
    for number in range(STOPS):
        kind = KINDS[number % len(KINDS)]
        found[kind].append(_stop_once(kind, draw))
    found["all"] = [seconds for kind in KINDS for seconds in found[kind]]
    return {
        f"stop beyond the calls in flight, {kind} ({len(seconds)} stops)": (
            f"p50 {_percentile(seconds, 50):.2f} ms, p99 {_percentile(seconds, 99):.2f} ms, "
            f"longest {max(seconds) * 1e3:.2f} ms"
        )
        for kind, seconds in found.items()
    }


def _stop_once(kind: str, draw: random.Random) -> float:
    ends: list[float] = []
    release = threading.Event()
    manager = PipelineManager(queue_size=draw.choice([1, 3, 20, 100]), ordered=draw.random() < 0.7)
    for number in range(draw.randint(1, 4)):
        seconds = draw.uniform(0.001, 0.02) if kind in ("slow stages", "sub-task pool") else 0.0
        if kind == "sub-task pool" and number == 0:
            arguments = {"seconds": seconds, "ends": ends, "sub_workers": draw.randint(1, 3)}
            manager.add_worker(PoolCall, name=f"s{number}", worker_args=arguments)
        else:
            arguments = {"seconds": seconds, "ends": ends} if seconds else {}
            worker_class = Call if seconds else Same
            manager.add_worker(worker_class, name=f"s{number}", workers=draw.randint(1, 4), worker_args=arguments)

    def source() -> Iterator[int]:
        if kind == "idle":
            yield 0
            release.wait()
        yield from itertools.count()

    results = manager.run(source())
    next(results)
    time.sleep(draw.uniform(0.01, 0.05))
    start = time.perf_counter()
    manager.stop()
    for _ in results:
        pass
    end = time.perf_counter()
    release.set()
    return end - max([start, *(at for at in ends if at <= end)])


def _percentile(seconds: list[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100, method="inclusive")[percent - 1] * 1e3


def idle() -> Figures:
    """24 workers wait for a source that gives nothing."""
    release = threading.Event()

    def source() -> Iterator[int]:
        yield 0
        release.wait()

    manager = PipelineManager()
    for number in range(3):
        manager.add_worker(Same, name=f"s{number}", workers=8)
    manager.start(source())
    time.sleep(0.5)
    before, begin = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    time.sleep(IDLE_SECONDS)
    after, seconds = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter() - begin
    release.set()
    manager.wait_for_completion()
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    switches = after.ru_nvcsw - before.ru_nvcsw - 1  # One is the sleep above.
    return {
        "24 idle workers: share of a CPU": f"{cpu / seconds:.3%}",
        "24 idle workers: wake-ups a second": f"{switches / seconds:.1f}",
    }


def empty() -> Figures:
    """From the manager's making to the end of a run without items."""
    seconds = []
    for _ in range(EMPTY_RUNS):
        begin = time.perf_counter()
        manager = PipelineManager()
        for number in range(3):
            manager.add_worker(Same, name=f"s{number}")
        list(manager.run([]))
        seconds.append(time.perf_counter() - begin)
    return {f"an empty run of 3 stages (median of {EMPTY_RUNS})": f"{statistics.median(seconds) * 1e3:.2f} ms"}


class Limited(BaseWorker[int, int]):
    """Notes when its calls begin. Those that `hang` wait for an event."""

    def __init__(
        self, begins: list[float], release: threading.Event, seconds: float = 0.0, *, hang: bool = False
    ) -> None:
        self.begins, self.release, self.seconds, self.hang = begins, release, seconds, hang

    def process_item(self, item: int) -> int:
        self.begins.append(time.perf_counter())
        time.sleep(self.seconds)
        if self.hang:
            self.release.wait()
        return item


class AsyncLimited(Limited):
    async def process_item(self, item: int) -> int:  # type: ignore[override]
        self.begins.append(time.perf_counter())
        await asyncio.sleep(3600)
        return item


def rate() -> Figures:
    """50 workers share a rate: all calls, and the most in any second."""
    begins: list[float] = []
    arguments = {"begins": begins, "release": threading.Event(), "seconds": 0.05}
    manager = PipelineManager().add_worker(Limited, workers=50, rate_limit=RATE, worker_args=arguments)
    list(manager.run(range(int(RATE * RATE_SECONDS) + 1)))
    begins.sort()
    kept = (len(begins) - 1) / (begins[-1] - begins[0]) / RATE
    most = max(bisect.bisect_left(begins, begin + 1) - number for number, begin in enumerate(begins))
    what = f"{RATE:.0f} calls a second, of 50 workers, for {RATE_SECONDS} s"
    return {f"{what}: share of the rate": f"{kept:.2%}", f"{what}: most calls in a second": f"{most}"}


def time_limits() -> Figures:
    """Calls that hang, 100 at a time: how late their failures come."""
    figures: Figures = {}
    for what, worker in (("threads", Limited), ("an event loop", AsyncLimited)):
        begins: list[float] = []
        ends: list[float] = []
        release = threading.Event()
        manager = PipelineManager(
            on_error="skip", on_dead_letter=lambda letter, ends=ends: ends.append(time.perf_counter())
        )
        arguments = {"begins": begins, "release": release, "hang": True}
        manager.add_worker(worker, workers=100, timeout=TIME_LIMIT, worker_args=arguments)
        list(manager.run(range(300)))
        release.set()
        late = [(end - begin - TIME_LIMIT) * 1e3 for begin, end in zip(sorted(begins), sorted(ends), strict=True)]
        name = f"a time limit of {TIME_LIMIT} s, 100 calls in flight in {what} (300)"
        figures[name] = f"p50 {statistics.median(late):.1f} ms late, longest {max(late):.1f} ms"
    return figures


def hanging() -> Figures:
    """A hundred items that hang, one after another."""
    release = threading.Event()
    unit = 2**20 if sys.platform == "darwin" else 2**10
    manager = PipelineManager(on_error="skip")
    arguments = {"begins": [], "release": release, "hang": True}
    manager.add_worker(Limited, timeout=0.05, worker_args=arguments)
    threads, before = threading.active_count(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    list(manager.run(range(100)))
    more = threading.active_count() - threads
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit - before
    release.set()
    return {"a hundred items that hang in threads, when the run has ended": f"{more} threads, {memory:.1f} MiB more"}


def memory(items: int) -> Figures:
    """The most that was resident, in a run of 3 stages with a fresh object for each item."""
    manager = PipelineManager()
    for number in range(3):
        manager.add_worker(Same, name=f"s{number}", workers=1 + number % 2)
    delivered = sum(1 for _ in manager.run([number] for number in range(items)))
    assert delivered == items
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {f"most memory, {items:,} items": f"{peak:.1f} MiB"}


MEASUREMENTS: dict[str, Callable[[], Figures]] = {
    "stops": stops,
    "idle": idle,
    "empty": empty,
    "rate": rate,
    "time limits": time_limits,
    "hanging": hanging,
    "memory-5": lambda: memory(10**5),
    "memory-6": lambda: memory(10**6),
    "memory-7": lambda: memory(10**7),
}


def measure(name: str) -> Figures:
    command = [sys.executable, str(Path(__file__).resolve()), "--measure", name]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=3600)
    figures: Figures = json.loads(done.stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(MEASUREMENTS), help="these measurements alone")
    parser.add_argument("--long", action="store_true", help="with 10 million items, too")
    parser.add_argument("--write", action="store_true", help="put the table into docs/guarantees.md")
    parser.add_argument("--measure", choices=list(MEASUREMENTS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(MEASUREMENTS[arguments.measure]()))
        return
    names = arguments.only or [name for name in MEASUREMENTS if arguments.long or name != "memory-7"]
    figures = {what: figure for name in names for what, figure in measure(name).items()}
    lines = ["| | |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in figures.items())]
    lines += ["", f"Python {platform.python_version()}, {platform.system()}, {platform.machine()}."]
    print("\n".join(lines))
    if arguments.write:
        from faults import write

        write(lines, "limits")


if __name__ == "__main__":
    main()
