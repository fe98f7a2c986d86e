"""A stage that cuts each item into sub-tasks, runs them in a pool of threads or processes, and joins them in order."""

import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import (
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
)
from contextlib import suppress
from multiprocessing.util import Finalize
from threading import Event, RLock, Thread, current_thread
from typing import Any, Generic, Literal, TypeVar

from .base_worker import BaseWorker
from .channel import Channel, Closed, Signal
from .errors import short

In = TypeVar("In")
Out = TypeVar("Out")
Sub = TypeVar("Sub")
SubOut = TypeVar("SubOut")


class SubTaskPoolWorker(BaseWorker[In, Out], Generic[In, Sub, SubOut, Out]):
    """Write `process_sub_task`, and `split` and `merge` if an item is more than one sub-task.

    `sub_workers`  threads or processes in the pool; the number of CPUs, if not told
    `executor`     "thread", or "process" for pure-Python work that holds the GIL; sub-tasks and their results are then
                   pickled, and each child process makes a worker of its own and calls its `setup` and `teardown`
    `window`       items whose sub-tasks are in the pool at a time; twice `sub_workers`, if not told

    `split` runs in the worker's thread, `process_sub_task` in the pool, and `merge` in a thread that joins: what they
    share as attributes needs a lock, unless it stays as `setup` left it.
    """

    def __init__(
        self,
        *,
        sub_workers: int | None = None,
        executor: Literal["thread", "process"] = "thread",
        window: int | None = None,
    ) -> None:
        if executor not in ("thread", "process"):
            raise ValueError(f'executor must be "thread" or "process", not {executor!r}')
        for name, value in (("sub_workers", sub_workers), ("window", window)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be 1 or more, not {value!r}")
        self.sub_workers = sub_workers or os.cpu_count() or 1
        self.executor = executor
        self.window = window or 2 * self.sub_workers

    def split(self, item: In) -> Iterable[Sub]:
        """The sub-tasks of an item. As it stands: the item itself is the only one."""
        return [item]  # type: ignore[list-item]

    def process_sub_task(self, sub: Sub) -> SubOut:
        """Do one sub-task. What it raises fails the item, and its sub-tasks that wait in the pool are cancelled."""
        raise NotImplementedError(f"{type(self).__name__} defines no process_sub_task()")

    def merge(self, item: In, results: list[SubOut]) -> Out:
        """Make the output from the results, which come in the order of the sub-tasks. As it stands: the only one."""
        if len(results) != 1:
            raise ValueError(f"split() gave {len(results)} sub-tasks: merge() must say what they make together")
        return results[0]  # type: ignore[return-value]

    def process_item(self, item: In) -> Out:
        """All of it without a pool: what `serial=True` runs."""
        return self.merge(item, [self.process_sub_task(sub) for sub in self.split(item)])

    _pool: "_Pool"
    _join_error: BaseException | None = None

    def _run(self) -> None:
        """Two loops and a channel: this one submits, the other joins, and `slots` is the window between them."""
        slots = Channel[None](self.window, refill_at=self.window - 1)
        jobs = Channel["_Job"](self.window)
        joiner = Thread(target=self._join_jobs, args=(jobs, slots), name=f"{current_thread().name}-join", daemon=True)
        joiner.start()
        port = self._port
        try:
            while True:
                item = port.take()
                try:
                    slots.put(None)
                except Closed:
                    port.count("aborted")
                    raise
                job = _Job(self, item, port.ticket)
                job.begin()
                jobs.put(job)
                del item, job
        finally:
            jobs.close()
            joiner.join()
            port.count("aborted", len(jobs))
            self._pool.shutdown()
            if self._join_error is not None:
                raise self._join_error

    def _join_jobs(self, jobs: Channel["_Job"], slots: Channel[None]) -> None:
        port = self._new_port()
        try:
            while True:
                job = jobs.get()
                port.ticket = job.ticket
                outcome = self._policy.attempt(job.finish, job.item, port, "process_sub_task")
                self._settle(port, outcome)
                slots.get()
                del job, outcome
        except Closed:
            pass
        except BaseException as error:
            self._join_error = error
        finally:
            slots.cancel()
            port.inbox.cancel()

    def _attach(self, name: str, stop_event: Event) -> None:
        super()._attach(name, stop_event)
        self._pool = _Pool(self)

    def _cancel(self) -> None:
        self._pool.cancel()


class _Job:
    """An item whose sub-tasks are in the pool: one thread begins it, another finishes it."""

    def __init__(self, worker: SubTaskPoolWorker[Any, Any, Any, Any], item: Any, ticket: int) -> None:
        self.item = item
        self.ticket = ticket
        self._worker = worker
        self._futures: list[Future[Any]] | None = None
        self._error: BaseException | None = None

    def begin(self) -> None:
        try:
            self._futures = self._submit()
        except BaseException as error:
            self._error = error

    def finish(self, item: Any) -> Any:
        """Wait for the sub-tasks and merge their results; a second call is another attempt, from the start."""
        error, self._error = self._error, None
        if error is not None:
            raise error
        futures, self._futures = self._futures, None
        if futures is None:
            futures = self._submit()
        try:
            return self._worker.merge(item, _results(futures))
        except BrokenExecutor as error:
            raise RuntimeError("a child process died in mid-task: killed, crashed or out of memory") from error
        finally:
            for future in futures:
                future.cancel()

    def _submit(self) -> list[Future[Any]]:
        futures: list[Future[Any]] = []
        try:
            for sub in self._worker.split(self.item):
                futures.append(self._worker._pool.submit(sub))
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return futures


def _results(futures: list[Future[Any]]) -> list[Any]:
    """The results of all, or the first error of any. Raises Closed when a stop has cancelled one."""
    over = Signal()
    done = deque[None]()
    number = len(futures)  # `check` must not hold the futures that hold it.

    def check(future: Future[Any]) -> None:
        done.append(None)
        if len(done) == number or future.cancelled() or future.exception() is not None:
            over.set()

    for future in futures:
        future.add_done_callback(check)
    if futures:
        over.wait()
    for future in futures:
        if future.cancelled():
            raise Closed
        if future.done() and (error := future.exception()) is not None:
            raise error
    return [future.result() for future in futures]


class _Pool:
    """The executor of one worker; a broken one is replaced by the next `submit`. Any thread may call."""

    def __init__(self, worker: SubTaskPoolWorker[Any, Any, Any, Any]) -> None:
        self._worker = worker
        self._lock = RLock()  # A garbage collection in here may call `cancel`.
        self._closed = False
        self._executor: Executor | None = None  # Made when it is needed.
        self._pending: set[Future[Any]] = set()

    def submit(self, sub: Any) -> Future[Any]:
        """Raises Closed after `cancel`."""
        call = _call_in_child if self._worker.executor == "process" else self._worker.process_sub_task
        with self._lock:
            if self._closed:
                raise Closed
            future = self._submit(call, sub)
            self._pending.add(future)
        future.add_done_callback(self._pending.discard)
        return future

    def _submit(self, call: Callable[[Any], Any], sub: Any) -> Future[Any]:
        if self._executor is not None:
            with suppress(BrokenExecutor):
                return self._executor.submit(call, sub)
        self._executor = self._make()
        return self._executor.submit(call, sub)

    def cancel(self) -> None:
        """Take no more sub-tasks, and drop those that have not begun."""
        with self._lock:
            self._closed = True
        for future in list(self._pending):
            future.cancel()

    def shutdown(self) -> None:
        """Wait for the sub-tasks in flight, and end the threads or processes."""
        self.cancel()
        if self._executor is not None:
            self._executor.shutdown()

    def _make(self) -> Executor:
        size = self._worker.sub_workers
        if self._worker.executor == "thread":
            return ThreadPoolExecutor(size, thread_name_prefix=f"{current_thread().name}-sub")
        methods = multiprocessing.get_all_start_methods()
        context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
        arguments = (type(self._worker), self._worker._worker_args, self._worker.name)
        return ProcessPoolExecutor(min(size, 61), context, _start_child, arguments)  # 61 is Windows' limit.


_child: "SubTaskPoolWorker[Any, Any, Any, Any]"
_child_error: BaseException | None = None


def _start_child(worker_class: type, worker_args: dict[str, Any], name: str) -> None:
    """In the child process: make its worker and set it up. Ctrl-C is the parent's to answer."""
    global _child, _child_error
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _child = worker_class(**worker_args)
        _child._attach(name, Event())
        Finalize(None, _child.teardown, exitpriority=1)
        _child.setup()
    except BaseException as error:
        _child_error = error


def _call_in_child(sub: Any) -> Any:
    try:
        if _child_error is not None:
            raise RuntimeError("setup() failed in a child process") from _child_error
        return _child.process_sub_task(sub)
    except BaseException as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {short(error, str)}") from error
        raise
