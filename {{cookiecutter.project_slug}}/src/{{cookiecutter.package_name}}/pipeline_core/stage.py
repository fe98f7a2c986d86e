"""One stage while it runs: its workers, between two channels."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from threading import Thread, current_thread, get_ident
from typing import Any

from .base_worker import BaseWorker, attach
from .batches import BatchLane
from .calls import Calls
from .channel import Channel, Closed
from .clocks import Meter
from .crew import Crew
from .crews import ENGINES, build_crew, crew_builder, engine
from .endings import ending, endings, has_ended_in_order
from .errors import Failure, LeftBehind, Passed, PipelineError, Raised, tried
from .lane import Lane
from .observer import teller
from .plan import Plan, StageSpec
from .policy import Hand
from .serial import SerialLane
from .signals import Gate
from .time_limits import LimitedMeter

Spawn = Callable[[Callable[[], None], str], Thread]
GRACE = 0.02  # Seconds between two looks whether a thread that is waited for was left behind.


class Stage:
    """The workers of one stage, the channel that feeds them and the channel that they feed.

    Its loop runs in a thread of its own: BaseWorker._run for one worker, with the bursts of its crew for several. Only that thread writes
    the counters of `lane`, and only it ends the stream behind the stage, unless the stage fails.
    """

    def __init__(
        self, plan: Plan, spec: StageSpec, inbox: Channel[Any], outbox: Channel[Any], earlier: Sequence["Stage"]
    ) -> None:
        self.spec, self.name, self.pipeline, self.ordered, self.plan = spec, spec.name, plan.name, plan.ordered, plan
        self.policy = plan.policy(spec.name, spec.on_error, spec.rate_limit, **spec.retrying)
        self.inbox, self.outbox, self.lane = inbox, outbox, Lane(inbox, self.policy)
        self.workers: list[BaseWorker[Any, Any]] = []
        self.crew: Crew | None = None
        self.threads: list[Thread] = []
        self.meters: list[Meter] = []
        self.hands: dict[int, Hand | None] = {}  # What each thread has in hand, for the log.
        self.failure: PipelineError | None = None  # What ends the run here.
        self.late: PipelineError | None = None  # What `teardown` raised: it comes after all items.
        self.ready = Gate()  # Every `setup` is over.
        self.replaced = 0  # Workers whose call took longer than the time limit.
        self.room = 0  # Workers that an engine has room for; 0: they work on this machine.
        self._unready: list[None] = []  # One for each `setup` that is not.
        self._earlier = earlier
        tell = teller(plan.observers, "called", spec.name)
        self._observe = None if tell is None else lambda *call: tell(_index(self.hands), *call)

    def open(self, *, serial: bool) -> None:
        """Make the workers. No thread runs yet. What their `__init__` raises becomes a PipelineError."""
        spec, size, number = self.spec, self.spec.batch_size, 1 if serial else self.spec.workers
        in_children, in_loop = spec.apart and not serial, spec.in_loop
        if in_loop:
            from .event_loop import OnEventLoop, TaskHands  # Imported here: it takes 30 ms, and few pipelines need it.

            self.hands = TaskHands()
        for index in range(0 if in_children else 1 if in_loop else number):
            worker = self.new_worker(index, serial=serial)
            self.workers.append(OnEventLoop(worker, spec.timeout) if in_loop else worker)
        if not serial and (in_children or in_loop or number > 1 or spec.is_pool or spec.timeout):
            self.crew = (build_crew if spec.executor in ENGINES else crew_builder(spec.worker_class))(self)
            self.crew.ordering.observe = self._teller("order")
            number = len(self.crew.served) + len(self.workers) * self.crew.pooled
        elif serial:
            self.lane = SerialLane(self.inbox, self.policy, self.calls(self.workers[0]), size or 1)
        elif size is not None:
            self.lane = BatchLane(self.inbox, self.policy, self.calls(self.workers[0]), size, spec.batch_timeout)
        else:
            self.lane = Lane(self.inbox, self.policy, self.calls(self.workers[0]))
        self._unready = [None] * number
        if not serial:
            self.lane.announce = self.outbox.announce
        if spec.when is not None and not serial:
            self.inbox.admit = self.admit
        self.policy.pace.observe = self._teller("rate")
        self.inbox.reading.observe, self.outbox.writing.observe = self._teller("input"), self._teller("output")

    def new_worker(self, index: int, *, serial: bool = False) -> BaseWorker[Any, Any]:
        spec = self.spec
        try:
            if spec.in_loop and spec.executor in ENGINES and not serial:
                worker: BaseWorker[Any, Any] = engine(spec.executor).stand_in(self)
            else:
                worker = spec.worker_class(**spec.worker_args)
            letters = self.policy.dead_letters  # Not this stage, which has the worker.
            attach(worker, self.name, index, self.policy.stop_event, self.hands, partial(letters.origin_of, self.name))
        except BaseException as error:
            raise self.policy.blame(error, "__init__") from error
        return worker

    def start(self, spawn: Spawn) -> None:
        self._spawn = spawn
        self.begin(self._work, "0" if self.crew is None else "loop")

    @contextmanager
    def attended(self, worker: BaseWorker[Any, Any], meter: Meter) -> Iterator[None]:
        """`setup` before, and `teardown` after; nothing at all after a stop. Raises Closed where there is no more to do."""
        if self.policy.stop_event.is_set():
            self._one_ready()
            raise Closed
        try:
            self.set_up(worker)
            meter.begin()
            yield
        finally:
            meter.end()
            self.hands.pop(get_ident(), None)
            try:
                worker.teardown()
            except BaseException as error:
                self.late = self.late or self.policy.blame(error, "teardown")

    def set_up(self, worker: Any) -> None:
        """Call `setup`. If it fails, the stage has failed, and this raises Closed."""
        failure = None
        try:
            worker.setup()
        except BaseException as error:
            failure = self.policy.blame(error, "setup")
        finally:
            self._one_ready()
        if failure is not None:
            for stage in self._earlier:  # The failure of an earlier stage's `setup` comes first.
                stage.ready.wait()
            self._fail(failure)
            raise Closed

    def cancel(self) -> None:
        """End everything but the calls in flight."""
        self.outbox.cancel()
        self.inbox.cancel()  # After the outbox: it rings the bell of the loop, which then sees both.
        if self.crew is not None:
            self.crew.cancel()
        self.ready.set()

    def settle(self) -> None:
        """Close the accounts, after the last thread has left: items that are still in the inbox are aborted."""
        self.lane.abandon(self.inbox.clear())
        self.threads = []
        if self.crew is not None:
            self.crew.forget()

    def meter(self) -> Meter:
        """A new one, for one thread of the stage."""
        observers = self.plan.observers
        kind = Meter if self.spec.timeout is None else LimitedMeter
        meter = kind(self._observe, every_call=any(observer.every_call for observer in observers))
        meter.waits.observe = self._teller("task")
        self.meters.append(meter)
        return meter

    def calls(self, worker: Any, method: str | None = None) -> Calls:
        method, policy = method or self.spec.method, self.policy
        return Calls(
            worker, method, self.meter(), policy.pace, retries=policy.retries, passing=self.spec.when is not None
        )

    @property
    def follower(self) -> StageSpec | None:
        """What the stage behind this one was told."""
        return self.plan.follower(self.spec)

    def admit(self, item: Any) -> Any:
        """The item, or Passed if its `when` is false."""
        if type(item) is Failure:
            return item
        wanted = tried(lambda: bool(self.spec.when(item)))  # type: ignore[misc]
        if type(wanted) is Raised:
            return Passed(item, wanted.take())
        return item if wanted else Passed(item)

    def _teller(self, what: str) -> Callable[..., None] | None:
        """What tells the observers that a thread has waited for this."""
        return teller(self.plan.observers, "waited", self.name, what)

    def begin(self, run: Callable[[], None], suffix: str) -> None:
        """Start a thread of the stage."""
        self.threads.append(self._spawn(partial(self._guarded, run), f"{self.name}-{suffix}"))

    def leave_behind(self, thread: Thread | None = None) -> None:
        """Count a worker that is replaced. Do not wait for its thread."""
        self.replaced += 1
        if thread is not None:
            self.threads.remove(thread)

    def join(self) -> None:
        """Wait for the threads. More may begin, and some may be left behind."""
        while (
            thread := next((t for t in [*self.threads] if t.is_alive() and t is not current_thread()), None)
        ) is not None:
            thread.join(None if self.spec.timeout is None else GRACE)

    def _work(self) -> None:
        """What the stage's own thread does: its loop, from channel to channel."""
        crew = self.crew
        try:
            with suppress(Closed), ExitStack() as at_the_end:
                for worker in self.workers if crew is None or crew.pooled else []:
                    at_the_end.enter_context(self.attended(worker, self.lane.meter))
                if crew is not None:
                    at_the_end.callback(self._dismiss, crew)  # Before the `teardown` of workers that they share.
                self._guarded(self._loop)
        finally:
            self.inbox.cancel()
            self.ready.set()
            self.outbox.close(self.inbox.failure or self.late)  # It has the failure of this stage already, if any.

    def _loop(self) -> None:
        with suppress(Closed):
            if self.crew is None:
                self.hands[get_ident()] = self.lane
                self.outbox.put_all(self.workers[0]._run(self.lane))
            else:
                for number, calls in enumerate(self.crew.served):
                    self.begin(partial(self.serve, self.crew, number, calls), f"{'sub-' * self.crew.pooled}{number}")
                self.outbox.put_all(self.lane.run(self.crew.bursts()))
        if self.spec.finishes and has_ended_in_order(self):
            self.outbox.put_all(endings(self))

    def serve(self, crew: Crew, number: int, calls: Calls, *first: Callable[[], None]) -> None:
        """What a thread of a crew does."""
        shared = crew.pooled and crew.executor == "thread"  # Its worker is set up in the thread of the loop.
        left = crew.endings[number]
        with suppress(LeftBehind):  # Then the thread of another worker does the rest.
            with suppress(Closed), self.attended(BaseWorker[Any, Any]() if shared else calls.worker, calls.meter):
                self._guarded(partial(crew.work, calls, *first))
                if self.spec.finishes and not crew.pooled and has_ended_in_order(self):
                    try:
                        left.put_all(ending(self.policy, calls.finish))
                    except PipelineError as failure:  # It comes behind what was given before.
                        left.close(failure)
            left.close()
            crew.left()

    def _dismiss(self, crew: Crew) -> None:
        """Wait for the threads of a crew to leave: their `teardown` may fail."""
        crew.tasks.end()
        self.join()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Work, and let what is raised end the run here."""
        try:
            with suppress(Closed):
                work()
        except LeftBehind:
            raise
        except BaseException as error:  # If it is no PipelineError, the core has a bug, and the item in hand is lost.
            self._fail(error if isinstance(error, PipelineError) else self.policy.blame(error, "the core"))

    def _fail(self, failure: PipelineError) -> None:
        """End the run here. The consumer is told at once: calls in flight may wait for the `stop_event`."""
        failure.__traceback__ = None  # It refers to frames that refer to this stage. Its cause keeps its own.
        self.failure = self.failure or failure
        self.outbox.close(self.failure)

    def _one_ready(self) -> None:
        del self._unready[:1]  # A child process that is replaced is set up once more.
        if not self._unready:
            self.ready.set()


def _index(hands: dict[int, Hand | None]) -> int | None:
    """The position of the item that this thread has in hand."""
    hand = hands.get(get_ident())
    return None if hand is None else hand.index
