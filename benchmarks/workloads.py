"""What is measured: each workload runs the same stages over the same items with any peer, and says what must hold."""

import asyncio
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from observed import WATCHED
from peers import CORE, PEERS, Peer, Stage, run_loop, use_core
from timing import Measured, digest, same, sleep, spin, timed, timed_once_started, timed_with_cpu, warm_up
from verdicts import (
    Verdicts,
    X,
    as_fast_as_chain,
    beside,
    beside_gather,
    beside_imap,
    beside_the_loop,
    cost_of_watching,
    faster_with_cores,
    ideal,
    ratio_of_hop,
    speed_up,
    two_cores,
)

SLOW = {"tutorial": 10, "pypeln": 10, "streamable": 20, "spdl": 100, "joblib": 20}  # Gets that part of the items.
STAGED = ("ours", "chain", "window", "tutorial", "pypeln", "streamable", "spdl")
AHEAD = tuple(name for name in STAGED if not PEERS[name].pulls)  # They give a result before they want the next item.


class Point(NamedTuple):
    """One thing to measure: a peer, at a value of what the workload varies."""

    peer: str
    x: X


@dataclass(frozen=True)
class Workload:
    """`x` names what varies, with its values in `values`; `higher` says that more is better."""

    name: str
    about: str
    unit: str
    measure: Callable[[Peer, X, float], float | Measured]
    peers: tuple[str, ...] = STAGED
    x: str = ""
    values: tuple[float, ...] = ()
    higher: bool = False
    free_threaded: bool = False
    verdicts: Verdicts = lambda medians: []

    def xs(self, *, quick: bool) -> Sequence[X]:
        values = self.values or (None,)
        return values[:2] if quick else values

    def worse(self, value: float) -> float:
        return -value if self.higher else value


EVERYONE = (
    PEERS
    | WATCHED
    | {
        "bare": Peer("bare", run_loop, "the threads of all stages at once, without a pipeline: none waits for another"),
        "shipped": Peer(
            "shipped", run_loop, "the example as it is: the model asked in batches, a pool of threads that draws"
        ),
    }
    | {
        f"earlier{name}": replace(PEERS[f"ours{name}"], name=f"earlier{name}", about="the core that --core names")
        for name in ("", "-unordered", "-pool")
    }
)
core = CORE  # Whose speed is measured in this process.


def items(peer: Peer, number: int, scale: float) -> range:
    return range(max(20, int(number * scale / SLOW.get(peer.name, 1))))


def hop(peer: Peer, x: X, scale: float) -> float:
    source = items(peer, 200_000, scale)
    return timed(peer, [Stage(same)] * 3, source) / len(source) * 1e6


def hop_on_one_core(peer: Peer, x: X, scale: float) -> float:
    """No thread has to be woken on another core, which on some hosts takes longer than all the rest."""
    use_cores(1)
    return hop(peer, x, scale)


def stages(peer: Peer, x: X, scale: float) -> float:
    source = items(peer, 50_000, scale)
    return timed(peer, [Stage(same)] * int(x or 1), source) / len(source) / (x or 1) * 1e6


def length(peer: Peer, x: X, scale: float) -> float:
    source = range(max(20, int((x or 1) * scale)))
    return timed(peer, [Stage(same)] * 3, source) / len(source) * 1e6


def io(peer: Peer, x: X, scale: float) -> float:
    """Share of the ideal, 2 ms an item: all three stages need that."""
    source = range(max(20, int(2000 * scale)))
    seconds = timed(peer, [Stage(sleep(0.002)), Stage(sleep(0.016), 8), Stage(sleep(0.004), 2)], source)
    return 0.002 * len(source) / seconds


def mixed(peer: Peer, x: X, scale: float) -> float:
    source = range(max(20, int(3200 * scale)))
    return 0.01 / 16 * len(source) / timed(peer, [Stage(same), Stage(sleep(0.01), 16), Stage(same)], source)


def scaling(peer: Peer, x: X, scale: float) -> float:
    number = int(x or 1)
    source = range(max(20, int(150 * number * scale)))
    return 0.01 / number * len(source) / timed(peer, [Stage(sleep(0.01), number)], source)


def workers(peer: Peer, x: X, scale: float) -> Measured:
    """4 workers that do nothing (x=0), or 16 that sleep for x ms, between two stages that do nothing."""
    busy = Stage(sleep(x / 1e3), 16) if x else Stage(same, 4)
    return timed_with_cpu(peer, [Stage(same), busy, Stage(same)], items(peer, 4000 if x else 100_000, scale))


def pool(peer: Peer, x: X, scale: float) -> Measured:
    return timed_with_cpu(peer, [Stage(same), Stage(same), Stage(same, 4, pool=True)], items(peer, 100_000, scale))


def procs(peer: Peer, x: X, scale: float) -> Measured:
    from work_in_children import count_primes, same

    number = 4000 if x else 30_000 if peer.name == "imap-1" else 100_000
    return timed_once_started(
        peer, [Stage(count_primes if x else same, 2, children=True)], range(128 + max(20, int(number * scale)))
    )


