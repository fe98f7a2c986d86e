"""Where the time of an item goes: three stages that do nothing, taken apart.

python benchmarks/anatomy.py            prints the table
python benchmarks/anatomy.py --write    puts it into docs/performance.md
python benchmarks/anatomy.py --quick    one round: whether it works, not how fast

Each part is run alone, in one thread where nothing waits; the whole is a run as anyone's. What the whole takes beyond
its parts is what threads cost: to wake one another, and to pass the GIL on.
"""

import platform
import resource
import statistics
import sys
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any
from unittest import mock

from bench import put_into_page
from peers import use_core

use_core()
from pipeline_core import BaseWorker, PipelineManager  # noqa: E402
from pipeline_core.channel import Closed  # noqa: E402
from pipeline_core.signals import Signal  # noqa: E402

ITEMS = 100_000
ROUNDS = 15
Parts = dict[str, float]


class Same(BaseWorker[int, int]):
    def process_item(self, item: int) -> int:
        return item


def main() -> None:
    found: dict[str, list[float]] = {}
    for _ in range(1 if "--quick" in sys.argv else ROUNDS):
        for measure in (calls, parts, whole, switch, sleeps):
            for name, value in measure().items():
                found.setdefault(name, []).append(value)
    table = as_table({name: statistics.median(values) for name, values in found.items()})
    print("\n".join(table))
    if "--write" in sys.argv:
        python = f"{platform.python_implementation()} {platform.python_version()}"
        command = f"`python benchmarks/anatomy.py`: medians of {ROUNDS} rounds of {ITEMS:,} items, {python}."
        put_into_page("anatomy", [*table, "", command])


def as_table(m: Parts) -> list[str]:
    """Microseconds an item."""
    rows = [
        ("the functions themselves, three calls", m["calls"]),
        ("taking, judging, counting and handing on, three times", m["stages"] - m["calls"]),
        ("the source's loop and the consumer's, with a `put` and a `get`", m["ends"]),
        ("**together, in one thread**", m["stages"] + m["ends"]),
        ("waking and switching threads", m["whole"] - m["stages"] - m["ends"]),
        ("**a run**", m["whole"]),
    ]
    lines = ["| | µs an item |", "|---|---|", *(f"| {name} | {value:.2f} |" for name, value in rows)]
    sleeps = f"Threads went to sleep {m['sleeps at 100']:.0f} times in 1,000 items, to wait for one or for room"
    wider = f"with `queue_size=1000`, {m['sleeps at 1000']:.0f} times"
    switches = f"Together with waits for the GIL that made {m['switches']:.0f} thread switches"
    wake = f"one switch to a thread that sleeps takes {m['switch']:.1f} µs"
    return [*lines, "", f"{sleeps}; {wider}. {switches}; {wake}."]


def calls() -> Parts:
    """The limit."""
    a, b, c = Same().process_item, Same().process_item, Same().process_item

    def bare() -> None:
        for item in range(ITEMS):
            c(b(a(item)))

    return {"calls": microseconds(bare)}


def parts() -> Parts:
    """The threads of a run, one after the other: no queue is ever full, and none empty."""
    run = three_stages(queue_size=ITEMS + 1)._claim(range(ITEMS), serial=False)

    def stages() -> None:
        for stage in run.stages:
            with suppress(Closed):
                stage.outbox.put_all(stage.workers[0]._run(stage.lane))
            stage.outbox.close()

    def consume() -> None:
        with suppress(Closed):
            while True:
                run.outbox.get()
                run.delivered += 1

    read = microseconds(lambda: deque(run.source.feed(), maxlen=0))
    return {"stages": microseconds(stages), "ends": read + microseconds(consume)}


def whole() -> Parts:
    manager = three_stages(queue_size=100)
    before = switches()

    def run() -> None:
        for _ in manager.run(range(ITEMS)):
            pass

    return {"whole": microseconds(run), "switches": (switches() - before) / ITEMS * 1000}


def sleeps() -> Parts:
    """How often a thread waits for an item or for room, in 1,000 items."""
    return {f"sleeps at {queue_size}": waits(queue_size) / ITEMS * 1000 for queue_size in (100, 1000)}


def waits(queue_size: int) -> int:
    counted: list[None] = []

    def wait(signal: Signal, timeout: float | None = None) -> bool:
        counted.append(None)
        return original(signal, timeout)

    original = Signal.wait
    with mock.patch.object(Signal, "wait", wait):
        for _ in three_stages(queue_size).run(range(ITEMS)):
            pass
    return len(counted)


def switch() -> Parts:
    """Two threads wake each other in turn."""
    ping, pong = Signal(), Signal()
    turns = ITEMS // 20

    def answer() -> None:
        for _ in range(turns):
            ping.wait()
            pong.set()

    thread = threading.Thread(target=answer)
    thread.start()

    def ask() -> None:
        for _ in range(turns):
            ping.set()
            pong.wait()

    found = microseconds(ask, turns * 2)
    thread.join()
    return {"switch": found}


def three_stages(queue_size: int) -> Any:
    manager = PipelineManager(queue_size=queue_size)
    for name in ("a", "b", "c"):
        manager.add_worker(Same, name=name)
    return manager


def microseconds(run: Callable[[], None], number: int = ITEMS) -> float:
    start = perf_counter()
    run()
    return (perf_counter() - start) / number * 1e6


def switches() -> int:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw + usage.ru_nivcsw


if __name__ == "__main__":
    main()
