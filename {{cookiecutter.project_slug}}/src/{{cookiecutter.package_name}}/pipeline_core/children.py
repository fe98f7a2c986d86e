"""Child processes that make the calls of a crew: each has a worker of its own, and a thread of the crew at its pipe."""

import multiprocessing
import os
import pickle
from collections import deque
from collections.abc import Generator
from functools import partial
from itertools import count
from multiprocessing.util import Finalize
from threading import Lock, get_ident
from time import perf_counter
from typing import Any

from .calls import Calls, unless_passing
from .channel import Closed
from .child_main import Expanded, serve
from .crew import Crew
from .errors import Failure, Passed, Raised, RetryAfter, tried
from .messages import heard, packed, receive, send, told_of, unpacked
from .policy import SPECIAL, Call
from .tasks import Place
from .workers import Owner

NOT_PLAIN = SPECIAL | {id(Expanded)}
LONG = 1e6  # Seconds. A system waits for a pipe no longer than some weeks.
GRACE = 1.0  # Seconds in which a stop may follow the death of a child that was starting: Ctrl-C reaches both.


class Died(RuntimeError):
    """The child is gone."""


class Process:
    """A child process, and the pipes to it. Its methods raise OSError or EOFError where it is gone."""

    died = "a child process died in the middle of a call: killed, crashed or out of memory"
    _context: Any = multiprocessing.get_context("forkserver" if hasattr(os, "fork") else "spawn")
    _starting = Lock()  # multiprocessing starts one process at a time.
    _exiting = False  # Set when Python exits.

    def __init__(self, name: str, told: tuple[Any, ...]) -> None:
        pickled = pickle.dumps((*told, (dict(os.environ), os.getcwd())))
        self._pipe, theirs = self._context.Pipe()
        stop, self._stopping = self._context.Pipe(duplex=False)  # The child stops when its other end is closed.
        # Python does not wait at its exit for a daemon of a run that did not end.
        self._process = self._context.Process(target=serve, args=(theirs, stop, pickled), name=name, daemon=True)
        try:
            with self._starting:
                if self._exiting:
                    raise RuntimeError("no child process can be started when Python exits")
                self._process.start()
        except (ConnectionError, EOFError):
            pass  # The fork server has ended: since Python 3.14 it imports `__main__` itself. `receive` raises EOFError.
        finally:
            theirs.close()
            stop.close()

    @classmethod
    def start_no_more(cls) -> None:
        """Refuse to start processes. Else a thread would replace one that has been ended, and Python would wait for it."""
        with cls._starting:
            cls._exiting = True

    def packed(self, calls: Any) -> list[Any]:
        return packed(calls)

    def unpacked(self, message: list[Any]) -> Any:
        return unpacked(message)

    def send(self, message: list[Any]) -> None:
        send(self._pipe, message)

    def receive(self, limit: float | None) -> list[Any]:
        """The next message. Raises TimeoutError after `limit` seconds."""
        if limit is not None and not self._pipe.poll(min(max(0.0, limit), LONG)):
            raise TimeoutError
        return receive(self._pipe)

    def stop(self) -> None:
        """Tell the worker that the run has stopped."""
        self._stopping.close()

    def kill(self) -> None:
        self._process.kill()

    def end(self) -> None:
        """Wait for its end. Closes the pipes."""
        self._pipe.close()
        if self._process.pid is not None:
            self._process.join()

    def unready(self) -> str:
        """Why it ended before its worker was set up."""
        code = self._process.exitcode
        return (
            f"a child process ended before it was ready{'' if code is None else f', with exit code {code}'}: what it printed tells why."
            ' A script that starts a pipeline needs `if __name__ == "__main__":`'
        )


Finalize(None, Process.start_no_more, exitpriority=0)  # Called before multiprocessing ends the daemons.


