"""The peers of `peers.py` as `faults.py` needs them: with what each offers for errors, dropped items, set-up and stops."""

import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parent.parent / "benchmarks"))

from peers import Function, Stage, use_core  # The path comes first.
from tutorial import run_tutorial

use_core()
from pipeline_core import BaseWorker, PipelineManager, SubTaskPoolWorker  # noqa: E402  # The path comes first.

QUEUE_SIZE = 4


class NotOffered(Exception):
    """The peer has nothing for that; the text says what is missing."""


@dataclass(frozen=True)
class Step:
    """One stage: `drops` where `call` may give None for no output, `expands` where it gives an iterator of outputs."""

    call: Function
    workers: int = 1
    drops: bool = False
    expands: bool = False
    processes: bool = False  # `call` runs in child processes.
    setup: Callable[[], object] | None = None
    teardown: Callable[[], object] | None = None


class Run:
    """One run of a peer: iterate over it once. Leaving the loop, or `close` of its iterator, is the documented way out.

    `skipped`   under `skip`: what the program is told of the items that failed, in whatever form
    `deadline`  seconds for the run, or for one result where the peer has only that
    """

    library: str | None = None

    def __init__(self, source: Iterable[Any], *steps: Step, skip: bool = False, deadline: float | None = None) -> None:
        self.source, self.steps, self.skip, self.deadline = source, steps, skip, deadline
        self.skipped: list[Any] = []

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotOffered("no call that ends a run from another thread")

    def refuse(self, *, skip: str = "", deadline: str = "", **of_steps: str) -> None:
        """Raise NotOffered for whatever the run wants of these."""
        for name, text in of_steps.items():
            if any(getattr(step, name) for step in self.steps):
                raise NotOffered(text)
        if (text := skip if self.skip else "") or (text := deadline if self.deadline is not None else ""):
            raise NotOffered(text)

    @classmethod
    def version(cls) -> str:
        return version(cls.library) if cls.library else ""


class InProcess(SubTaskPoolWorker[Any, Any, Any, Any]):
    def __init__(self, call: Function, workers: int) -> None:
        super().__init__(sub_workers=workers, executor="process")
        self.call = call

    def process_sub_task(self, sub: Any) -> Any:
        return self.call(sub)


class Ours(Run):
    manager: PipelineManager

    def __iter__(self) -> Iterator[Any]:
        self.manager = PipelineManager(queue_size=QUEUE_SIZE, on_error="skip" if self.skip else "stop")
        for number, step in enumerate(self.steps):
            arguments = {"call": step.call, "workers": step.workers} if step.processes else {}
            workers = 1 if step.processes else step.workers
            self.manager.add_worker(_worker(step), name=f"s{number}", workers=workers, worker_args=arguments)
        try:
            if self.deadline is None:
                yield from self.manager.run(self.source)
            else:
                self.manager.start(self.source)
                self.manager.wait_for_completion(self.deadline)
        finally:
            self.skipped += self.manager.report.dead_letters
            report = self.manager.report
            if report.state != "running" and report.imbalances():
                raise AssertionError(report.imbalances())

    def stop(self) -> None:
        self.manager.stop()


def _worker(step: Step) -> type[BaseWorker[Any, Any]]:
    if step.processes:
        return InProcess
    body: dict[str, Any] = {"process_item": lambda _, item: step.call(item)}
    for name, call in (("setup", step.setup), ("teardown", step.teardown)):
        if call is not None:
            body[name] = lambda _, call=call: call()
    return type("Worker", (BaseWorker,), body)


class Tutorial(Run):
    """It is what one writes in an afternoon; whatever it has not, one would have to write."""

    def __iter__(self) -> Iterator[Any]:
        self.refuse(
            skip="the first error ends the run",
            deadline="no deadline for a run",
            drops="no way to drop an item, or to give several for one",
            expands="no way to drop an item, or to give several for one",
            processes="no pool of processes",
            setup="no hook before a worker's first item",
            teardown="no hook after a worker's last item",
        )
        return run_tutorial(self.source, [Stage(step.call, step.workers) for step in self.steps], QUEUE_SIZE)


