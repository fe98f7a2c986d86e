"""One stage while it runs: its workers, each with a thread and a port."""

from dataclasses import dataclass
from threading import Lock, Thread
from time import perf_counter
from typing import Any

from .base_worker import BaseWorker
from .channel import Channel, Closed
from .errors import PipelineError
from .policy import Policy
from .ports import OrderedPort, Port, Sequencer, SharedPort, Turns
from .report import StageReport

COUNTERS = ("received", "processed", "filtered", "failed", "aborted", "retried", "emitted")


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
    """The workers of one stage, between the channel that feeds them and the channel that they feed."""

    def __init__(
        self, plan: StagePlan, inbox: Channel[Any], outbox: Channel[Any], *, ordered: bool, policy: Policy, prefix: str
    ) -> None:
        self.plan = plan
        self.inbox = inbox
        self.outbox = outbox
        self.ports: list[Port] = []
        self._policy = policy
        self._lock = Lock()
        self._present = plan.workers
        self._late_failure: PipelineError | None = None
        self._turns = Turns()
        self._sequencer = Sequencer(outbox, plan.queue_size) if ordered and plan.workers > 1 else None
        self._started = 0.0
        self._ended: float | None = None
        self.workers = [self._make_worker() for _ in range(plan.workers)]
        self.thread_prefix = f"{prefix}-{plan.name}-"
        self._threads = [
            Thread(target=self._work, args=(worker,), name=f"{self.thread_prefix}{number}", daemon=True)
            for number, worker in enumerate(self.workers)
        ]

    def new_port(self) -> Port:
        port: Port
        if self.plan.workers == 1:
            port = Port(self.inbox, self.outbox)
        elif self._sequencer is None:
            port = SharedPort(self.inbox, self.outbox, self._turns)
        else:
            port = OrderedPort(self.inbox, self.outbox, self._turns, self._sequencer)
        with self._lock:
            self.ports.append(port)
        return port

    def start(self) -> None:
        self._started = perf_counter()
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            if thread.ident is not None:  # It was started.
                thread.join()

    @property
    def failure(self) -> PipelineError | None:
        """What failed in this stage."""
        return next((port.failure for port in self.ports if port.failure is not None), None)

    def cancel(self) -> None:
        """Let go of everything but the calls in flight."""
        self.inbox.cancel()
        self.outbox.cancel()
        if self._sequencer is not None:
            self._sequencer.close()
        for worker in self.workers:
            worker._cancel()

    def settle(self) -> None:
        """After the last thread has left: count what nobody took, and what nobody released."""
        port = self.ports[0]
        port.received += len(self.inbox)
        port.aborted += len(self.inbox)
        self.inbox.clear()
        if self._sequencer is not None:
            self._sequencer.count_unreleased(port)

    def report(self) -> StageReport:
        def total(counter: str) -> int:
            return sum(getattr(port, counter) for port in self.ports)

        counts: dict[str, Any] = {name: total(name) for name in COUNTERS}
        lifetime = self.plan.workers * max((self._ended or perf_counter()) - self._started, 1e-9)
        to_take = min(1.0, (self.inbox.reader_waited + sum(port.waited_to_take for port in self.ports)) / lifetime)
        to_give = min(1.0, (self.outbox.writer_waited + sum(port.waited_to_give for port in self.ports)) / lifetime)
        shares: dict[str, Any] = {
            "busy": max(0.0, 1 - to_take - to_give),
            "waiting_for_input": to_take,
            "waiting_for_output": to_give,
        }
        return StageReport(name=self.plan.name, workers=self.plan.workers, **counts, **shares)

    def _make_worker(self) -> BaseWorker[Any, Any]:
        plan = self.plan
        try:
            worker = plan.worker_class(**plan.worker_args)
        except BaseException as error:
            raise self._policy.blame(error, "__init__") from error
        worker._attach(plan.name, self._policy.stop_event)
        worker._policy = self._policy
        worker._port = self.new_port()
        worker._new_port = self.new_port
        worker._worker_args = plan.worker_args
        worker._batch_size = plan.batch_size
        worker._batch_timeout = plan.batch_timeout
        return worker

    def _work(self, worker: BaseWorker[Any, Any]) -> None:
        """What each worker's thread runs. The last to leave ends the stream: with the failure, if there was one."""
        try:
            failure = self.call(worker, "setup")
            if failure is not None:
                worker._port.end(failure)
            else:
                worker._run()
        except Closed:
            pass
        except BaseException as error:
            worker._port.end(self._policy.blame(error, "the core"))
            if self._sequencer is not None:
                self._sequencer.close()  # The item in hand will never be handed in: let nobody wait for it.
        finally:
            failure = self.call(worker, "teardown")
            with self._lock:
                self._late_failure = self._late_failure or failure
                self._present -= 1
                last = self._present == 0
            if last:  # What failed here came before what ended the inbox, and teardown comes after all items.
                self.inbox.cancel()
                self.outbox.close(self.failure or self.inbox.failure or self._late_failure)
                self._ended = perf_counter()

    def call(self, worker: BaseWorker[Any, Any], phase: str) -> PipelineError | None:
        """Its `setup` or `teardown`. Returns the failure if that raised."""
        try:
            getattr(worker, phase)()
        except BaseException as error:
            return self._policy.blame(error, phase)
        return None
