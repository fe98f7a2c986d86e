"""Builds a pipeline of stages, runs it once, and answers for it: order, errors, stop, and the report."""

import inspect
import logging
import re
import sys
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from functools import partial
from threading import TIMEOUT_MAX, Event, Lock, current_thread
from time import perf_counter, process_time
from typing import Any, Literal

from .base_worker import BaseWorker
from .channel import Channel, Closed
from .checks import MOST_WORKERS, check_choice, check_count, check_seconds
from .errors import DeadLetter, PipelineError
from .machine import cores, has_gil
from .own_threads import OwnThreads
from .policy import DeadLetters, Policy
from .ports import Port
from .report import PipelineReport
from .source import Source, SourceLike
from .stacks import stacks
from .stage import Stage

logger = logging.getLogger(__name__)

OnError = Literal["stop", "skip"]


class PipelineManager:
    """A pipeline: `add_worker` once for each stage, then `run` or `start`, once.

    `queue_size`       items that wait before each stage, and results that wait for the consumer
    `ordered`          results come in the order of the items; False: as they are completed
    `on_error`         "stop": the first item that fails ends the run; "skip": it becomes a dead letter
    `max_failures`     under "skip", end the run after more failures than this: a whole number counts them, a float from
                       0 to 1 is their share of the items read (judged from 100 items on, and at the end)
    `stall_timeout`    seconds without any progress after which the stacks of all workers are logged
    `on_dead_letter`   called with each DeadLetter, in the worker's thread, one call at a time

    Its attribute `on_port`, set before the start, is called in each of the stages' threads with the stage's name and the
    `Port` through which that thread takes items in and hands results on: for whoever wants to watch them pass.
    """

    on_port: Callable[[str, Port], None] | None = None
    _exiting = staticmethod(sys.is_finalizing)  # At the interpreter's end no other thread runs, and globals are gone.

    def __init__(
        self,
        *,
        name: str = "pipeline",
        queue_size: int = 100,
        ordered: bool = True,
        on_error: OnError = "stop",
        max_failures: float | None = None,
        stall_timeout: float | None = None,
        on_dead_letter: Callable[[DeadLetter], object] | None = None,
    ) -> None:
        check_count("queue_size", queue_size)
        check_choice("on_error", on_error, ("stop", "skip"))
        if max_failures is not None and not (type(max_failures) is float and 0 <= max_failures <= 1):
            check_count("max_failures (or a share from 0.0 to 1.0)", max_failures, at_least=0)
        check_seconds("stall_timeout", stall_timeout)
        if on_dead_letter is not None and not callable(on_dead_letter):
            raise TypeError(f"on_dead_letter must be callable, not {on_dead_letter!r}")
        self.name, self.queue_size, self.ordered, self.stall_timeout = name, queue_size, ordered, stall_timeout
        self.on_error: OnError = on_error
        self.stop_event, self._finished = Event(), Event()
        self._stages: list[Stage] = []
        self._threads = OwnThreads(name)
        self._results = Channel[Any](queue_size)
        self._dead_letters = DeadLetters(max_failures, on_dead_letter, lambda: self._source.read)
        self._source = Source(self._results, self._policy("source", on_error), name)
        self._claiming, self._changing = Lock(), Lock()  # The latter while it is launched, and finished.
        self._state = "new"
        self._stopping = False
        self._delivered = self._undelivered = 0
        self._started: float | None = None
        self._ended: float | None = None
        self._cpu_started, self._cpu_ended = 0.0, 0.0
        self._error: PipelineError | None = None

    def add_worker(
        self,
        worker_class: type[BaseWorker[Any, Any]],
        *,
        name: str | None = None,
        workers: int = 1,
        worker_args: Mapping[str, Any] | None = None,
        queue_size: int | None = None,
        on_error: OnError | None = None,
        retries: int = 0,
        batch_size: int | None = None,
        batch_timeout: float | None = None,
    ) -> "PipelineManager":
        """Add a stage behind the others. Returns the manager, so that calls chain.

        `name`           what reports and errors call it; from the class's name, if not told
        `workers`        threads, each with an instance of its own, made with `worker_args` as keywords
        `queue_size`, `on_error`
                         for this stage, where it differs from the manager's
        `retries`        attempts after a failed one, with growing pauses
        `batch_size`     items for each call of `process_batch`; a batch is complete after `batch_timeout` seconds, too
        """
        self._check_not_started("add_worker")
        if not (isinstance(worker_class, type) and issubclass(worker_class, BaseWorker)):
            raise TypeError(f"worker_class must be a subclass of BaseWorker, not {worker_class!r}")
        method = "process_item" if batch_size is None else "process_batch"
        if getattr(worker_class, method) is getattr(BaseWorker, method):
            raise TypeError(f"worker_class {worker_class.__name__} must define {method}()")
        name = name if name is not None else _stage_name(worker_class)
        if not name or name in ("source", *self.stage_names):
            raise ValueError(f"name must not be empty, 'source' or the name of another stage: {name!r}")
        check_count("workers", workers, at_most=MOST_WORKERS)
        check_count("queue_size", queue_size, optional=True)
        check_count("retries", retries, at_least=0)
        check_count("batch_size", batch_size, optional=True)
        check_seconds("batch_timeout", batch_timeout)
        if batch_timeout is not None and batch_size is None:
            raise ValueError("batch_timeout needs a batch_size")
        check_choice("on_error", on_error, ("stop", "skip", None))
        arguments = dict(worker_args or {})
        _check_arguments(worker_class, arguments)
        inbox, self._results = self._results, Channel(self.queue_size)
        inbox.capacity = queue_size or self.queue_size
        kind = name, self.name, worker_class, arguments, workers, batch_size, batch_timeout, self.ordered
        self._stages.append(Stage(*kind, inbox, self._results, self._policy(name, on_error or self.on_error, retries)))
        return self

    def tune(self, *, workers: Mapping[str, int] | None = None, queue_size: int | None = None) -> "PipelineManager":
        """Change what was told, before the start: the workers of stages, by name, and the size of all queues.

        In a stage with a sub-task pool, `workers` are those who do its sub-tasks.
        """
        self._check_not_started("tune")
        check_count("queue_size", queue_size, optional=True)
        changes = [(self._stages[self._position(name)], number) for name, number in (workers or {}).items()]
        for stage, number in changes:
            check_count(f"workers of {stage.name}", number, at_most=MOST_WORKERS)
            if stage.worker_class._has_window:
                _check_arguments(stage.worker_class, stage.worker_args | {"sub_workers": number})
        for stage, number in changes:
            if stage.worker_class._has_window:
                stage.worker_args["sub_workers"] = number
            else:
                stage.size = number
        for channel in [stage.inbox for stage in self._stages] + [self._results]:
            channel.capacity = queue_size or channel.capacity
        return self

    def keep(self, first: str, last: str | None = None) -> "PipelineManager":
        """Drop the stages before `first` and behind `last`, before the start: the source then gives what `first` takes."""
        self._check_not_started("keep")
        begin, end = self._position(first), self._position(last or self.stage_names[-1]) + 1
        if begin >= end:
            raise ValueError(f"there is no stage from {first!r} to {last!r}: they come in the order {self.stage_names}")
        self._stages = self._stages[begin:end]
        results, self._results = self._results, self._stages[-1].outbox
        self._source.outbox, self._results.capacity = self._stages[0].inbox, results.capacity
        return self

    def run(self, source: SourceLike, *, serial: bool = False) -> Generator[Any, None, None]:
        """Run, and iterate over the results as they come. Work begins with the first `next()`.

        Closing the iterator, or leaving the loop over it, stops everything. Raises PipelineError in the place of the
        item that ended the run. `source` is an iterable, read in a thread of its own, or a function that is called
        there with a queue and the stop event: see `robust_put`. `serial=True` is the plain loop in this thread.
        """
        self._claim(source, serial=serial)
        return self._run()

    def start(self, source: SourceLike) -> None:
        """Run in the background, and drop the results. `wait_for_completion` tells how it went."""
        self._claim(source, serial=False)
        try:
            self._threads.apart(self._launch, "launch")
            self._threads.spawn(self._drop_results, "results")
        except BaseException:
            self._end()
            raise

    def wait_for_completion(self, timeout: float | None = None) -> PipelineReport:
        """Wait until the run is over. Raises the PipelineError that ended it.

        Past `timeout` seconds the run is stopped, and TimeoutError names the stages that are still busy, with the
        stacks of their workers. Interrupted (Ctrl-C), the run is stopped and ended before this raises.
        """
        check_seconds("timeout", timeout or None)  # 0 is a glance.
        if self._started is None:
            raise RuntimeError("nothing runs: call start() first, or iterate over what run() returns")
        try:
            over = self._finished.wait(None if timeout is None else min(timeout, TIMEOUT_MAX))
        except BaseException:  # Ctrl-C, or whatever else a signal handler raises here.
            self.stop()
            self._finished.wait()
            self._threads.join()
            raise
        if not over:
            busy = stacks(self._stages, only_busy=True)
            self.stop()
            raise TimeoutError(f"{self.name} has not finished after {timeout} seconds; stopped. Busy:\n{busy}")
        self._threads.join()
        if self._error is not None:
            raise self._error
        return self.report

    def stop(self, *, drain: bool = False) -> None:
        """End the run: from any thread, at any time, any number of times. Returns at once.

        Items in the pipeline are dropped, and counted as aborted; calls in flight end by themselves. With `drain`, no
        more items are read, and those that are in are finished.
        """
        if drain:
            self._source.drain()
            return
        if not self._stopping:  # A signal handler may call this in the middle of itself, and `set` takes a lock.
            self._stopping = True
            self.stop_event.set()
        for stage in self._stages:
            stage.cancel()

    @property
    def stage_names(self) -> list[str]:
        return [stage.name for stage in self._stages]

    @property
    def report(self) -> PipelineReport:
        """The numbers of the run: as of now while it runs, final afterwards."""
        seconds = 0.0 if self._started is None else (self._ended or perf_counter()) - self._started
        return PipelineReport(
            name=self.name,
            state=self._state,
            seconds=seconds,
            read=self._source.read,
            source_failed=self._source.failed,
            source_aborted=self._source.aborted,
            stages=tuple(stage.report() for stage in self._stages),
            delivered=self._delivered,
            undelivered=self._undelivered,
            skipped=self._dead_letters.count,
            dead_letters=tuple(self._dead_letters.kept),
            error=self._error,
            source_busy=self._source_busy(seconds),
            cpu_seconds=(self._cpu_ended or process_time()) - self._cpu_started if seconds else 0.0,
            consumer_busy=_share(self._results.reading.seconds(), seconds),
            first_wait=max(0.0, self._results.first_at - (self._started or 0.0)),
            cores=cores(),
            gil=has_gil(),
            serial=self._results.steps is not None,
        )

    def _check_not_started(self, method: str) -> None:
        if self._state != "new":
            raise RuntimeError(f"{method}() after the start: stages are as they are once run() or start() is called")

    def _position(self, stage: str) -> int:
        if stage not in self.stage_names:
            raise ValueError(f"there is no stage {stage!r}: there are {', '.join(self.stage_names)}")
        return self.stage_names.index(stage)

    def _source_busy(self, seconds: float) -> float:
        if self._started is None:
            return 0.0
        outbox = self._source.outbox
        if outbox.steps is not None:  # In the plain loop, whoever waits for an item reads it.
            return min(1.0, outbox.reading.seconds() / max(seconds, 1e-9))
        after_its_end = 0.0 if self._source.ended is None else self._started + seconds - self._source.ended
        return _share(outbox.writing.seconds() + max(0.0, after_its_end), seconds)

    def _policy(self, stage: str, on_error: OnError, retries: int = 0) -> Policy:
        return Policy(stage, self.stop_event, self._dead_letters if on_error == "skip" else None, retries)

    def _claim(self, source: SourceLike, *, serial: bool) -> None:
        """Take the only run. No thread runs yet."""
        if not self._stages:
            raise RuntimeError("the pipeline has no stage: call add_worker() first")
        with self._claiming:
            if self._state != "new":
                raise RuntimeError("a PipelineManager runs once: build another for another run")
            self._source.open(source, serial=serial)
            self._state = "running"
        try:
            for stage in self._stages:
                stage.on_port = self.on_port
                stage.open(serial=serial)
        except PipelineError as error:
            self._state, self._error = "failed", error
            raise
        except BaseException:  # Ctrl-C, in a worker's own `__init__`.
            self._state = "stopped"
            raise
        if self._stopping:  # Before there were these stages.
            self.stop()

    def _launch(self) -> None:
        with self._changing:
            if self._finished.is_set():  # Ctrl-C came first.
                return
            self._started, self._cpu_started = perf_counter(), process_time()
            if self._results.steps is None:
                for stage in self._stages:
                    stage.start()
            self._source.start()
            if self.stall_timeout is not None:
                self._threads.spawn(partial(self._watch, self.stall_timeout), "watch")

    def _run(self) -> Generator[Any, None, None]:
        """The edge: from here results go to the consumer, and the error that ended the run."""
        exhausted = completed = interrupted = collected = False
        consumer = current_thread()
        try:
            if self._started is None:
                if self._results.steps is None:
                    self._threads.apart(self._launch, "launch")
                else:
                    self._launch()
            while True:
                yield self._results.get()
                self._delivered += 1
        except GeneratorExit:
            self._delivered += 1
            # Garbage collection may strike in a thread, or under a lock, that we would wait for.
            collected = self._exiting() or current_thread() != consumer
            raise
        except Closed:
            exhausted, completed = True, not self._stopping
        except BaseException:  # Ctrl-C, or whatever else a signal handler raises here.
            interrupted = True
            raise
        finally:
            if not self._exiting():
                self._end(completed, interrupted, patient=exhausted, wait=not collected)
        if self._error is not None:
            raise self._error

    def _drop_results(self) -> None:
        with suppress(PipelineError):  # `wait_for_completion` raises it.
            deque(self._run(), maxlen=0)

    def _end(
        self, completed: bool = False, interrupted: bool = False, *, patient: bool = False, wait: bool = True
    ) -> None:
        """Finish, and `wait` for that. Ctrl-C meanwhile is raised at once; if we are `patient`, the first one after it."""
        serial = self._results.steps is not None
        finish = partial(self._finish, completed, interrupted)
        try:
            if serial and wait:
                finish()
            else:
                self._threads.apart(finish, "finish", wait=wait)
        except BaseException:
            if patient or serial:  # Where there are no calls in flight to wait for.
                self._finish(completed, interrupted=True)
                self._threads.join()
            raise
        if wait:
            self._threads.join()

    def _finish(self, completed: bool, interrupted: bool) -> None:
        """Wait for every thread of the stages, close the accounts, and know what failed: once, whoever calls first."""
        with self._changing:
            if self._finished.is_set():
                return
            self._settle(completed, interrupted)
            self._finished.set()
        self._log_the_end()

    def _settle(self, completed: bool, interrupted: bool) -> None:
        self.stop()
        for stage in reversed(self._stages):
            stage.join()
        self._source.join()
        for stage in self._stages:
            stage.settle()
        self._undelivered = self._results.clear()
        if interrupted:  # Ctrl-C may strike between any two counts.
            if self._results.steps is not None:
                given = self._source.read - self._source.failed - self._source.aborted
                for stage in self._stages:
                    given = stage.close_accounts(given)
            self._undelivered = self._results.entered - self._delivered
        failures = [self._results.failure, *(stage.failure for stage in self._stages), self._source.failure]
        failure = next((found for found in failures if found is not None), None)
        if completed and failure is None and self._dead_letters.too_many():
            first = self._dead_letters.kept[0]
            failure = PipelineError(
                first.stage, "more items than max_failures", first.item, first.index, 1, first.error
            )
        self._error = failure
        self._state = "failed" if failure is not None else "completed" if completed else "stopped"
        self._ended, self._cpu_ended = perf_counter(), process_time()

    def _log_the_end(self) -> None:
        with suppress(Exception):  # A log handler that raises must not hide the failure.
            if self._error is not None:
                logger.error("%s: %s", self.name, self._error)
            for imbalance in self.report.imbalances():
                logger.error("%s: the accounts do not balance: %s", self.name, imbalance)

    def _watch(self, seconds: float) -> None:
        """Log all stacks whenever nothing has moved for `seconds`."""
        before = self._moved()
        while not self._finished.wait(min(seconds, TIMEOUT_MAX)):
            now = self._moved()
            if now == before:
                found = stacks(self._stages, only_busy=False)
                logger.warning("%s: nothing has moved for %s seconds:\n%s", self.name, seconds, found)
            before = now

    def _moved(self) -> tuple[object, ...]:
        report = self.report
        return report.read, report.delivered, *((s.received, s.emitted, s.retried) for s in report.stages)


def _check_arguments(worker_class: type, arguments: dict[str, Any]) -> None:
    try:
        inspect.signature(worker_class).bind(**arguments)
    except TypeError as error:
        raise TypeError(f"worker_args do not fit {worker_class.__name__}(): {error}") from None


def _share(waited: float, seconds: float) -> float:
    """How much of the time was not waited."""
    return min(1.0, max(0.0, 1 - waited / seconds)) if seconds else 0.0


def _stage_name(worker_class: type) -> str:
    """QualityControlWorker is quality_control."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", worker_class.__name__.removesuffix("Worker")).lower()
