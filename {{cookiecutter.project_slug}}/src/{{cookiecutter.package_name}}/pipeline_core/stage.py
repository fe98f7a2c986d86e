"""One stage while it runs: its workers, each with a thread, between two channels."""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from threading import Lock, Thread
from time import perf_counter
from typing import Any

from .base_worker import BaseWorker
from .channel import Channel, Closed
from .errors import PipelineError
from .policy import Policy
from .ports import LonePort, Outlet, Port
from .report import FATES, StageReport


@dataclass(frozen=True)
class StagePlan:
    """What `add_worker` was told."""

    worker_class: type[BaseWorker[Any, Any]]
    name: str
    workers: int
    worker_args: dict[str, Any]
    queue_size: int
    skip: bool
    retries: int
    batch_size: int | None
    batch_timeout: float | None


class Stage:
    """The workers of one stage, the channel that feeds them and the channel that they feed."""

    def __init__(
        self, plan: StagePlan, inbox: Channel[Any], outbox: Channel[Any], policy: Policy, *, ordered: bool, prefix: str
    ) -> None:
        self.plan, self.policy = plan, policy
        self.inbox, self.outbox = inbox, outbox
        self.ports: list[Port] = []
        self.threads: list[Thread] = []
        self.workers = [self._make_worker() for _ in range(plan.workers)]
        has_window = self.workers[0]._has_window
        self._alone = plan.workers == 1 and not has_window and plan.batch_size is None
        self._taking = Lock()
        self._outlet = Outlet(outbox, plan.queue_size if ordered and not has_window else 0, ordered=ordered)
        self._prefix = f"{prefix}-{plan.name}"
        self._failures: list[PipelineError] = []
        self._late_failures: list[PipelineError] = []
        self._leaving = Lock()
        self._present = plan.workers
        self._started = 0.0
        self._ended: float | None = None

    def start(self) -> None:
        self._started = perf_counter()
        for number, worker in enumerate(self.workers):
            self.spawn(partial(self._work, worker), str(number))

    def spawn(self, run: Callable[[], None], suffix: str) -> Thread:
        """Start a thread of this stage. When it leaves, for whatever reason, the stage takes no more items in."""
        thread = Thread(target=self._supervise, args=(run,), name=f"{self._prefix}-{suffix}", daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def new_port(self) -> Port:
        shared = (self.inbox, self._taking, self._outlet)
        port = LonePort(*shared, self.outbox) if self._alone else Port(*shared)
        self.ports.append(port)
        return port

    def serially(self, upstream: Generator[None, None, None]) -> Generator[None, None, None]:
        """The stage's part of the plain loop, in the caller's thread: after each step an output may lie in the outbox."""
        self._started, self._alone = perf_counter(), False
        (worker,) = self.workers
        port, size = self.new_port(), self.plan.batch_size or 1
        more = self._call(worker, "setup")
        try:
            while more and port.failure is None:
                more = next(upstream, self) is not self
                if len(self.inbox) >= (size if more else 1):
                    yield from worker._work_through(port.take_batch(min(size, len(self.inbox))), port)
        except Closed:
            pass
        finally:
            upstream.close()
            self._leave(worker)

    def join(self) -> None:
        for thread in self.threads:  # It grows while a pool starts.
            thread.join()

    def cancel(self) -> None:
        """Let go of everything but the calls in flight."""
        self.inbox.cancel()
        self.outbox.cancel()
        self._outlet.close()

    @property
    def failure(self) -> PipelineError | None:
        """What failed in this stage first."""
        return next((port.failure for port in self.ports if port.failure), next(iter(self._failures), None))

    def settle(self) -> None:
        """After the last thread has left: count what nobody took, and what never went out."""
        port = self.ports[0] if self.ports else self.new_port()
        left, dropped = self.inbox.clear(), self._outlet.dropped()
        self.inbox.taken += left
        port.aborted += left + dropped
        port.processed -= dropped

    def report(self) -> StageReport:
        seconds = max((self._ended or perf_counter()) - self._started, 1e-9) * (len(self.ports) or 1)
        to_take = min(1.0, (self.inbox.reader_waited + sum(port.waited for port in self.ports)) / seconds)
        to_give = min(1.0, (self.outbox.writer_waited + self._outlet.waited) / seconds)
        fates: dict[str, Any] = {fate: sum(getattr(port, fate) for port in self.ports) for fate in FATES}
        return StageReport(
            name=self.plan.name,
            workers=self.plan.workers,
            received=self.inbox.taken,
            emitted=self.outbox.entered,
            busy=max(0.0, 1 - to_take - to_give),
            waiting_for_input=to_take,
            waiting_for_output=to_give,
            **fates,
        )

    def close_accounts(self, given: int) -> int:
        """After Ctrl-C in the plain loop, which may strike between any two counts: what is nowhere was aborted."""
        self.inbox.taken = given
        report = self.report()
        self.ports[0].aborted += given - report.processed - report.filtered - report.failed - report.aborted
        return self.outbox.entered

    def _make_worker(self) -> BaseWorker[Any, Any]:
        try:
            worker = self.plan.worker_class(**self.plan.worker_args)
        except BaseException as error:
            raise self.policy.blame(error, "__init__") from error
        worker._attach(self.plan.name, self.policy.stop_event)
        worker._stage = self
        return worker

    def _work(self, worker: BaseWorker[Any, Any]) -> None:
        try:
            if self._call(worker, "setup"):
                self._supervise(worker._run)
        finally:
            self._leave(worker)

    def _supervise(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Closed:
            pass
        except BaseException as error:  # Nothing of yours: the core's own. The item in hand will never come out.
            self._failures.append(self.policy.blame(error, "the core"))
            self._outlet.close()
        finally:
            self.inbox.cancel()

    def _leave(self, worker: BaseWorker[Any, Any]) -> None:
        """The last to leave ends the stream: with the failure, if there was one."""
        self._call(worker, "teardown")
        with self._leaving:
            self._present -= 1
            if self._present:
                return
        self.inbox.cancel()  # What failed here came before what ended the inbox, and teardown comes after all items.
        self.outbox.close(self.failure or self.inbox.failure or next(iter(self._late_failures), None))
        self._ended = perf_counter()

    def _call(self, worker: BaseWorker[Any, Any], phase: str) -> bool:
        """Its `setup` or `teardown`. False if that raised."""
        try:
            getattr(worker, phase)()
        except BaseException as error:
            failures = self._failures if phase == "setup" else self._late_failures
            failures.append(self.policy.blame(error, phase))
            self.inbox.cancel()
            return False
        return True