class Pypeln(Run):
    library = "pypeln"

    def __iter__(self) -> Iterator[Any]:
        import pypeln

        self.refuse(skip="the first error ends the run", deadline="a time limit for one call, not for a run")
        chain: Any = self.source
        for step in self.steps:
            part = pypeln.process if step.processes else pypeln.thread
            build = part.flat_map if step.expands else part.map
            hooks = {"on_start": _hook(step.setup), "on_done": _hook(step.teardown)}
            call = step.call if step.processes else _plain(step.call)
            chain = build(call, chain, workers=step.workers, maxsize=QUEUE_SIZE, **hooks)
            if step.drops:
                chain = part.filter(_is_there, chain, maxsize=QUEUE_SIZE)
        if any(step.workers > 1 for step in self.steps):
            chain = pypeln.thread.ordered(chain, maxsize=QUEUE_SIZE)
        yield from chain


def _plain(call: Function) -> Function:
    return lambda item: call(item)


def _hook(call: Callable[[], object] | None) -> Callable[[], None] | None:
    def run() -> None:
        assert call is not None
        call()

    return None if call is None else run


def _is_there(item: Any) -> bool:
    return item is not None


class Streamable(Run):
    library = "streamable"

    def __iter__(self) -> Iterator[Any]:
        from streamable import stream

        self.refuse(
            deadline="no deadline for a run",
            setup="no hook before a worker's first item",
            teardown="no hook after a worker's last item",
        )
        with ExitStack() as stack:
            chain: Any = stream(self.source)
            for step in self.steps:
                concurrency: Any = step.workers
                if step.processes:
                    concurrency = stack.enter_context(ProcessPoolExecutor(step.workers))
                chain = chain.map(step.call, concurrency=concurrency)
                if step.expands:
                    chain = chain.flatten()
                if step.drops:
                    chain = chain.filter(_is_there)
                if self.skip:
                    chain = chain.catch(Exception, do=self.skipped.append)
                chain = chain.buffer(QUEUE_SIZE)
            yield from chain


class Spdl(Run):
    library = "spdl"
    pipeline: Any

    def __iter__(self) -> Iterator[Any]:
        from spdl.pipeline import PipelineBuilder, TaskHook

        skipped = self.skipped

        class Tells(TaskHook):  # type: ignore[misc]
            @asynccontextmanager
            async def task_hook(self, input_item: Any = None) -> Any:
                try:
                    yield
                except StopAsyncIteration:
                    raise
                except Exception as error:
                    skipped.append((input_item, error))
                    raise

        self.refuse(
            setup="no hook before a worker's first item",
            teardown="no hook after a worker's last item",
        )
        with ExitStack() as stack:
            builder: Any = PipelineBuilder().add_source(self.source)
            for step in self.steps:
                executor = stack.enter_context(ProcessPoolExecutor(step.workers)) if step.processes else None
                order = "completion" if step.expands else "input"
                builder.pipe(_generator(step), concurrency=step.workers, executor=executor, output_order=order)
            self.pipeline = builder.add_sink(QUEUE_SIZE).build(
                num_threads=sum(step.workers for step in self.steps),
                max_failures=-1 if self.skip else 0,
                task_hook_factory=lambda _: [Tells()],
            )
            with self.pipeline.auto_stop():
                yield from self.pipeline.get_iterator(timeout=self.deadline)

    def stop(self) -> None:
        self.pipeline.stop()


def _generator(step: Step) -> Function:
    """It looks whether the function itself is a generator."""

    def expand(item: Any) -> Iterator[Any]:
        yield from step.call(item)

    return expand if step.expands else step.call


PEERS: dict[str, type[Run]] = {
    "ours": Ours,
    "tutorial": Tutorial,
    "pypeln": Pypeln,
    "streamable": Streamable,
    "spdl": Spdl,
}
