"""A stage that cuts each item into sub-tasks, runs them in a pool of threads or child processes, and joins the results."""

from collections.abc import Iterable, Sequence
from inspect import isgeneratorfunction
from threading import Lock, get_ident
from typing import Any, Generic, Literal, TypeVar

from .base_worker import BaseWorker
from .calls import PASSING, Calls
from .checks import MOST_WORKERS, check_choice, check_count
from .clocks import Meter
from .crew import Crew
from .crews import BUILDERS
from .errors import Raised, tried
from .machine import cores
from .policy import SPECIAL, Expansion
from .signals import Signal
from .tasks import Place
from .time_limits import TimedCrew
from .workers import Owner

In = TypeVar("In")
Out = TypeVar("Out")
Sub = TypeVar("Sub")
SubOut = TypeVar("SubOut")


class SubTaskPoolWorker(BaseWorker[In, Out], Generic[In, Sub, SubOut, Out]):
    """Define `process_sub_task`, and `split` and `merge` if an item is more than one sub-task.

    `sub_workers`  threads or child processes in the pool; default: the number of CPUs that this process may use
    `executor`     "thread", or "process" for pure-Python work that holds the GIL; sub-tasks and results are then
                   pickled. Each child process has a worker of its own with `setup` and `teardown`; the one in
                   this process, which splits and merges, is set up, too
    `window`       items in the pool at a time; default: `sub_workers` plus the queue size of the stage

    `process_sub_task` runs in the pool, many calls at a time: attributes of the worker that it changes need a
    lock. One call of `split` runs at a time, and one of `merge`; they run in threads of the pool, in this process.
    """

    sub_workers: int | None = None
    executor: Literal["thread", "process"] = "thread"
    window: int | None = None

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
        self.sub_workers, self.executor, self.window = sub_workers, executor, window

    def split(self, item: In) -> Iterable[Sub]:
        """The sub-tasks of an item. Default: the item itself is the only one."""
        return [item]  # type: ignore[list-item]

    def process_sub_task(self, sub: Sub) -> SubOut:
        """Do one sub-task. An exception fails the item, and its sub-tasks that have not begun are dropped."""
        raise NotImplementedError(f"{type(self).__name__} defines no process_sub_task()")

    def merge(self, item: In, results: list[SubOut]) -> Out:
        """Make the output from the results, in the order of the sub-tasks. Default: the only result."""
        if len(results) != 1:
            raise ValueError(f"split() gave {len(results)} sub-tasks: merge() must say what they make together")
        return results[0]  # type: ignore[return-value]

    def process_item(self, item: In) -> Out:
        """The same in one thread, for the plain loop."""
        return self.merge(item, [self.process_sub_task(sub) for sub in self.split(item)])


class Job:
    """The sub-tasks of one item. Whoever does the last one merges. After an error no more are begun."""

    __slots__ = ("_lock", "_unfinished", "begun", "failed", "next", "place", "results")

    def __init__(self, place: Place, subs: list[Any]) -> None:
        self.place, self.results, self.failed = place, subs, False  # Each result takes the place of its sub-task.
        self.begun, self.next, self._unfinished, self._lock = False, 0, len(subs), Lock()  # The lock guards all of it.

    def take(self) -> int | None:
        """The position of the next sub-task."""
        with self._lock:
            position = self.next
            if position >= len(self.results):
                return None
            self.next += 1
            return position

    def put(self, position: int, result: Any) -> bool:
        """Note what became of a sub-task. Returns whether it was the last one."""
        with self._lock:
            self.results[position] = result
            self._unfinished -= 1
            if type(result) is Raised:
                self._unfinished -= len(self.results) - self.next
                self.failed, self.next = True, len(self.results)
            return not self._unfinished


