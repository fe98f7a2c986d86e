"""What a pipeline was told, before it runs: checked, and not yet made."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from threading import Event
from typing import Any

from . import checks
from .base_worker import BaseWorker
from .crews import ENGINES, build_crew, crew_builder
from .errors import DeadLetter
from .observer import Observer
from .pace import Pace
from .policy import DeadLetters, Policy
from .signals import Gate


class StopEvent(Event):
    """The `stop_event` of a run. Setting it stops the run; it cannot be cleared."""

    on_set: Callable[[], None] | None = None

    def __init__(self) -> None:
        super().__init__()
        self._gate = Gate()

    def is_set(self) -> bool:
        return self._gate.is_set()

    def mark(self) -> None:
        """Set it, of a run that has stopped."""
        self._gate.set()

    def set(self) -> None:
        self.mark()
        if (on_set := self.on_set) is not None:  # The end of the run, in another thread, takes it away.
            on_set()

    def wait(self, timeout: float | None = None) -> bool:
        return self._gate.wait(timeout)


@dataclass(frozen=True)
class StageSpec:
    """One stage, as `add_worker` describes it. Raises for what cannot work."""

    name: str
    worker_class: type[BaseWorker[Any, Any]]
    worker_args: dict[str, Any]
    workers: int
    queue_size: int
    on_error: str
    retries: int
    batch_size: int | None
    batch_timeout: float | None
    executor: str
    when: Callable[[Any], object] | None = None
    retry_on: Any = Exception
    backoff: float = 0.1
    max_backoff: float = 30.0
    rate_limit: float | None = None
    timeout: float | None = None
    resources: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        checks.check_choice("executor", self.executor, ("thread", "process", "async", *ENGINES))
        methods = checks.METHODS_OF_POOLS if self.is_pool else checks.METHODS
        checks.check_worker(self.worker_class, BaseWorker, self.method, self.worker_args, methods, in_loop=self.in_loop)
        checks.check_name("name", self.name)
        checks.check_count(f"workers of {self.name}", self.workers, at_most=checks.MOST_WORKERS)
        checks.check_count("queue_size", self.queue_size)
        checks.check_choice("on_error", self.on_error, ("stop", "skip"))
        checks.check_count("retries", self.retries, at_least=0)
        checks.check_count("batch_size", self.batch_size, optional=True)
        if self.in_loop and (self.is_pool or self.batch_size is not None):
            raise ValueError(
                "executor 'async', which an async process_item() has, takes no batch_size and no sub-task pool"
            )
        checks.check_seconds("batch_timeout", self.batch_timeout)
        if self.batch_timeout is not None and self.batch_size is None:
            raise ValueError("batch_timeout needs a batch_size")
        checks.check_seconds("timeout", self.timeout)
        if self.when is not None:
            checks.check_callable("when", self.when, 1)
        checks.check_errors("retry_on", self.retry_on)
        checks.check_seconds("backoff", self.backoff or None)  # 0 seconds: no pause.
        checks.check_seconds("max_backoff", self.max_backoff or None)
        checks.check_seconds("rate_limit", self.rate_limit, what="calls a second")
        if self.executor == "process" and self.is_pool:
            raise ValueError("executor of a sub-task pool is said in its worker_args: {'executor': 'process'}")
        if self.resources is not None:
            checks.check_resources("resources", self.resources, ENGINES)

    @property
    def is_pool(self) -> bool:
        """Whether the stage runs sub-tasks in a pool."""
        return isinstance(self.worker_class, type) and crew_builder(self.worker_class) is not build_crew

    @property
    def in_loop(self) -> bool:
        """Whether the stage is async: its calls are made in an event loop."""
        asynchronous = checks.is_async(getattr(self.worker_class, "process_item", None))
        return self.executor == "async" or (self.executor in ENGINES and asynchronous)

    @property
    def apart(self) -> bool:
        """Whether its workers are in other processes."""
        return self.executor == "process" or (self.executor in ENGINES and not self.in_loop)

    @property
    def method(self) -> str:
        """What a worker must define, and what is called for its items."""
        return "process_item" if self.batch_size is None else "process_batch"

    @property
    def retrying(self) -> dict[str, Any]:
        """What a Policy is told of another attempt, and of the method that is called."""
        names = "retries", "retry_on", "backoff", "max_backoff"
        return {"phase": self.method, **{name: getattr(self, name) for name in names}}

    @property
    def finishes(self) -> bool:
        """Whether its workers have something to give at the end of the stream."""
        return self.worker_class.finish is not BaseWorker.finish


@dataclass
class Plan:
    """A pipeline, as PipelineManager describes it. Raises for what cannot work."""

    name: str
    queue_size: int
    ordered: bool
    on_error: str
    max_failures: float | None
    stall_timeout: float | None
    on_dead_letter: Callable[[DeadLetter], object] | None
    stages: list[StageSpec] = field(default_factory=list)
    observers: list[Observer] = field(default_factory=list)
    stop_event: StopEvent = field(default_factory=StopEvent)
    number_of: Callable[[int], int | None] = lambda index: index  # The `source_index` of what the source gives.

    def __post_init__(self) -> None:
        checks.check_name("name", self.name)
        checks.check_count("queue_size", self.queue_size)
        checks.check_type("ordered", self.ordered, bool)
        checks.check_choice("on_error", self.on_error, ("stop", "skip"))
        if self.max_failures is not None and not (type(self.max_failures) is float and 0 <= self.max_failures <= 1):
            checks.check_count("max_failures (or a share from 0.0 to 1.0)", self.max_failures, at_least=0)
        checks.check_seconds("stall_timeout", self.stall_timeout)
        if self.on_dead_letter is not None:
            checks.check_callable("on_dead_letter", self.on_dead_letter, 1)
        self.dead_letters = DeadLetters(self.max_failures, self.on_dead_letter, ordered=self.ordered)

    def follower(self, spec: StageSpec) -> StageSpec | None:
        """The stage behind this one."""
        return next((later for earlier, later in pairwise(self.stages) if earlier is spec), None)

    def policy(self, stage: str, on_error: str, rate: float | None = None, **options: Any) -> Policy:
        """How errors of a stage, or of the source, are dealt with."""
        return Policy(
            stage, self.stop_event, self.dead_letters, Pace(rate, self.stop_event), on_error == "skip", **options
        )
