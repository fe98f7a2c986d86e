"""One stage while it runs: its workers, each with a thread, between two channels."""

import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from threading import Lock, Thread, get_ident
from time import perf_counter, thread_time
from typing import Any

from .base_worker import BaseWorker
from .channel import Channel, Closed
from .clocks import ServiceTimes, histogram
from .errors import PipelineError
from .policy import Policy
from .ports import FATES, Intake, LonePort, Outlet, Port
from .report import StageReport


@dataclass(eq=False)
class Stage:
    """The workers of one stage, the channel that feeds them and the channel that they feed."""

    name: str
    pipeline: str
    worker_class: type[BaseWorker[Any, Any]]
    worker_args: dict[str, Any]
    size: int  # How many workers.
    batch_size: int | None
    batch_timeout: float | None
    ordered: bool
    inbox: Channel[Any]
    outbox: Channel[Any]
    policy: Policy

    def __post_init__(self) -> None:
        self.workers: list[BaseWorker[Any, Any]] = []
        self.threads: list[Thread] = []
        self.ports: list[Port] = []
        self.on_port: Callable[[str, Port], None] | None = None
        self.pool_times: list[ServiceTimes] = []  # Of the threads that do sub-tasks.
        self.failure: PipelineError | None = None  # What failed here first.
        self._late_failure: PipelineError | None = None
        self._outlet = Outlet(self.outbox, 0, ordered=self.ordered)
        self._intake, self._counting = Intake(), Lock()
        self._ended = self._setup_cpu_seconds = 0.0
        self._serial = False

    def open(self, *, serial: bool) -> None:
        """Make the workers. No thread runs yet, and in the plain loop none will."""
        if serial:
            self.size, self._serial = 1, True
            self.outbox.steps = self._steps()
            if self.inbox.steps is not None:  # Then one step's items lie there, and no source function writes on.
                self.inbox.capacity = sys.maxsize
        if self.ordered and not self.worker_class._has_window:
            self._outlet.window = self.inbox.capacity
        self.workers = [self._make_worker() for _ in range(self.size)]
        self._present = self.size

    def start(self) -> None:
        for number, worker in enumerate(self.workers):
            self.spawn(partial(self._work, worker), str(number))

    def spawn(self, run: Callable[[], None], suffix: str) -> Thread:
        """Start a thread of this stage. When it leaves, for whatever reason, the stage takes no more items in."""
        run = partial(self._supervised, run)
        thread = Thread(target=run, name=f"{self.pipeline}-{self.name}-{suffix}", daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def new_port(self) -> Port:
        alone = self.size == 1 and self.batch_size is None and not self.worker_class._has_window and not self._serial
        port = (LonePort if alone else Port)(self.inbox, self._intake, self._outlet)
        self.ports.append(port)
        if self.on_port is not None:
            self.on_port(self.name, port)
        return port

    def fail(self, failure: PipelineError) -> None:
        """The run ends here. What was taken in before still goes out, if it can."""
        self.failure = self.failure or failure
        self.inbox.cancel()

    def in_hand(self) -> int:
        """How many items its threads work on now; those that wait for their turn to go out, or for room, are not counted."""
        waiting = self.outbox.writing.now + self._outlet.room_waits.now + self._outlet.turn_waits.now
        return self.inbox.taken - sum(port.over for port in list(self.ports)) - waiting

    def cancel(self) -> None:
        """Let go of everything but the calls in flight."""
        self.inbox.cancel()
        self.outbox.cancel()
        self._outlet.close()

    def join(self) -> None:
        if self.outbox.steps is not None:
            self.outbox.steps.close()
        for thread in self.threads:  # It grows while a pool starts.
            thread.join()

    def settle(self) -> None:
        """After the last thread has left: count what nobody took, and what never went out."""
        self.on_port = None  # Nobody watches the port of no thread.
        port = self.ports[0] if self.ports else self.new_port()
        left, dropped = self.inbox.clear(), self._outlet.dropped()
        port.aborted += left + dropped
        port.processed -= dropped

    def close_accounts(self, given: int) -> int:
        """After Ctrl-C in the plain loop, which may strike between any two counts: what is nowhere was aborted."""
        port, self.inbox.entered = self.ports[0], given
        port.aborted += given - port.over
        return self.outbox.entered

    def report(self) -> StageReport:
        ports = list(self.ports)
        now = self._ended or perf_counter()
        times = list(self.pool_times) or [port.times for port in ports]
        present = sum(port.times.present(now) for port in ports)  # All its threads, each from `setup` to `teardown`.
        serving = sum(some.present(now) for some in times)
        seconds = present or 1e-9
        to_take = min(1.0, (self.inbox.reading.seconds() + sum(port.waits.seconds() for port in ports)) / seconds)
        to_give = min(1.0, (self.outbox.writing.seconds() + self._outlet.room_waits.seconds()) / seconds)
        in_order = min(1.0, self._outlet.turn_waits.seconds() / seconds)
        busy = max(0.0, 1 - to_take - to_give - in_order) if present else 0.0
        called = sum(some.seconds for some in times)
        if self.pool_times or self._serial:
            busy = min(1.0, called / (serving or 1e-9))
        if self._serial:  # Between two of its steps, those behind it are at work.
            to_give = max(0.0, 1 - to_take - busy) if present else 0.0
        computed = sum(some.cpu_seconds for some in times) / max(called, 1e-9)
        return StageReport(
            self.name,
            len(self.pool_times) or self.size,
            self.inbox.taken,
            self.outbox.entered,
            **{fate: sum(getattr(port, fate) for port in ports) for fate in FATES},
            busy=busy,
            waiting_for_input=to_take,
            waiting_for_output=to_give,
            waiting_for_order=in_order,
            computing=min(1.0, computed),
            service_times=histogram(times),
            queued=len(self.inbox),
            queue_size=self.inbox.capacity,
            pool=self.worker_args.get("executor", "thread") if self.worker_class._has_window else "",
            seconds=serving / (len(times) or 1),
            window=len(ports) if self.worker_class._has_window else self._outlet.window,
            setup_cpu_seconds=self._setup_cpu_seconds,
            first_wait=sum(max(0.0, self.inbox.first_at - some.since) for some in times) / (len(times) or 1),
        )

    def _make_worker(self) -> BaseWorker[Any, Any]:
        try:
            worker = self.worker_class(**self.worker_args)
        except BaseException as error:
            raise self.policy.blame(error, "__init__") from error
        worker._attach(self.name, self.policy.stop_event, self.ports)
        worker._stage = self
        return worker

    # No generator-based context manager here: one that swallows an error leaves a cycle of the error and its frames,
    # and the item in hand would live until a garbage collection.

    def _work(self, worker: BaseWorker[Any, Any]) -> None:
        """What a worker's thread does."""
        begun = False
        try:
            self._check_not_stopped()
            begun = True
            self._set_up(worker)
            self._supervised(worker._run)
        finally:
            self._leave(worker, begun)

    def _steps(self) -> Generator[None, None, None]:
        """The same for the plain loop."""
        worker, begun = self.workers[0], False
        try:
            self._check_not_stopped()
            begun = True
            self._set_up(worker)
            port = self.new_port()
            try:
                yield from worker._steps(port)
            except (Closed, GeneratorExit):
                pass
            except BaseException as error:
                self._fail_in_the_core(error)
            finally:
                port.times.end()
                self._end_thread()
        finally:
            self._leave(worker, begun)

    def _check_not_stopped(self) -> None:
        if self.policy.stop_event.is_set():
            raise Closed

    def _set_up(self, worker: BaseWorker[Any, Any]) -> None:
        cpu = thread_time()
        try:
            worker.setup()
        except BaseException as error:
            self.fail(self.policy.blame(error, "setup"))
            raise Closed from None
        finally:
            with self._counting:
                self._setup_cpu_seconds += thread_time() - cpu

    def _leave(self, worker: BaseWorker[Any, Any], begun: bool) -> None:
        """`teardown`, if `setup` was called. The last worker ends the stream: with the failure, if there was one."""
        try:
            if begun:
                worker.teardown()
        except BaseException as error:
            self._late_failure = self.policy.blame(error, "teardown")
        finally:
            with self._counting:
                self._present -= 1
                if not self._present:
                    # What failed here came before what ended the inbox, and teardown after all items.
                    self.failure = self.failure or self.inbox.failure or self._late_failure
                    self.outbox.close(self.failure)
                    self._ended = perf_counter()

    def _supervised(self, run: Callable[[], None]) -> None:
        try:
            run()
        except (Closed, GeneratorExit):
            pass
        except BaseException as error:
            self._fail_in_the_core(error)
        finally:
            self._end_thread()

    def _fail_in_the_core(self, error: BaseException) -> None:
        """Nothing of yours: the core's own. The item in hand will never come out."""
        self.fail(self.policy.blame(error, "the core"))
        self._outlet.close()

    def _end_thread(self) -> None:
        self.inbox.cancel()
        for port in self.ports:
            if port.thread == get_ident():
                port.thread = 0  # It has no item in hand any more, and another thread may get its number.