def command(peer: Peer, x: X, scale: float) -> Measured:
    """The whole process, from its start to its end."""
    from workload_command import LINES, process_seconds

    lines = max(20, int(LINES * scale))
    seconds, cpu = process_seconds(peer.name, core, lines)
    return Measured(seconds / lines * 1e6, cpu / lines * 1e6)


async def waits(item: Any) -> Any:
    await asyncio.sleep(0.05)
    return item


def in_flight(peer: Peer, x: X, scale: float) -> float:
    source = items(peer, 20_000, scale)
    stages = [Stage(waits, workers=500)]
    deque(peer.run(source[:20], stages, 1000), maxlen=0)  # What is imported and compiled is not the matter.
    start = time.perf_counter()
    deque(peer.run(source, stages, 1000), maxlen=0)
    return (time.perf_counter() - start) / len(source) * 1e6


def cpu(peer: Peer, x: X, scale: float) -> float:
    source = range(max(20, int(1000 * scale)))
    return timed(peer, [Stage(digest)] * 2, source) / len(source) * 1e3


def latency(peer: Peer, x: X, scale: float) -> float:
    """Microseconds from the source to the consumer, median; an item starts when the one before it has come out."""
    free = threading.Semaphore(1)
    seconds = []

    def source() -> Iterator[float]:
        for _ in items(peer, 5000, scale):
            free.acquire()
            yield time.perf_counter()

    warm_up(peer)
    for began in peer.run(source(), [Stage(same)] * 3, 100):
        seconds.append(time.perf_counter() - began)
        free.release()
    return float(statistics.median(seconds) * 1e6)


def cost(peer: Peer, x: X, scale: float) -> float:
    """Items a second through one stage that computes for `x` microseconds between two that do nothing."""
    work = (x or 1) / 1e6
    source = range(max(20, int(min(20_000, 0.5 / (work + 2e-5)) * scale)))
    return len(source) / timed(peer, [Stage(same), Stage(spin(work)), Stage(same)], source)


def files(peer: Peer, x: X, scale: float) -> float:
    """Milliseconds a file: read 256 KiB, compress it, write it; on `x` cores."""
    use_cores(int(x or 1))
    folder = Path(tempfile.mkdtemp())
    numbers = range(max(8, int(200 * scale)))
    text = b"".join(hashlib.sha256(str(n).encode()).hexdigest().encode() for n in range(4096))
    for n in numbers:
        (folder / f"{n}.txt").write_bytes(text[n:] + text[:n])

    def write(found: tuple[int, bytes]) -> int:
        (folder / f"{found[0]}.z").write_bytes(found[1])
        return found[0]

    steps = [
        Stage(lambda n: (n, (folder / f"{n}.txt").read_bytes())),
        Stage(lambda found: (found[0], zlib.compress(found[1], 6)), os.cpu_count() or 1),
        Stage(write),
    ]
    return timed(peer, steps, numbers) / len(numbers) * 1e3


def use_cores(number: int) -> None:
    if not hasattr(os, "sched_setaffinity"):
        raise SystemExit("this workload needs Linux, where a process can be kept to some cores")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:number])


def digits(peer: Peer, x: X, scale: float) -> float:
    """Milliseconds a digit: check it, ask the model, draw it. `shipped` is the example's own pipeline."""
    from workload_digits import Digits

    numbers = range(max(64, int(1797 * scale)))
    with tempfile.TemporaryDirectory() as folder:
        example = Digits(Path(folder), len(numbers))
        if peer.name == "shipped":
            return example.seconds_as_shipped() / len(numbers) * 1e3
        steps = [Stage(example.check), Stage(example.classify), Stage(example.draw, os.cpu_count() or 1)]
        return timed(peer, steps, numbers) / len(numbers) * 1e3


def start(peer: Peer, x: X, scale: float) -> float:
    """Milliseconds: the import beyond Python's own start (x=0), or a run of one item (x=1), median of 20."""
    if x == 0:
        took, number = [], max(1, int(20 * scale))
        with tempfile.TemporaryDirectory() as compiled:  # From bytecode, as of the second time on, and not in the tree.
            kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
            for line in ("import pipeline_core", "pass", "import pipeline_core"):
                begin = time.perf_counter()
                for _ in range(number):
                    environment = kept | {"PYTHONPYCACHEPREFIX": compiled}
                    subprocess.run([sys.executable, "-c", line], cwd=core.parent, check=True, env=environment)
                took.append((time.perf_counter() - begin) / number)
        return (took[2] - took[1]) * 1e3
    return statistics.median(timed(peer, [Stage(same)] * 3, [1]) for _ in range(20)) * 1e3