class PoolCrew(Crew):
    """Threads that do sub-tasks. Whoever takes an item splits it, and whoever does its last sub-task merges.

    Nobody waits for anybody. Jobs go to the front of the tasks, so that the oldest item is done first.
    """

    def __init__(self, stage: Owner, callers: Sequence[Calls], most: int, **options: Any) -> None:
        super().__init__(stage, callers, most, **options)
        self.workers = [(worker, Lock(), Lock()) for worker in stage.workers]  # Which guard `split` and `merge`.

    def work(self, calls: Any) -> None:
        """What a thread of the pool does."""
        bell, me = Signal(), get_ident()
        job = call = task = chunk = None
        try:
            while (task := self.tasks.take(bell, calls.meter)) is not None:
                if chunk := self.chunk(task, calls):
                    self.hands[me] = chunk[0][0].place
                    call = calls.sub_tasks(chunk)
                    for job, position in chunk:
                        self.hands[me] = job.place
                        if job.put(position, tried(call, job.results[position])):
                            self.conclude(job)
                job = call = task = chunk = self.hands[me] = None
        finally:
            job = call = task = chunk = None  # The traceback of an error refers to this frame.

    def chunk(self, task: Any, calls: Any) -> list[tuple[Job, int]]:
        """The sub-tasks that are done together, each as its job and its position there: of this task, and of others."""
        chunk: list[tuple[Job, int]] = []
        most = 1 if self.executor == "thread" else calls.most(calls.meter.usual, len(self.tasks) + 1, self.size)
        while True:
            job = self.begin(task, calls.meter) if type(task) is Place else task
            while len(chunk) < most and (position := job.take()) is not None:
                chunk.append((job, position))
            if len(chunk) == most:
                if job.next < len(job.results):
                    self.tasks.push(job)
                    self.tasks.wake_one()
                break
            if (task := self.tasks.take_now()) is None:
                break
        return chunk

    def begin(self, place: Place, meter: Meter) -> Job:
        """Split an item. If nothing is to be done for it, that is all."""
        place.meter, self.hands[get_ident()], item = meter, place, place.items[0]
        worker, splitting, _ = self.workers[place.index % len(self.workers)]
        place.todo.clear()
        if id(type(item)) in PASSING:
            self.give_back(place, self.lane.policy.concluded(item, place))
            return Job(place, [])
        with splitting:
            try:
                subs: Any = list(worker.split(item))
            except BaseException as error:
                subs = Raised(error)
        job = Job(place, subs if type(subs) is list else [])
        if not job.results:
            self.conclude(job, subs)
        return job

    def conclude(self, job: Job, failed: Any = None) -> None:
        """Merge, or deal with the error: an item that is tried again is split again. Raises Closed after a stop."""
        policy, place, item = self.lane.policy, job.place, job.place.items[0]
        try:
            given = failed or self.merged(job)
            if id(type(given)) not in SPECIAL:
                self.give_back(place, given)
                return
            given = policy.begun(given, place)
            if type(given) is Raised and (given := policy.give_up_or_wait(given.take(), item, place)) is None:
                self.tasks.push(place)
                self.tasks.wake_one()
            else:
                self.give_back(place, policy.outcome(given, None, item, place))
        finally:
            given = None  # The traceback of an error refers to this frame.

    def give_back(self, place: Place, outcome: Any) -> None:
        if type(outcome) is Expansion:
            self.stream(place, outcome, place.items[0])
        else:
            place.done.append(outcome)
        self.finish(place)

    def merged(self, job: Job) -> Any:
        """What `merge` gives. If sub-tasks have failed, the first of them, as in the plain loop."""
        results, job.results = job.results, []
        if job.failed:
            return next(result for result in results if type(result) is Raised)
        worker, _, merging = self.workers[job.place.index % len(self.workers)]
        with merging:
            return tried(worker.merge, job.place.items[0], results)


def build_pool(stage: Owner) -> Crew:
    """A crew for items that are their only sub-task, or one that splits and merges."""
    shares = [(worker, worker.sub_workers or cores()) for worker in stage.workers]
    most = sum(worker.window or size + stage.inbox.capacity for worker, size in shares)
    if stage.workers[0].executor == "process":
        from .children import Child  # It takes 20 ms to import, which few pipelines need.

        number = sum(size for _, size in shares)
        callers: list[Any] = [Child(stage, index, "process_sub_task") for index in range(number)]
    else:
        callers = [stage.calls(worker, "process_sub_task") for worker, size in shares for _ in range(size)]
    worker_class = stage.spec.worker_class
    if (worker_class.split, worker_class.merge) == (SubTaskPoolWorker.split, SubTaskPoolWorker.merge):
        singly = isgeneratorfunction(worker_class.process_sub_task)
        fixed = any(worker.window for worker in stage.workers)
        kind = Crew if stage.spec.timeout is None or callers[0].executor == "process" else TimedCrew
        return kind(stage, callers, most, singly=singly, pooled=True, fixed=fixed)
    if stage.spec.timeout is not None and callers[0].executor == "thread":
        raise ValueError(
            "timeout of a pool that splits items needs child processes: threads of a split item are not replaced"
        )
    return PoolCrew(stage, callers, most, singly=True, pooled=True)


BUILDERS[SubTaskPoolWorker] = build_pool
