"""A stage that cuts each item into sub-tasks, runs them in a pool of threads or processes, and joins them in order."""

import os
from collections.abc import Iterable
from queue import SimpleQueue
from threading import Lock, Thread, get_ident
from time import perf_counter
from typing import Any, Generic, Literal, TypeVar

from .base_worker import BaseWorker
from .channel import Closed
from .checks import MOST_WORKERS, check_choice, check_count
from .clocks import ServiceTimes

In = TypeVar("In")
Out = TypeVar("Out")
Sub = TypeVar("Sub")
SubOut = TypeVar("SubOut")


class SubTaskPoolWorker(BaseWorker[In, Out], Generic[In, Sub, SubOut, Out]):
    """Write `process_sub_task`, and `split` and `merge` if an item is more than one sub-task.

    `sub_workers`  threads or processes in the pool; the number of CPUs, if not told
    `executor`     "thread", or "process" for pure-Python work that holds the GIL; sub-tasks and their results are then
                   pickled, and each child process makes a worker of its own and calls its `setup` and `teardown`
    `window`       items in the pool at a time, each waited for in a thread of its own; twice `sub_workers`, if not told

    `process_sub_task` runs in the pool, many calls at a time: what it shares needs a lock, unless it stays as `setup`
    left it. Of `split` one call runs at a time, and of `merge`, too.
    """

    def __init__(
        self,
        *,
        sub_workers: int | None = None,
        executor: Literal["thread", "process"] = "thread",
        window: int | None = None,
    ) -> None:
        check_choice("executor", executor, ("thread", "process"))
        check_count("sub_workers", sub_workers, at_most=MOST_WORKERS, optional=True)
        check_count("window", window, optional=True)
        self.sub_workers = sub_workers or os.cpu_count() or 1
        self.executor = executor
        self.window = window or 2 * self.sub_workers
        self._splitting, self._merging = Lock(), Lock()

    def split(self, item: In) -> Iterable[Sub]:
        """The sub-tasks of an item. As it stands: the item itself is the only one."""
        return [item]  # type: ignore[list-item]

    def process_sub_task(self, sub: Sub) -> SubOut:
        """Do one sub-task. What it raises fails the item, and the item's other sub-tasks are not begun any more."""
        raise NotImplementedError(f"{type(self).__name__} defines no process_sub_task()")

    def merge(self, item: In, results: list[SubOut]) -> Out:
        """Make the output from the results, which come in the order of the sub-tasks. As it stands: the only one."""
        if len(results) != 1:
            raise ValueError(f"split() gave {len(results)} sub-tasks: merge() must say what they make together")
        return results[0]  # type: ignore[return-value]

    def process_item(self, item: In) -> Out:
        """Split, wait for the pool, merge. With `serial=True` there is no pool, and this is a plain loop."""
        with self._splitting:
            subs = list(self.split(item))
        results = [self.process_sub_task(sub) for sub in subs] if self._pool is None else self._pool.map(subs)
        with self._merging:
            return self.merge(item, results)

    _pool: "_Pool | None" = None
    _has_window = True

    def _item_index(self) -> int | None:
        here = None if self._pool is None else self._pool.in_hand.get(get_ident())
        return super()._item_index() if here is None else here

    def _run(self) -> None:
        """The window is its threads: each has one item in hand, from `split` to the item's turn to go out."""
        self._pool = pool = _Pool(self)
        threads: list[Thread] = []
        take_and_hand_on = super()._run
        try:
            pool.start()
            for number in range(1, self.window):
                threads.append(self._stage.spawn(take_and_hand_on, f"window-{number}"))
            take_and_hand_on()
        finally:
            self._stage.inbox.cancel()  # Also if one of the threads could not start.
            for thread in threads:
                thread.join()
            pool.close()


class _Job:
    """The sub-tasks of one item: `done` gets the position, the result and the error of each."""

    def __init__(self, item_index: int | None) -> None:
        self.item_index = item_index
        self.done = SimpleQueue[tuple[int, Any, BaseException | None]]()
        self.over = False


class _Pool:
    """Threads that run sub-tasks: each by itself, or in a child process of its own. Any thread may call `map`."""

    def __init__(self, worker: SubTaskPoolWorker[Any, Any, Any, Any]) -> None:
        self._worker = worker
        self._sub_tasks = SimpleQueue[tuple[_Job, int, Any] | None]()
        self._threads: list[Thread] = []
        self.in_hand: dict[int, int | None] = {}  # Which item's sub-task each of them does, for the log.

    def start(self) -> None:
        for number in range(self._worker.sub_workers):
            self._threads.append(self._worker._stage.spawn(self._serve, f"sub-{number}"))

    def map(self, subs: list[Any]) -> list[Any]:
        """The results in the order of the sub-tasks. Raises the first error, or Closed after a stop."""
        job = _Job(self._worker._item_index())
        results: list[Any] = [None] * len(subs)
        for position, sub in enumerate(subs):
            self._sub_tasks.put((job, position, sub))
        try:
            for _ in subs:
                position, results[position], error = job.done.get()
                if error is not None:
                    raise error
            return results
        finally:
            job.over = True
            error = None  # It knows this frame: no cycle.

    def close(self) -> None:
        """Wait for the sub-tasks in flight, and end the threads and processes."""
        for _ in self._threads:
            self._sub_tasks.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        child, call, times = None, self._worker.process_sub_task, ServiceTimes()
        if self._worker.executor == "process":
            from .child_process import ChildProcess  # It takes 20 ms to import, which few pipelines need.

            child = ChildProcess(self._worker)
            call, times = child.call, ServiceTimes(child.cpu_clock)
        self._worker._stage.pool_times.append(times)
        while (sub_task := self._sub_tasks.get()) is not None:
            job, position, sub = sub_task
            self.in_hand[get_ident()] = job.item_index
            try:
                if job.over or self._worker.stop_event.is_set():
                    raise Closed
                if child is not None and not times.buckets:
                    child.start()
                    times.since = perf_counter()
                job.done.put((position, times.call(call, sub), None))
            except BaseException as error:
                job.done.put((position, None, error))
            del sub_task, job, sub
        times.end()
        if child is not None:
            child.end()
