"""Ways to run a chain of stages, each behind the same call: `PEERS[name].run(source, stages, queue_size)`.

Each is written as its own documentation recommends for such a chain, with results in the order of the items where it
can keep it, and imports its library when it runs.
"""

import asyncio
import importlib.util
import multiprocessing
import queue
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from tutorial import run_tutorial

Function = Callable[[Any], Any]
ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "{{cookiecutter.project_slug}}/src/{{cookiecutter.package_name}}/pipeline_core"
END: Any = object()


@dataclass(frozen=True)
class Stage:
    """One step of the chain: a function of one item, and how many threads may call it at a time.

    `pool`      ours has a sub-task pool there, with one sub-task an item
    `children`  child processes call it, whose function is one of those in `work_in_children.py`
    """

    function: Function
    workers: int = 1
    pool: bool = False
    children: bool = False


Runner = Callable[[Iterable[Any], Sequence[Stage], int], Iterator[Any]]


@dataclass(frozen=True)
class Peer:
    """A way to run a chain.

    `ordered`  results come in the order of the items also when a stage has several workers; all keep it with one each
    `staged`   each stage has workers of its own; else all stages of an item are one call, in as many workers as the
               stages have together, so that no stage's own number of workers holds
    `pulls`    it reads the source in the consumer's thread, `queue_size` items ahead of the result that it waits for
    `library`  what it needs beyond the standard library
    """

    name: str
    run: Runner
    about: str
    ordered: bool = True
    staged: bool = True
    pulls: bool = False
    pickles: bool = False
    library: str | None = None

    @property
    def installed(self) -> bool:
        return self.library is None or importlib.util.find_spec(self.library) is not None


def use_core(folder: Path = CORE) -> None:
    """Let `import pipeline_core` find that folder, behind whatever else is to be found."""
    if str(folder.parent) not in sys.path:
        sys.path.append(str(folder.parent))