def observing(peer: Peer, x: X, scale: float) -> float:
    """Microseconds an item, through three stages of which the middle one sleeps for `x` ms; without a sleep, on one core."""
    if not x:
        return hop_on_one_core(peer, x, scale * 5)
    source = items(peer, 300, scale)
    return timed(peer, [Stage(same), Stage(sleep(x / 1e3)), Stage(same)], source) / len(source) * 1e6


def pure_python(peer: Peer, x: X, scale: float) -> float:
    from work_in_children import count_primes

    source = range(max(20, int(1500 * scale)))
    return len(source) / timed(peer, [Stage(count_primes, int(x or 1))], source)


WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload("hop", "three stages that do nothing", "µs an item", hop, verdicts=ratio_of_hop),
        Workload(
            "hop-on-one-core",
            "three stages that do nothing, all on one core",
            "µs an item",
            hop_on_one_core,
            verdicts=ratio_of_hop,
        ),
        Workload(
            "latency",
            "one item at a time through three stages",
            "µs, median",
            latency,
            AHEAD,
            verdicts=as_fast_as_chain,
        ),
        Workload(
            "io",
            "sleeps of 2, 16 and 4 ms with 1, 8 and 2 workers",
            "of the ideal",
            io,
            peers=("bare", *STAGED),
            higher=True,
            verdicts=ideal("97%"),
        ),
        Workload(
            "mixed",
            "a sleep of 10 ms with 16 workers, between two stages that do nothing",
            "of the ideal",
            mixed,
            peers=("bare", *STAGED),
            higher=True,
            verdicts=ideal("99%"),
        ),
        Workload(
            "cpu", "two stages that hash 1 MiB each", "ms an item", cpu, ("loop", "bare", *STAGED), verdicts=two_cores
        ),
        Workload(
            "files",
            "read 256 KiB, compress, write",
            "ms a file",
            files,
            ("loop", *STAGED, "joblib"),
            "cores",
            (1, 2),
            verdicts=faster_with_cores,
        ),
        Workload(
            "digits",
            "check a digit, classify it, draw it",
            "ms a digit",
            digits,
            ("loop", "shipped", *STAGED, "joblib"),
        ),
        Workload(
            "stages",
            "stages that do nothing",
            "µs a hop",
            stages,
            ("ours", "chain", "window"),
            "stages",
            (1, 2, 5, 10, 20),
        ),
        Workload(
            "length",
            "three stages that do nothing",
            "µs an item",
            length,
            ("ours",),
            "items",
            (10**4, 10**5, 10**6, 10**7),
        ),
        Workload(
            "scaling",
            "a sleep of 10 ms",
            "of the ideal",
            scaling,
            ("bare", "ours", "chain", "window"),
            "workers",
            (1, 4, 16, 64),
            higher=True,
            verdicts=ideal("97%"),
        ),
        Workload(
            "workers",
            "4 workers that do nothing, or 16 that sleep, between two stages that do nothing",
            "µs an item",
            workers,
            ("ours", "executor"),
            "ms of sleep",
            (0, 5),
            verdicts=beside("executor", 4),
        ),
        Workload(
            "pool",
            "a sub-task pool of 4 threads behind two stages, none of which does anything",
            "µs an item",
            pool,
            ("ours", "executor"),
            verdicts=beside("executor", 3),
        ),
        Workload(
            "procs",
            "2 child processes: a call that does nothing, or a millisecond of Python",
            "µs an item",
            procs,
            ("ours", "ours-pool", "imap-1", "imap-64"),
            "ms of Python",
            (0, 1),
            verdicts=beside_imap,
        ),
        Workload(
            "async",
            "500 sleeps of 50 ms in flight in one event loop",
            "µs an item",
            in_flight,
            ("ours", "gather"),
            verdicts=beside_gather,
        ),
        Workload(
            "command",
            "the command of a project over lines of 160 bytes",
            "µs a line",
            command,
            ("ours", "loop"),
            verdicts=beside_the_loop,
        ),
        Workload(
            "cost",
            "a stage that computes, between two that do nothing",
            "items a second",
            cost,
            ("loop", *STAGED),
            "µs an item",
            (1, 10, 100, 1000, 10_000, 100_000),
            higher=True,
        ),
        Workload("start", "x=0: the import; x=1: a run of one item", "ms", start, ("ours",), "x", (0, 1)),
        Workload(
            "observing",
            "watched by a live table and a history",
            "µs an item",
            observing,
            ("unwatched", "watched"),
            "ms in a stage",
            (0, 10),
            verdicts=cost_of_watching,
        ),
        Workload(
            "free-threaded",
            "a stage in pure Python",
            "items a second",
            pure_python,
            ("ours", "window"),
            "workers",
            (1, 2),
            higher=True,
            free_threaded=True,
            verdicts=speed_up,
        ),
    )
}

if __name__ == "__main__":
    name, peer, x, scale, folder = json.loads(sys.argv[1])
    core = Path(folder)
    use_core(core)
    measured = WORKLOADS[name].measure(EVERYONE[peer], x, scale)
    print(json.dumps(measured if isinstance(measured, Measured) else Measured(measured)))
