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
from .ports import InOrder, LonePort, Outlet, Port, Turn
from .report import StageReport


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
        self, plan: StagePlan, inbox: Channel[Any], outbox: Channel[Any], *, ordered: bool, policy: Policy, prefix: str
    ) -> None:
        self.plan = plan
        self.inbox = inbox
        self.outbox = outbox
        self.ports: list[Port] = []
        self.threads: list[Thread] = []
        self._policy = policy
        self._prefix = f"{prefix}-{plan.name}"
        self._failures: list[PipelineError] = []
        self._late_failures: list[PipelineError] = []
        self._lock = Lock()
        self._present = plan.workers
        self._started = 0.0
        self._ended: float | None = None
        self.workers = [self._make_worker() for _ in range(plan.workers)]
        has_window = self.workers[0]._has_window
        self._alone = plan.workers == 1 and not has_window and plan.batch_size is None
        self._taking = Turn()
        in_order = ordered and (plan.workers > 1 or has_window)
        self._outlet = InOrder(outbox, window=0 if has_window else plan.queue_size) if in_order else Outlet(outbox)

    def start(self) -> None:
        self._started = perf_counter()
        for number, worker in enumerate(self.workers):
            self._spawn(partial(self._work, worker), str(number))

    def serially(self, upstream: Generator[None, None, None]) -> Generator[None, None, None]:
        """The stage's part of the plain loop, in the caller's thread: after each step an output may lie in the outbox."""
        self._started = perf_counter()
        (worker,) = self.workers
        port = Port(self.inbox, self._taking, self._outlet)
        self.ports.append(port)
        size = worker._batch_size or 1
        more = self._call(worker, "setup")
        try:
            while more and port.failure is None:
                more = next(upstream, self) is not self
                if len(self.inbox) >= (size if more else 1):
                    items = port.take_batch(min(size, len(self.inbox)), None)
                    yield from worker._work_through(items, port)
                    del items
        except Closed:
            pass
        finally:
            upstream.close()
            self._leave(worker)

    def join(self) -> None:
        for thread in self.threads:  # More may come while we wait: of a pool.
            thread.join()

    @property
    def failure(self) -> PipelineError | None:
        """What failed in this stage first."""
        return next((port.failure for port in self.ports if port.failure), None) or next(iter(self._failures), None)

    def cancel(self) -> None:
        """Let go of everything but the calls in flight."""
        self.inbox.cancel()
        self.outbox.cancel()
        self._outlet.close()

    def settle(self) -> None:
        """After the last thread has left: count what nobody took, and what never went out."""
        left = self.inbox.clear()
        self.inbox.taken += left
        self._outlet.settle()
        port = self.ports[0] if self.ports else self._new_port()
        port.aborted += left + self._outlet.dropped
        port.processed -= self._outlet.dropped

    def report(self) -> StageReport:
        def total(counter: str) -> int:
            return sum(getattr(port, counter) for port in self.ports)

        seconds = (len(self.ports) or 1) * max((self._ended or perf_counter()) - self._started, 1e-9)
        to_take = min(1.0, (self.inbox.reader_waited + self._taking.waited) / seconds)
        to_give = min(1.0, (self.outbox.writer_waited + self._outlet.giving.waited) / seconds)
        return StageReport(
            name=self.plan.name,
            workers=self.plan.workers,
            received=self.inbox.taken,
            emitted=self.outbox.entered,
            processed=total("processed"),
            filtered=total("filtered"),
            failed=total("failed"),
            aborted=total("aborted"),
            retried=total("retried"),
            busy=max(0.0, 1 - to_take - to_give),
            waiting_for_input=to_take,
            waiting_for_output=to_give,
        )

    def _make_worker(self) -> BaseWorker[Any, Any]:
        plan = self.plan
        try:
            worker = plan.worker_class(**plan.worker_args)
        except BaseException as error:
            raise self._policy.blame(error, "__init__") from error
        worker._attach(plan.name, self._policy.stop_event)
        worker._policy = self._policy
        worker._new_port = self._new_port
        worker._spawn = self._spawn
        worker._worker_args = plan.worker_args
        worker._batch_size = plan.batch_size
        worker._batch_timeout = plan.batch_timeout
        return worker

    def _new_port(self) -> Port:
        if self._alone:
            port: Port = LonePort(self.inbox, self._taking, self._outlet, self.outbox)
        else:
            port = Port(self.inbox, self._taking, self._outlet)
        self.ports.append(port)
        return port

    def _spawn(self, run: Callable[[], None], suffix: str) -> Thread:
        """Start a thread that runs it, and that ends the stage's intake when it leaves, whatever it raises."""
        thread = Thread(target=self._supervised, args=(run,), name=f"{self._prefix}-{suffix}", daemon=True)
        thread.start()
        self.threads.append(thread)
        return thread

    def _supervised(self, run: Callable[[], None]) -> None:
        try:
            run()
        except Closed:
            pass
        except BaseException as error:  # Nothing of yours: the core's own. The item in hand will never come out.
            self._failures.append(self._policy.blame(error, "the core"))
            self._outlet.close()
        finally:
            self.inbox.cancel()

    def _work(self, worker: BaseWorker[Any, Any]) -> None:
        try:
            if self._call(worker, "setup"):
                self._supervised(worker._run)
        finally:
            self._leave(worker)

    def _leave(self, worker: BaseWorker[Any, Any]) -> None:
        """The last to leave ends the stream: with the failure, if there was one."""
        self._call(worker, "teardown")
        with self._lock:
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
            (self._failures if phase == "setup" else self._late_failures).append(self._policy.blame(error, phase))
            self.inbox.cancel()
            return False
        return True


def close_accounts(stages: list[Stage], given: int) -> None:
    """Of a plain loop that Ctrl-C has struck, between any two counts: what was given and is nowhere was aborted."""
    for stage in stages:
        stage.inbox.taken = given
        report = stage.report()
        stage.ports[0].aborted += given - report.processed - report.filtered - report.failed - report.aborted
        given = stage.outbox.entered
