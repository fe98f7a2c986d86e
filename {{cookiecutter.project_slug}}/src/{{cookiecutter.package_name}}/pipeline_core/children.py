"""Child processes that make the calls of a crew: each has a worker of its own, and a thread of the crew at its pipe."""

import logging
import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Generator
from functools import partial
from threading import Lock, get_ident
from time import perf_counter
from typing import Any

from .channel import Closed
from .child_main import Expanded, serve
from .crew import Crew, Owner, Place
from .errors import Failure, Raised, tried
from .lane import Calls, unless_failed
from .policy import Call

CHUNK = 1e-3  # Seconds of calls that are sent at once, by their measured service time.
MESSAGE = 1e-4  # Seconds that a message and its answer take: calls that are quicker together are not shared out.
MOST = 64  # Calls that are sent at once.
GRACE = 1.0  # Seconds in which a stop may follow the death of a child that was starting: Ctrl-C reaches both.


class Died(Exception):
    """The child is gone."""


class Child(Calls):
    """A child process with a worker of its own, which makes the calls. One that has died is replaced at the next call."""

    executor = "process"
    _context: Any = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    _starting = Lock()  # multiprocessing starts one process at a time.
    _process: Any = None
    _stopping: Any = None  # The end of a pipe. The child stops when it is closed.

    def __init__(self, stage: Owner, index: int) -> None:
        self._spec, self._index, self._name = stage.spec, index, f"{stage.pipeline}-{stage.spec.name}-{index}"
        self.meter, self.batches, self._hands = stage.meter(), stage.spec.batch_size is not None, stage.hands
        self._stop_event, self._service_time = stage.policy.stop_event, CHUNK
        self._set_up = partial(stage.set_up, worker=self)

    @property
    def worker(self) -> "Child":
        """It is set up, and torn down, in its thread."""
        return self

    def setup(self) -> None:
        """Start it, and wait until its worker is set up. Raises what its `setup` raised."""
        spec = self._spec
        levels = {name: logging.getLogger(name).getEffectiveLevel() for name in ("", __package__ or "")}
        told = (spec.worker_class, spec.worker_args, spec.name, self._index, self.batches, self._name)
        pickled = pickle.dumps((*told, dict(os.environ), os.getcwd(), levels))
        self._pipe, theirs = self._context.Pipe()
        stop, stopping = self._context.Pipe(duplex=False)
        # Python does not wait at its exit for a daemon of a run that did not end.
        process = self._context.Process(target=serve, args=(theirs, stop, pickled), name=self._name, daemon=True)
        try:
            with self._starting:
                process.start()
        finally:
            theirs.close()
            stop.close()
        self._process, self._stopping = process, stopping
        if self._stop_event.is_set():  # It came before `stop` could tell this process.
            self.stop()
        try:
            self._receive()
        except Died:
            if self._stop_event.wait(GRACE):
                raise Closed from None
            raise RuntimeError(
                f"a child process ended before it was ready, with exit code {process.exitcode}: what it printed tells why."
                ' A script that starts a pipeline needs `if __name__ == "__main__":`'
            ) from None

    def teardown(self) -> None:
        """End it. Raises what its `teardown` raised."""
        try:
            if self._process is not None and self._send(b""):
                self._receive()
        except Died:
            pass
        finally:
            self._end()

    def stop(self) -> None:
        if (stopping := self._stopping) is not None:
            stopping.close()

    def most(self, lying: int, size: int) -> int:
        """How many calls to send at once: about a millisecond's worth, and its share of those that lie there or MESSAGE's worth."""
        share = max(-(-lying // size), int(MESSAGE / self._service_time))
        return max(1, min(int(CHUNK / self._service_time), share, MOST))

    def chunk(self, place: Any, crew: Crew) -> tuple[list[Any], Call]:
        places: list[Place] = [place]
        if not self.batches:
            places += crew.more_tasks(self.most(len(crew.tasks) + 1, crew.size) - 1)
        indexes: list[int] = []
        items: list[Any] = []
        for place in places:
            wanted = [item for item in place.items if type(item) is not Failure]
            indexes += range(place.index, place.index + len(wanted))
            items += wanted
        return places, unless_failed(self.send(indexes, items))

    def sub_tasks(self, chunk: list[Any]) -> Call:
        """The same for sub-tasks, each a job of a pool and a position there."""
        return self.send([job.place.index for job, _ in chunk], [job.results[position] for job, position in chunk])

    def send(self, indexes: list[int], arguments: list[Any]) -> Call:
        """Have the child make these calls. Returns what to call for each of them in turn, as if it were made here."""
        outcomes = deque(self._perform(indexes, arguments)) if arguments else deque()
        return lambda argument: _opened(outcomes.popleft())

    def measured(self, argument: Any) -> Any:
        """One call, for the item that this thread has in hand."""
        return self.send([self._hands[get_ident()].index], [argument])(argument)

    def _perform(self, indexes: list[int], arguments: list[Any]) -> list[Any]:
        """What each call gives."""
        start, answer = perf_counter(), tried(self._ask, indexes, arguments)
        try:
            if type(answer) is not Raised:
                outcomes, seconds, cpu_seconds = answer
                self._service_time += (max(seconds / len(arguments), 1e-6) - self._service_time) / 4
                self.meter.record(start, seconds, cpu_seconds, len(arguments))
                return outcomes  # type: ignore[no-any-return]
            if isinstance(answer.error, Closed):
                raise Closed
            if len(arguments) > 1:  # One of them is the cause. After a death, calls that were finished are made again.
                return [self._perform([index], [one])[0] for index, one in zip(indexes, arguments, strict=True)]
            if isinstance(answer.error, Died):
                answer.error = RuntimeError(
                    "a child process died in the middle of a call: killed, crashed or out of memory"
                )
            answer.error.__traceback__ = None
            return [answer]
        finally:
            del answer  # The traceback of its error, or of a cause, may refer to this frame.

    def _ask(self, indexes: list[int], arguments: list[Any]) -> Any:
        message = pickle.dumps((indexes, arguments))
        if self._process is None or not self._send(message):  # It has died since its last call.
            try:
                self._set_up()  # Another one. If that fails, the stage has failed.
            except Closed:
                self._stop_event.set()  # Else an item that is tried again would be blamed.
                raise
            self._send(message)
        return self._receive()

    def _send(self, message: Any) -> bool:
        """Returns False if the child is gone: it has not got the message."""
        try:
            self._pipe.send_bytes(message)
            return True
        except OSError:
            self._end()
            return False

    def _receive(self) -> Any:
        """The next answer, after what the child has logged. Raises Died, and what the child has raised."""
        while True:
            try:
                message = self._pipe.recv_bytes()
            except (EOFError, OSError):
                self._end()
                raise Died from None
            try:
                answer = pickle.loads(message)
            except Exception as error:
                raise RuntimeError("what a child process answered does not unpickle here") from error
            if isinstance(answer, logging.LogRecord):
                logger = logging.getLogger(answer.name)
                if logger.isEnabledFor(answer.levelno):
                    logger.handle(answer)
            elif answer == "stop":
                self._stop_event.set()
            elif type(answer) is Raised:
                raise answer.take()
            else:
                return answer

    def _end(self) -> None:
        process, self._process, self._stopping = self._process, None, None  # Which closes the pipe, once.
        if process is not None:
            self._pipe.close()
            process.join()


def _opened(outcome: Any) -> Any:
    """Return or raise what the call gave in the child."""
    if type(outcome) is Raised:
        raise outcome.take()
    return _given_again(outcome) if type(outcome) is Expanded else outcome


def _given_again(outputs: Expanded) -> Generator[Any, None, None]:
    outputs.reverse()
    while outputs:
        yield _opened(outputs.pop())
