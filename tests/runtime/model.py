"""Random pipelines as plain data, what the plain loop makes of them, and the real pipeline to compare with.

An item is a tuple of numbers: its root, which the source gave, and which child it is of each stage that expands. So a
stage's function can be a pure function of the item, and the oracle needs no threads.
"""

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import AsyncGenerator, Generator, Iterator
from dataclasses import dataclass, field, fields
from inspect import signature
from typing import Any, Literal

from my_pipeline.pipeline_core import BaseWorker, PipelineManager, SubTaskPoolWorker

Item = tuple[int, ...]
ALWAYS = 99


class Injected(Exception):
    """What the faults of the model raise."""


class InjectedBase(BaseException):
    """The same, but no Exception."""


class Short:
    """The repr of a dataclass, without what is as it is by default. It can be pasted as it stands."""

    def __repr__(self) -> str:
        shown = [
            f"{item.name}={getattr(self, item.name)!r}"
            for item in fields(self)  # type: ignore[arg-type]
            if getattr(self, item.name) != item.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


ERRORS: dict[str, type[BaseException]] = {"error": Injected, "exit": SystemExit, "base": InjectedBase}


@dataclass(frozen=True, repr=False)
class StageCase(Short):
    """One stage. Items with a root in `bad` raise in their first `fails` attempts."""

    kind: Literal["ok", "filter", "expand", "pool", "batch"] = "ok"
    workers: int = 1
    queue_size: int = 100
    skip: bool = False
    retries: int = 0
    bad: frozenset[int] = frozenset()
    fails: int = ALWAYS
    error: Literal["error", "exit", "base"] = "error"
    after: int = 0  # expand: outputs before it raises
    where: Literal["split", "process_sub_task", "merge"] = "process_sub_task"  # pool
    window: int = 2  # pool
    sub_workers: int = 2  # pool
    batch_size: int = 3
    batch_timeout: float | None = None
    slow: bool = False
    setup_fails: bool = False
    teardown_fails: bool = False
    asynchronous: bool = False  # ok, filter and expand
    when: bool = False  # Items whose sum is a multiple of five pass by.
    totals: int = 0  # What each worker gives at the end.
    limited: bool = False  # By a time that never comes.
    worth: bool = True  # Whether `retry_on` names what the faults raise.

    @property
    def in_loop(self) -> bool:
        return self.asynchronous and self.kind in ("ok", "filter", "expand")

    def lets_pass(self, item: Item) -> bool:
        return self.when and sum(item) % 5 == 0

    def wants(self, item: Item) -> bool:
        return not self.lets_pass(item)

    def givers(self, *, serial: bool) -> int:
        """How many workers give something at the end."""
        return 1 if serial or self.in_loop else self.workers

    def children(self, item: Item) -> list[Item]:
        """What the stage makes of an item that is well."""
        if self.kind == "filter":
            return [] if sum(item) % 3 == 0 else [item]
        if self.kind == "expand":
            return [(*item, child) for child in range(sum(item) % 4)]
        return [item]

    def breaks_midway(self, item: Item) -> bool:
        return self.kind == "expand" and item[0] in self.bad and self.after > 0 and bool(self.children(item))


@dataclass(frozen=True, repr=False)
class Case(Short):
    """A pipeline, a source of `items` items that may raise at the end, and how the run ends."""

    stages: tuple[StageCase, ...]
    items: int = 20
    source_raises: bool = False
    source_slow: bool = False
    ordered: bool = True
    queue_size: int = 100
    end: Literal["exhaust", "stop", "drain", "leave", "stop from a thread", "stop from a stage"] = "exhaust"
    at: int = 0  # results before the end
    serial: bool = False
    seed: int = 0


@dataclass
class Fates:
    received: int = 0
    processed: int = 0
    filtered: int = 0
    failed: int = 0
    retried: int = 0
    passed: int = 0


class PlainLoop:
    """The oracle: `for item in source: yield f3(f2(f1(item)))`, and what it knows of each stage afterwards."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.fates = [Fates() for _ in case.stages]
        self.failure: tuple[str, str] | None = None  # stage, phase
        self.results: list[Item] = []
        try:
            for root in range(case.items):
                self._through(0, (root,))
            if case.source_raises:
                self._fail("source", "read")
            for depth, stage in enumerate(case.stages):
                for index in range(stage.givers(serial=case.serial)):
                    for total in totals(stage, depth, index):
                        self._through(depth + 1, total)
        except StopIteration:
            pass

    def _fail(self, stage: str, phase: str) -> None:
        self.failure = (stage, phase)
        raise StopIteration

    def _through(self, depth: int, item: Item) -> None:
        if depth == len(self.case.stages):
            self.results.append(item)
            return
        stage, fates = self.case.stages[depth], self.fates[depth]
        fates.received += 1
        if stage.lets_pass(item):
            fates.passed += 1
            self._through(depth + 1, item)
            return
        outputs, raises = stage.children(item), False
        if item[0] in stage.bad:
            if stage.breaks_midway(item):  # What gave something is not tried again.
                raises, retried = True, 0
                outputs = outputs[: stage.after]
            else:
                again = stage.retries if stage.error == "error" and stage.worth else 0
                raises = stage.fails > again
                retried = min(stage.fails, again)
                outputs = [] if raises else outputs
            fates.retried += retried
        for output in outputs:
            self._through(depth + 1, output)
        if not raises:
            if outputs:
                fates.processed += 1
            else:
                fates.filtered += 1
            return
        fates.failed += 1
        if not stage.skip or stage.error != "error":
            self._fail(f"s{depth}", "process_batch" if stage.kind == "batch" else "process_item")


def totals(stage: StageCase, depth: int, index: int) -> Iterator[Item]:
    """What a worker gives at the end: items whose roots the source does not give."""
    for number in range(stage.totals):
        yield (1000 * (depth + 1) + 10 * index + number,)


@dataclass
class Log:
    """What the stages saw: shared by all workers of one run."""

    manager: Any = None
    stop_at: int | None = None  # calls
    calls: Iterator[int] = field(default_factory=itertools.count)
    attempts: Counter[Any] = field(default_factory=Counter)
    setups: list[Any] = field(default_factory=list)
    teardowns: list[Any] = field(default_factory=list)
    strangers: list[Any] = field(default_factory=list)  # calls in a thread that is not the worker's
    source_began: bool = False
    source_ended: bool = False
    read: int = 0
    lock: Any = field(default_factory=threading.Lock)

    def attempt(self, key: object) -> int:
        with self.lock:
            self.attempts[key] += 1
            return self.attempts[key]


def shorten(event: Any) -> None:
    """A pause between two attempts, which the stop ends, is short: this is the event that tells of the stop."""
    event.wait = lambda timeout=None: threading.Event.wait(event, None if timeout is None else min(timeout, 0.0002))


class CaseWorker(BaseWorker[Item, Item]):
    def __init__(self, case: StageCase, depth: int, log: Log) -> None:
        self.case, self.depth, self.log = case, depth, log
        self.thread: int | None = None

    def setup(self) -> None:
        self.thread = threading.get_ident()
        shorten(self.stop_event)
        self.log.setups.append((self.depth, id(self), self.thread))
        if self.case.setup_fails:
            raise Injected("setup")

    def teardown(self) -> None:
        self.log.teardowns.append((self.depth, id(self), threading.get_ident()))
        if self.case.teardown_fails:
            raise Injected("teardown")

    def finish(self) -> Iterator[Item]:
        if self.thread != threading.get_ident():
            self.log.strangers.append((self.depth, "finish"))
        yield from totals(self.case, self.depth, self.index)

    def check(self, item: Item) -> None:
        """Raise if this is an attempt that is to fail."""
        if self.thread != threading.get_ident():
            self.log.strangers.append((self.depth, item))
        self.check_anywhere(item)

    def check_anywhere(self, item: Item) -> None:
        if self.log.stop_at is not None and next(self.log.calls) == self.log.stop_at:
            self.log.manager.stop()
        if self.case.slow:
            time.sleep((sum(item) * 7 % 5) * 0.0002)
        if item[0] in self.case.bad and self.log.attempt((self.depth, item)) <= self.case.fails:
            raise ERRORS[self.case.error](self.depth, item)


class OneWorker(CaseWorker):
    """ok and filter."""

    def process_item(self, item: Item) -> Item | None:
        self.check(item)
        outputs = self.case.children(item)
        return outputs[0] if outputs else None


class ExpandWorker(CaseWorker):
    def process_item(self, item: Item) -> Generator[Any, None, None]:
        outputs = self.case.children(item)
        if not self.case.breaks_midway(item):
            self.check(item)
            for output in outputs:
                yield output
                yield None
            return
        yield from outputs[: self.case.after]
        raise ERRORS[self.case.error](self.depth, item)


class AsyncOneWorker(OneWorker):
    async def process_item(self, item: Item) -> Item | None:  # type: ignore[override]
        self.check(item)
        await asyncio.sleep(sum(item) * 7 % 5 * 0.0002 if self.case.slow else 0)
        outputs = self.case.children(item)
        return outputs[0] if outputs else None


class AsyncExpandWorker(ExpandWorker):
    async def process_item(self, item: Item) -> AsyncGenerator[Any, None]:  # type: ignore[override]
        for output in super().process_item(item):
            await asyncio.sleep(0)
            yield output

    async def finish(self) -> AsyncGenerator[Item, None]:  # type: ignore[override]
        for total in CaseWorker.finish(self):
            await asyncio.sleep(0)
            yield total


class BatchWorker(CaseWorker):
    def process_batch(self, items: list[Item]) -> list[Item | None]:
        if len(items) == 1:
            self.check(items[0])
        elif any(item[0] in self.case.bad for item in items):
            raise ERRORS[self.case.error](self.depth, items)
        return list(items)


class PoolWorker(CaseWorker, SubTaskPoolWorker[Item, Any, Any, Item]):
    def __init__(self, case: StageCase, depth: int, log: Log) -> None:
        CaseWorker.__init__(self, case, depth, log)
        SubTaskPoolWorker.__init__(self, sub_workers=case.sub_workers, window=case.window)

    def split(self, item: Item) -> Iterator[Any]:
        if self.case.where == "split":
            self.check_anywhere(item)
        for part in range(1 + sum(item) % 3):
            yield part, item

    def process_sub_task(self, sub: tuple[int, Item]) -> int:
        part, item = sub
        if self.case.where == "process_sub_task" and part == 0:
            self.check_anywhere(item)
        return part

    def merge(self, item: Item, results: list[int]) -> Item:
        assert results == list(range(1 + sum(item) % 3))
        if self.case.where == "merge":
            self.check_anywhere(item)
        return item


WORKERS: dict[str, type[CaseWorker]] = {
    "ok": OneWorker,
    "filter": OneWorker,
    "expand": ExpandWorker,
    "pool": PoolWorker,
    "batch": BatchWorker,
}
TWINS: dict[type[CaseWorker], type[CaseWorker]] = {OneWorker: AsyncOneWorker, ExpandWorker: AsyncExpandWorker}


SHORT_PAUSES: dict[str, Any] = (
    {"backoff": 0.0002} if "backoff" in signature(PipelineManager.add_worker).parameters else {}
)


def build(case: Case) -> tuple[PipelineManager, Log]:
    log = Log()
    manager = log.manager = PipelineManager(queue_size=case.queue_size, ordered=case.ordered)
    for depth, stage in enumerate(case.stages):
        worker_class = WORKERS[stage.kind]
        splits = stage.kind == "pool"  # Its threads have no time limit.
        manager.add_worker(
            TWINS[worker_class] if stage.in_loop else worker_class,
            name=f"s{depth}",
            workers=stage.workers,
            worker_args={"case": stage, "depth": depth, "log": log},
            queue_size=stage.queue_size,
            on_error="skip" if stage.skip else "stop",
            retries=stage.retries,
            retry_on=Exception if stage.worth else (KeyError, OSError),
            when=stage.wants if stage.when else None,
            timeout=1000 if stage.limited and not splits else None,
            batch_size=stage.batch_size if stage.kind == "batch" else None,
            batch_timeout=stage.batch_timeout if stage.kind == "batch" else None,
            **SHORT_PAUSES,
        )
    return manager, log


def source(case: Case, log: Log) -> Iterator[Item]:
    log.source_began = True
    try:
        for root in range(case.items):
            if case.source_slow:
                time.sleep(0.0005)
            log.read += 1
            yield (root,)
        if case.source_raises:
            raise Injected("source")
    finally:
        log.source_ended = True


def bound(case: Case) -> int:
    """R2: the most items that can have been read and not yet been delivered, if no stage expands."""
    held = case.queue_size + 2  # The results, one in the source's hand, one in the consumer's.
    for stage in case.stages:
        each = stage.batch_size if stage.kind == "batch" else stage.window + 1 if stage.kind == "pool" else 1
        window = stage.queue_size if stage.workers > 1 or stage.in_loop or stage.limited else 0
        held += stage.queue_size + stage.workers * each + window
    return held
