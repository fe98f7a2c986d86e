"""Builds a pipeline of stages, runs it once, and reports on it."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from threading import Lock, current_thread
from typing import Any, Literal

from .base_worker import BaseWorker
from .checks import check_count, check_seconds, check_type, is_async
from .errors import CONSUMER, DeadLetter
from .flow import Flow
from .observer import Observer
from .plan import Plan, StageSpec
from .report import PipelineReport
from .run import Run
from .source_function import SourceLike
from .stacks import stacks

OnError = Literal["stop", "skip"]
Executor = Literal["thread", "process", "async", "ray"]
RetryOn = type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object]


class Results:
    """The results of a run, as an iterator. Closing it, in any thread, stops the run and waits for its end."""

    def __init__(self, run: Run) -> None:
        self._run, self._outputs = run, run.results()

    def __iter__(self) -> Iterator[Any]:
        return self._outputs  # A loop over it costs no call of ours, and leaving the loop closes it.

    def __next__(self) -> Any:
        return next(self._outputs)

    def close(self) -> None:
        run = self._run
        run.stop()
        if run.waits_for(current_thread()):  # A worker, or the source: it would wait for itself.
            return
        try:
            self._outputs.close()
        except ValueError:  # A thread is in `next`, which the stop ends.
            if current_thread() is run.consumer:  # This one: a worker of the plain loop, or a signal handler.
                return
        if run.consumer is None:  # It never began.
            run.consumer = current_thread()
            run.leave()
        run.wait()


class PipelineManager:
    """A pipeline: `add_worker` once for each stage, then `run` or `start`, once.

    `name`             in the names of threads and in messages; default: "pipeline"
    `queue_size`       items that wait before each stage, and results that wait for the consumer; default: 100
    `ordered`          True (default): results come in the order of the items; False: as they are completed
    `on_error`         "stop" (default): the first item that fails ends the run; "skip": it becomes a dead letter
    `max_failures`     under "skip", the number of failures beyond which the run ends: a whole number counts them, a float
                       from 0.0 to 1.0 is a share of the items that the failing stage has received so far (at least 100),
                       and at the end of the items read. An ordered run decides this in the order of the items
    `stall_timeout`    seconds without any progress after which the stacks of all workers are logged; default: never
    `on_dead_letter`   called with each DeadLetter, one call at a time, in a thread of the run or of the consumer
    """

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
        self._plan = Plan(name, queue_size, ordered, on_error, max_failures, stall_timeout, on_dead_letter)
        self.name, self.stop_event = name, self._plan.stop_event
        self._run: Run | None = None
        self._claiming = Lock()
        self._drained = False  # A stop that came before the start.

    def add_worker(
        self,
        worker_class: type[BaseWorker[Any, Any]],
        *,
        name: str | None = None,
        workers: int = 1,
        worker_args: Mapping[str, Any] | None = None,
        queue_size: int | None = None,
        executor: Executor | None = None,
        on_error: OnError | None = None,
        when: Callable[[Any], object] | None = None,
        retries: int = 0,
        retry_on: RetryOn = Exception,
        backoff: float = 0.1,
        max_backoff: float = 30.0,
        timeout: float | None = None,
        rate_limit: float | None = None,
        batch_size: int | None = None,
        batch_timeout: float | None = None,
        resources: Mapping[str, float] | None = None,
    ) -> "PipelineManager":
        """Add a stage behind the others. Returns the manager, so that calls chain. Raises for arguments that cannot work.

        `name`           in reports and errors; default: from the class's name
        `workers`        threads or child processes, each with an instance of its own, made with `worker_args` as keywords;
                         default: 1
        `executor`       "thread" (default); "process": items and outputs are then pickled; or "async" (default for an async
                         `process_item`): one worker, and `workers` is how many of its calls may be in flight
        `timeout`        seconds that one attempt may take; default: no limit
        `queue_size`, `on_error`
                         for this stage; default: the manager's
        `when`           called with each item, in the stage's own thread: items for which it is false pass by, unchanged and
                         in their order; default: none does
        `retries`        attempts after a failed one, with growing pauses; default: 0
        `retry_on`       which errors are worth another attempt: classes, or a function of the error; default: Exception
        `backoff`, `max_backoff`
                         seconds: the most before the first other attempt, doubled with each one; and the limit of that;
                         default: 0.1 and 30
        `rate_limit`     calls a second, of all the stage's workers together; default: no limit
        `batch_size`     items for each call of `process_batch`, fewer at the end of the stream, and when `batch_timeout` seconds
                         have passed since the first of them
        `resources`      what each worker needs where an engine schedules, such as {"num_cpus": 1, "num_gpus": 1}; threads and
                         child processes take what there is
        """
        self._check_not_started("add_worker")
        plan = self._plan
        name = _stage_name(worker_class) if name is None else name
        queue_size = plan.queue_size if queue_size is None else queue_size
        errors = plan.on_error if on_error is None else on_error
        check_type("worker_args", {} if worker_args is None else worker_args, Mapping)
        told = (name, worker_class, dict(worker_args or {}), workers, queue_size, errors, retries)
        calls = (when, retry_on, backoff, max_backoff, rate_limit, timeout, resources)
        spec = StageSpec(
            *told, batch_size, batch_timeout, _executor(worker_class) if executor is None else executor, *calls
        )
        if name in ("source", CONSUMER, *self.stage_names):
            raise ValueError(f"name must not be 'source', 'consumer' or the name of another stage: {name!r}")
        plan.stages.append(spec)
        return self

    def tune(
        self,
        *,
        workers: Mapping[str, int] | None = None,
        queue_size: int | None = None,
        executor: Executor | None = None,
    ) -> "PipelineManager":
        """Change the number of workers of stages, by name, the size of all queues, and what runs all stages, before the start.

        For a stage with a sub-task pool, its workers are its `sub_workers`.
        """
        self._check_not_started("tune")
        check_count("queue_size", queue_size, optional=True)
        check_type("workers", workers or {}, Mapping)
        specs = list(self._plan.stages)
        for name, number in (workers or {}).items():
            position = self._position(name)
            spec = specs[position]
            if spec.is_pool:
                check_count(f"workers of {name}", number)
                specs[position] = replace(spec, worker_args=spec.worker_args | {"sub_workers": number})
            else:
                specs[position] = replace(spec, workers=number)
        if queue_size is not None:
            specs = [replace(spec, queue_size=queue_size) for spec in specs]
            self._plan.queue_size = queue_size
        self._plan.stages = specs if executor is None else [replace(spec, executor=executor) for spec in specs]
        return self

    def keep(self, first: str, last: str | None = None) -> "PipelineManager":
        """Drop the stages before `first` and behind `last`, before the start: the source then gives what `first` takes."""
        self._check_not_started("keep")
        begin, end = self._position(first), self._position(last or self.stage_names[-1]) + 1
        if begin >= end:
            raise ValueError(f"there is no stage from {first!r} to {last!r}: they come in the order {self.stage_names}")
        self._plan.stages = self._plan.stages[begin:end]
        return self

    def observe(self, observer: Observer) -> "PipelineManager":
        """Add an observer of the run, before the start."""
        self._check_not_started("observe")
        check_type("observer", observer, Observer)
        self._plan.observers.append(observer)
        return self

    def expect_barriers(self) -> "PipelineManager":
        """Let the source give `Barrier`s in between its items, before the start.

        Dead letters are then added in their places, too: before the next Barrier is reached, each item before it has given all
        its results or is a dead letter, and none behind it is. So a run without order has one order: that of the Barriers.
        """
        self._check_not_started("expect_barriers")
        self._plan.dead_letters.travel = True
        return self

    def number_items(self, number_of: Callable[[int], int | None]) -> "PipelineManager":
        """Say, before the start, which `source_index` each item of the source has; default: its position.

        For example, `lambda index: 500 + index` where the source leaves out 500 items that another run has done. None: it
        is not known.
        """
        self._check_not_started("number_items")
        self._plan.number_of = number_of
        return self

    def source_index(self) -> int | None:
        """In the loop over the results: the position, among the items of the source, of the one that the last result came from.

        None where that is not known, as for a worker's `source_index`.
        """
        run = self._consumed("source_index")
        return run.origin(CONSUMER, run.delivered)

    def reject(self, result: object, error: Exception) -> None:
        """Say, in the loop over the results, that the last one could not be used: as if it had failed in one more stage.

        Under `on_error="skip"` it becomes a dead letter of the stage "consumer". Else, or if it is one too many, this
        raises the PipelineError that ends the run.
        """
        self._consumed("reject").reject(result, error)

    def run(self, source: SourceLike, *, serial: bool = False) -> Results:
        """Run, and iterate over the results as they come. Work begins with the first `next()`.

        Closing the iterator, or leaving the loop over it, stops everything. Raises PipelineError in the place of the
        item that ended the run. `source` is an iterable, read in a thread of its own, or a function that is called
        there with a queue and the stop event: see `robust_put`. `serial=True` is the plain loop in this thread.

        The source is read ahead: an item must stay valid when the next one is asked for. `itertools.groupby`, a reused
        buffer, or a `yield` inside `with TemporaryDirectory()` give items that do not: make a copy, or a list.
        """
        return Results(self._claim(source, serial=serial))

    def start(self, source: SourceLike) -> None:
        """Run in the background, and drop the results. `wait_for_completion` tells how it went.

        Raises RuntimeError if the system has no more threads.
        """
        self._claim(source, serial=False).start_in_background()

    def wait_for_completion(self, timeout: float | None = None) -> PipelineReport:
        """Wait until the run is over. Raises the PipelineError that ended it.

        After `timeout` seconds the run is stopped, and TimeoutError names the stages that are still busy, with the stacks of
        their workers. Interrupted (Ctrl-C), the run is stopped and ended before this raises. Raises RuntimeError where
        it could only wait for itself: in a worker, and in the loop over the results.
        """
        check_seconds("timeout", timeout or None)  # 0 seconds: do not wait.
        run = self._run
        if run is not None and run.waits_for(current_thread()):
            raise RuntimeError("wait_for_completion() waits for itself: leave the worker, or the loop over the results")
        if run is None or run.consumer is None:
            raise RuntimeError("nothing runs: call start() first, or iterate over what run() returns")
        if not run.wait(timeout):
            busy = stacks(run.stages, only_busy=True)
            run.stop()
            raise TimeoutError(f"{self.name} has not finished after {timeout} seconds; stopped. Busy:\n{busy}")
        if run.error is not None:
            raise run.error
        return run.report()

    def stop(self, *, drain: bool = False) -> None:
        """End the run: from any thread, at any time, any number of times. Returns at once.

        Items in the pipeline are dropped, and counted as aborted; calls in flight end by themselves. With `drain`, no
        more items are read, and those that are in are finished.
        """
        run = self._run
        if drain:
            self._drained = True
            if run is not None:
                run.source.drain()
        elif run is not None:
            run.stop()
        else:
            self.stop_event.set()

    @property
    def stages(self) -> tuple[StageSpec, ...]:
        """What each stage was told, in their order."""
        return tuple(self._plan.stages)

    @property
    def ordered(self) -> bool:
        """Whether results come in the order of the items."""
        return self._plan.ordered

    @property
    def stage_names(self) -> list[str]:
        return [spec.name for spec in self._plan.stages]

    @property
    def report(self) -> PipelineReport:
        """The numbers of the run: as of now while it runs, final afterwards."""
        return (self._run or Flow(self._plan, ())).report()

    def _consumed(self, method: str) -> Run:
        run = self._run
        if run is None or run.consumer is not current_thread() or run.finished.is_set():
            raise RuntimeError(f"{method}() is for the loop over the results")
        return run

    def _check_not_started(self, method: str) -> None:
        if self._run is not None:
            raise RuntimeError(f"{method}() after the start: after run() or start() a pipeline does not change")

    def _position(self, stage: str) -> int:
        if stage not in self.stage_names:
            raise ValueError(f"there is no stage {stage!r}: there are {', '.join(self.stage_names)}")
        return self.stage_names.index(stage)

    def _claim(self, source: SourceLike, *, serial: bool) -> Run:
        """Take the only run. No thread runs yet."""
        if not self._plan.stages:
            raise RuntimeError("the pipeline has no stage: call add_worker() first")
        with self._claiming:
            if self._run is not None:
                raise RuntimeError("a PipelineManager runs once: build another for another run")
            self._run = Run(self._plan, source, serial=serial)
        self._run.open()
        if self._drained:  # A stop that came before the start.
            self._run.source.drain()
        return self._run


def _executor(worker_class: type) -> Executor:
    return "async" if is_async(getattr(worker_class, "process_item", None)) else "thread"


def _stage_name(worker_class: type) -> str:
    """QualityControlWorker is quality_control."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", getattr(worker_class, "__name__", "").removesuffix("Worker")).lower()