def run_loop(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    functions = [stage.function for stage in stages]
    for item in source:
        for function in functions:
            item = function(item)
        yield item


def run_ours(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100, **options: Any) -> Iterator[Any]:
    use_core()
    from pipeline_core import BaseWorker, PipelineManager, SubTaskPoolWorker

    pipeline = PipelineManager(queue_size=queue_size, **options)
    for number, stage in enumerate(stages):
        name, method = f"stage-{number}", _without_self(stage.function)
        if stage.children:
            from work_in_children import POOLS, STAGES

            if stage.pool:
                pool = {"sub_workers": stage.workers, "executor": "process"}
                pipeline.add_worker(POOLS[stage.function], name=name, worker_args=pool)
            else:
                pipeline.add_worker(STAGES[stage.function], name=name, workers=stage.workers, executor="process")
        elif stage.pool:
            worker = type("Worker", (SubTaskPoolWorker,), {"process_sub_task": method})
            pipeline.add_worker(worker, name=name, worker_args={"sub_workers": stage.workers})
        else:
            worker = type("Worker", (BaseWorker,), {"process_item": method})
            pipeline.add_worker(worker, name=name, workers=stage.workers)
    results: Iterator[Any] = pipeline.run(source)
    return results


def run_ours_pool(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    return run_ours(source, [replace(stage, pool=True) for stage in stages], queue_size)


def _without_self(function: Function) -> Function:
    """As a method: a C function is none by itself, and a Python function would get `self`."""
    return staticmethod(function)


def run_ours_unordered(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    return run_ours(source, stages, queue_size, ordered=False)


def run_chain(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    """What one writes by hand for speed: no order, no errors, no stop. A stage that raises leaves the run hanging."""
    queues = [queue.Queue[Any](queue_size) for _ in range(len(stages) + 1)]
    left = [stage.workers for stage in stages]
    lock = threading.Lock()

    def feed() -> None:
        for item in source:
            queues[0].put(item)
        queues[0].put(END)

    def work(number: int) -> None:
        inbox, outbox, function = queues[number], queues[number + 1], stages[number].function
        while (item := inbox.get()) is not END:
            outbox.put(function(item))
        with lock:
            left[number] -= 1
            last = not left[number]
        (outbox if last else inbox).put(END)

    numbers = [number for number, stage in enumerate(stages) for _ in range(stage.workers)]
    threads = [threading.Thread(target=feed, daemon=True)]
    threads += [threading.Thread(target=work, args=(number,), daemon=True) for number in numbers]
    for thread in threads:
        thread.start()
    while (result := queues[-1].get()) is not END:
        yield result
    for thread in threads:
        thread.join()


def run_window(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    """A ThreadPoolExecutor a stage, and a sliding window of futures in front of each."""
    with ExitStack() as stack:
        items: Iterable[Any] = source
        for stage in stages:
            executor = stack.enter_context(ThreadPoolExecutor(stage.workers))
            items = _window(executor, stage.function, items, max(queue_size, 1))
        yield from items


def _window(executor: ThreadPoolExecutor, function: Function, items: Iterable[Any], size: int) -> Iterator[Any]:
    futures = deque[Future[Any]]()
    for item in items:
        futures.append(executor.submit(function, item))
        if len(futures) >= size:
            yield futures.popleft().result()
    while futures:
        yield futures.popleft().result()


def run_executor(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    """A thread a stage on `queue.Queue`; one with several workers has a ThreadPoolExecutor and two futures a worker."""
    queues = [queue.Queue[Any](queue_size) for _ in range(len(stages) + 1)]

    def feed() -> None:
        for item in source:
            queues[0].put(item)
        queues[0].put(END)

    def work(stage: Stage, inbox: "queue.Queue[Any]", outbox: "queue.Queue[Any]") -> None:
        items = iter(inbox.get, END)
        if stage.workers == 1:
            for item in items:
                outbox.put(stage.function(item))
        else:
            with ThreadPoolExecutor(stage.workers) as executor:
                for result in _window(executor, stage.function, items, 2 * stage.workers):
                    outbox.put(result)
        outbox.put(END)

    threads = [threading.Thread(target=feed, daemon=True)]
    for ends in zip(stages, queues[:-1], queues[1:], strict=True):
        threads.append(threading.Thread(target=work, args=ends, daemon=True))
    for thread in threads:
        thread.start()
    yield from iter(queues[-1].get, END)
    for thread in threads:
        thread.join()


def run_gather(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    """One stage of coroutines. All results are there at the end."""
    (stage,) = stages

    async def gathered() -> list[Any]:
        free = asyncio.Semaphore(stage.workers)

        async def one(item: Any) -> Any:
            async with free:
                return await stage.function(item)

        return await asyncio.gather(*map(one, source))

    yield from asyncio.run(gathered())


def run_imap(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100, chunk: int = 1) -> Iterator[Any]:
    """`multiprocessing.Pool.imap`, which reads all of the source at once."""
    (stage,) = stages
    with multiprocessing.Pool(stage.workers) as pool:
        yield from pool.imap(stage.function, source, chunk)


def run_pypeln(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    """`pl.thread.ordered` would hold all results until the last is there: with several workers, order is given up."""
    import pypeln

    chain: Any = source
    for stage in stages:
        chain = pypeln.thread.map(_plain(stage.function), chain, workers=stage.workers, maxsize=queue_size)
    return iter(chain)


def _plain(function: Function) -> Function:
    """With a signature to look at, which some libraries do."""
    return lambda item: function(item)


def run_streamable(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    """`buffer` gives each stage a thread that runs ahead; without it, a stage of one worker is the consumer's own."""
    from streamable import stream

    chain: Any = stream(source)
    for stage in stages:
        chain = chain.map(stage.function, concurrency=stage.workers).buffer(queue_size)
    return iter(chain)


def run_spdl(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    from spdl.pipeline import PipelineBuilder

    builder: Any = PipelineBuilder().add_source(source)
    for stage in stages:
        builder = builder.pipe(stage.function, concurrency=stage.workers, output_order="input")
    threads = sum(stage.workers for stage in stages)
    pipeline = builder.add_sink(queue_size).build(num_threads=threads)
    with pipeline.auto_stop():
        yield from pipeline.get_iterator()


def run_joblib(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    from joblib import Parallel, delayed

    workers, call = sum(stage.workers for stage in stages), Fused(stages)
    parallel = Parallel(workers, backend="threading", return_as="generator", pre_dispatch=max(queue_size, workers))
    return iter(parallel(delayed(call)(item) for item in source))


def run_processes(source: Iterable[Any], stages: Sequence[Stage], queue_size: int = 100) -> Iterator[Any]:
    """A ProcessPoolExecutor, with chunks of the source sent to it: `queue_size` items are on their way."""
    workers, call = sum(stage.workers for stage in stages), Fused(stages)
    items, size = iter(source), max(1, queue_size // (2 * workers))
    chunks = deque[Future[list[Any]]]()
    with ProcessPoolExecutor(workers) as executor:
        while chunk := list(islice(items, size)):
            chunks.append(executor.submit(call.all, chunk))
            if len(chunks) > 2 * workers:
                yield from chunks.popleft().result()
        while chunks:
            yield from chunks.popleft().result()


class Fused:
    """All stages as one call."""

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._functions = [stage.function for stage in stages]

    def __call__(self, item: Any) -> Any:
        for function in self._functions:
            item = function(item)
        return item

    def all(self, items: list[Any]) -> list[Any]:
        return [self(item) for item in items]


PEERS = {
    peer.name: peer
    for peer in (
        Peer("loop", run_loop, "the plain loop, in one thread"),
        Peer("ours", run_ours, "the core, with all defaults: in order, accounted for"),
        Peer("ours-unordered", run_ours_unordered, "the core, with `ordered=False`", ordered=False),
        Peer("ours-pool", run_ours_pool, "the core, with a sub-task pool"),
        Peer("chain", run_chain, "threads on `queue.Queue`, by hand, without any care", ordered=False),
        Peer("tutorial", run_tutorial, "threads on `queue.Queue`, as tutorials show: polling, a stop event, sorting"),
        Peer("window", run_window, "a `ThreadPoolExecutor` and a window of futures for each stage", pulls=True),
        Peer(
            "executor",
            run_executor,
            "the chain, with a `ThreadPoolExecutor` and two futures a worker where a stage has several",
        ),
        Peer("gather", run_gather, "`asyncio.gather` over a semaphore"),
        Peer("imap-1", partial(run_imap, chunk=1), "`multiprocessing.Pool.imap(chunksize=1)`", pickles=True),
        Peer("imap-64", partial(run_imap, chunk=64), "`multiprocessing.Pool.imap(chunksize=64)`", pickles=True),
        Peer("pypeln", run_pypeln, "`pypeln.thread.map`", ordered=False, library="pypeln"),
        Peer("streamable", run_streamable, "`stream.map(…, concurrency).buffer(…)`", library="streamable"),
        Peer("spdl", run_spdl, '`PipelineBuilder.pipe(…, output_order="input")`', library="spdl.pipeline"),
        Peer(
            "joblib",
            run_joblib,
            '`Parallel(backend="threading", return_as="generator")` over all stages as one call',
            staged=False,
            pulls=True,
            library="joblib",
        ),
        Peer(
            "processes",
            run_processes,
            "a `ProcessPoolExecutor` over all stages as one call, in chunks",
            staged=False,
            pulls=True,
            pickles=True,
        ),
    )
}