class Child(Calls):
    """A child process with a worker of its own, which makes the calls. One that has died is replaced at the next call."""

    executor, apart = "process", True
    together, alone = 2.5e-3, 1.5e-4  # Seconds; see `most`. A message and its answer take the latter.
    _process: Any = None

    def __init__(self, stage: Owner, index: int, method: str) -> None:
        self.streams = method != "process_batch"
        self._spec, self._index, self._name = stage.spec, index, f"{stage.pipeline}-{stage.spec.name}-{index}"
        self.meter, self._method, self._hands = stage.meter(), method, stage.hands
        self.meter.usual, self.batches = 2 * self.together, method == "process_batch"  # One call at first.
        self._passing = self.batches or stage.spec.when is not None  # Whether items of a place may only pass.
        self._stop_event, self.pace = stage.policy.stop_event, stage.policy.pace
        self._attempts, self.limited = stage.policy.retries, stage.spec.timeout is not None
        self._replaced = stage.leave_behind
        self._set_up = partial(stage.set_up, worker=self)

    @property
    def worker(self) -> "Child":
        """It is set up, and torn down, in its thread."""
        return self

    def setup(self) -> None:
        """Start it, and wait until its worker is set up. Raises what its `setup` raised."""
        self._process = process = self.start(told_of(self._spec, self._index, self._method, self._name))
        if self._stop_event.is_set():  # It came before `stop` could tell this process.
            self.stop()
        try:
            self._receive()
        except Died:
            if self._stop_event.wait(GRACE):
                raise Closed from None
            raise RuntimeError(process.unready()) from None

    def start(self, told: tuple[Any, ...]) -> Any:
        """Start a process that makes its worker of what it is told."""
        return Process(self._name, told)

    def finish(self) -> Any:
        """What its worker's `finish` gives."""
        outcomes, *_ = self._ask()
        return self._opened(outcomes[0])

    def teardown(self) -> None:
        """End it. Raises what its `teardown` raised."""
        try:
            if self._process is not None and self._send([b""]):
                self._receive()
        except Died:
            pass
        finally:
            self._end()

    def stop(self) -> None:
        if (process := self._process) is not None:
            process.stop()

    def chunk(self, place: Any, crew: Crew) -> tuple[list[Any], Call]:
        places: list[Place] = [place]
        if not self.batches:
            number = len(place.items)
            most = self.most(self.meter.usual, (len(crew.tasks) + 1) * number, crew.size)
            while number < most and (more := crew.tasks.take_now(most - number)) is not None:
                places.append(more)
                number += len(more.items)
        indexes: list[int] = []
        items: list[Any] = []
        for place in places:
            if self._passing:
                received = enumerate([item for item in place.items if type(item) is not Failure], place.index)
                wanted = [(index, item) for index, item in received if type(item) is not Passed]
                indexes += [index for index, _ in wanted]
                items += [item for _, item in wanted]
            else:
                indexes += range(place.index, place.index + len(place.items))
                items += place.items
        outcomes = self._perform(indexes, items) if items else []
        if self._passing or not NOT_PLAIN.isdisjoint(map(id, map(type, outcomes))):
            return places, unless_passing(partial(self._next_of, deque(outcomes)))
        for place in reversed(places):  # The quick way. The loop waits for the first one, and finds all of them then.
            number = len(place.items)
            place.meter, place.done[:] = self.meter, outcomes[-number:]
            del outcomes[-number:]
            place.todo.clear()
            crew.finish(place)
        return [], self.measured

    def sub_tasks(self, chunk: list[Any]) -> Call:
        """The same for sub-tasks, each a job of a pool and a position there."""
        return self.send([job.place.index for job, _ in chunk], [job.results[position] for job, position in chunk])

    def send(self, indexes: list[int], arguments: list[Any]) -> Call:
        """Have the child make these calls. Returns what to call for each of them in turn, as if it were made here."""
        return partial(self._next_of, deque(self._perform(indexes, arguments) if arguments else ()))

    def measured(self, argument: Any) -> Any:
        """One call, for the item that this thread has in hand."""
        return self.send([self._hands[get_ident()].index], [argument])(argument)

    def _perform(self, indexes: list[int], arguments: list[Any]) -> list[Any]:
        """What each call gives."""
        for attempt in count(1):
            self.pace.wait()
            start, answer = perf_counter(), tried(self._ask, indexes, arguments)
            if type(answer) is not Raised or not isinstance(answer.error, RetryAfter):
                break
            self.pace.hold(answer.error.seconds)  # It was a batch, which is tried again as a whole.
            if attempt > self._attempts:
                break
            self._hands[get_ident()].retried += len(arguments)
        try:
            if type(answer) is not Raised:
                outcomes, seconds, cpu_seconds = answer
                self.meter.usual += (max(seconds / len(arguments), 1e-6) - self.meter.usual) / 4
                self.meter.record(start, seconds, cpu_seconds, len(arguments))
                return outcomes  # type: ignore[no-any-return]
            if isinstance(answer.error, Closed):
                raise Closed
            if len(arguments) > 1:  # One of them is the cause. After a death, calls that were finished are made again.
                return [self._perform([index], [one])[0] for index, one in zip(indexes, arguments, strict=True)]
            if isinstance(answer.error, Died):
                answer.error = RuntimeError(*answer.error.args)
            answer.error.__traceback__ = None
            return [answer]
        finally:
            del answer  # The traceback of its error, or of a cause, may refer to this frame.

    def _ask(self, *calls: Any) -> Any:
        if self._process is None or not self._send(self._process.packed(calls)):  # It has died since its last call.
            try:
                self._set_up()  # Another one. If that fails, the stage has failed.
            except Closed:
                self._stop_event.set()  # Else an item that is tried again would be blamed.
                raise
            self._send(self._process.packed(calls))
        return self._receive(self._spec.timeout if calls else None)

    def _send(self, message: list[Any]) -> bool:
        """Returns False if the child is gone: it has not got the message."""
        try:
            self._process.send(message)
            return True
        except OSError:
            self._end()
            return False

    def _receive(self, limit: float | None = None) -> Any:
        """The next answer, after what the child has logged. Raises Died, TimeoutError, and what the child has raised."""
        deadline = perf_counter() + (limit or 0.0)
        while True:
            process = self._process
            try:
                message = process.receive(None if limit is None else deadline - perf_counter())
            except TimeoutError:
                process.kill()
                self._end()
                self._replaced()
                raise TimeoutError(f"no result after {limit:g} seconds") from None
            except (EOFError, OSError):
                self._end()
                raise Died(process.died) from None
            try:
                answer = process.unpacked(message)
            except Exception as error:
                raise RuntimeError("what a child process answered does not unpickle here") from error
            if heard(answer, self._stop_event):
                continue
            if type(answer) is Raised:
                raise answer.take()
            return answer

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()

    def _next_of(self, outcomes: deque[Any], argument: Any) -> Any:
        """What the next call gave in the child."""
        return self._opened(outcomes.popleft())

    def _opened(self, outcome: Any) -> Any:
        """Return or raise what the call gave in the child."""
        if type(outcome) is Raised:
            raise outcome.take()
        return self._outputs(outcome) if type(outcome) is Expanded else outcome

    def _outputs(self, some: Expanded) -> Generator[Any, None, None]:
        """The outputs of a generator in the child, which is asked for more when they are needed."""
        process, key = self._process, some.key
        try:
            while True:
                some.reverse()
                while some:
                    yield self._opened(some.pop())
                if key is None:
                    return
                some = self._more(process, key)
                key = some.key
        finally:
            if key is not None and self._process is process:
                self._more(process, ~key)

    def _more(self, process: Any, key: int) -> Any:
        if self._process is not process or not self._send(process.packed((key,))):
            raise RuntimeError(process.died)
        try:
            return self._receive(self._spec.timeout)
        except Died as death:
            raise RuntimeError(*death.args) from None
