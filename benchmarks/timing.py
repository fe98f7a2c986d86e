"""Functions for stages, and how long a peer takes with them."""

import hashlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from peers import Function, Peer, Stage

BLOCK = bytes(1 << 20)


class Measured(NamedTuple):
    """What a workload measures. `cpu`: CPU time in the same unit; `start`: seconds before the first result."""

    value: float
    cpu: float | None = None
    start: float | None = None


def same(item: Any) -> Any:
    return item


def sleep(seconds: float) -> Function:
    def call(item: Any) -> Any:
        time.sleep(seconds)
        return item

    return call


def spin(seconds: float) -> Function:
    """Holds the CPU, and the GIL, for that long."""

    def call(item: Any) -> Any:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass
        return item

    return call


def digest(item: Any) -> Any:
    hashlib.sha256(BLOCK).digest()  # Lets go of the GIL.
    return item


def timed(peer: Peer, stages: Sequence[Stage], source: Sequence[Any], queue_size: int = 100) -> float:
    """Seconds for all. Every stage gives back what it got, so the results must be the source's items."""
    if peer.name == "bare":
        return without_pipeline(stages, source)
    warm_up(peer)
    start = time.perf_counter()
    results = list(peer.run(source, stages, queue_size))
    seconds = time.perf_counter() - start
    in_order = peer.ordered or all(stage.workers == 1 for stage in stages)
    if (results if in_order else sorted(results)) != list(source):
        raise AssertionError(f"{peer.name} gave other results than the plain loop")
    return seconds


def timed_with_cpu(peer: Peer, stages: Sequence[Stage], source: Sequence[Any]) -> Measured:
    """Microseconds an item, and of CPU time."""
    warm_up(peer)
    before = time.process_time()
    seconds = timed(peer, stages, source)
    return Measured(seconds / len(source) * 1e6, (time.process_time() - before) / len(source) * 1e6)


def timed_once_started(peer: Peer, stages: Sequence[Stage], source: Sequence[Any], first: int = 128) -> Measured:
    """Microseconds an item, and of CPU time here, from when the `first` have been there and back: all children run by then."""
    held, results, begin, start, cpu = threading.Event(), list[Any](), time.perf_counter(), 0.0, 0.0

    def items() -> Iterator[Any]:
        yield from source[:first]
        held.wait()
        yield from source[first:]

    for result in peer.run(items(), stages, 100):
        results.append(result)
        if len(results) == first:
            start, cpu = time.perf_counter() - begin, time.process_time()
            held.set()
    seconds, cpu = time.perf_counter() - begin - start, time.process_time() - cpu
    if results != list(source):
        raise AssertionError(f"{peer.name} gave other results than the plain loop")
    each = 1e6 / (len(source) - first)
    return Measured(seconds * each, cpu * each, start=start)


def warm_up(peer: Peer) -> None:
    """Import what it needs, and start its threads once."""
    list(peer.run([0], [Stage(same)], 100))


def without_pipeline(stages: Sequence[Stage], source: Sequence[Any]) -> float:
    """Seconds that the threads of all stages take at once, each with its share of the items, and none waits for another."""

    def work(function: Function, share: Sequence[Any]) -> None:
        for item in share:
            function(item)

    shares = [(stage.function, source[n :: stage.workers]) for stage in stages for n in range(stage.workers)]
    threads = [threading.Thread(target=work, args=share) for share in shares]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start
