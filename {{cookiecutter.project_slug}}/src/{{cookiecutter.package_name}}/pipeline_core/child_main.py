"""What a child process does: it makes a worker, sets it up, and makes calls until its parent ends it, or is gone."""

import logging
import os
import pickle
import signal
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial
from logging.handlers import QueueHandler
from multiprocessing import current_process
from multiprocessing.connection import Connection
from threading import Event, Lock, Thread, Timer, current_thread, get_ident
from time import perf_counter, process_time
from types import GeneratorType
from typing import Any

from .base_worker import Hands, attach
from .calls import Calls
from .clocks import Meter
from .errors import Raised, short, traceback_text, tried
from .messages import packed, receive, send, unpacked
from .pace import Pace
from .policy import NOTHING
from .signals import Once

SOME = 1e-3  # Seconds.


class Expanded(list[Any]):
    """Outputs of a generator, and at last the Raised, if it raised. If there may be more, `key` is its number."""

    key: int | None = None


class Parent(QueueHandler):
    """The way to the parent. It is also a logging handler, which sends the records there."""

    def __init__(self, post: Callable[[Any], object], dumps: Callable[[Any], bytes] = pickle.dumps) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.dumps, self._post, self._sending = dumps, post, Lock()

    def enqueue(self, record: logging.LogRecord) -> None:
        self.send(record)

    def send(self, answer: Any) -> None:
        try:
            message = self.packed(answer)
        except Exception:
            if type(answer) is not tuple and type(answer) is not Expanded:
                raise
            message = self.packed(each_of(answer, self._portable))  # One of them does not pickle.
        with self._sending:
            self._post(message)

    def packed(self, answer: Any) -> Any:
        return packed(answer)

    def told(self, given: Any) -> Any:
        """What a call gave. An error carries the traceback of this process as a note; if it cannot be pickled, words stand for it."""
        if type(given) is not Raised:
            return given
        error, where = given.error, f"In the child process:\n{traceback_text(given.error)}"
        try:
            error.add_note(where)
            pickle.loads(self.dumps(error))
        except Exception:
            error = RuntimeError(f"{type(error).__name__}: {short(error, str)}")
            error.add_note(where)
        error.__traceback__ = None
        return Raised(error)

    def _portable(self, outcome: Any) -> Any:
        return outcome if type(pickled := tried(self.dumps, outcome)) is not Raised else self.told(pickled)


class ChildStopEvent(Event):
    """Whoever sets it in a child stops the run."""

    def __init__(self, parent: Parent) -> None:
        super().__init__()
        self._parent = parent

    def set(self) -> None:
        super().set()
        self._parent.send("stop")

    def set_when_closed(self, pipe: Any) -> None:
        """The parent closes its end when the run has stopped."""
        with suppress(EOFError, OSError):
            pipe.recv_bytes()
        super().set()


class Child:
    """The worker of a child process, and how its calls are made."""

    index: Any = None  # Of the item in hand, for the log.
    attempt, retried, meter = 1, 0, Meter()
    worker: Any = None

    def __init__(self, parent: Parent, stop: Any = None) -> None:
        self._parent, self._stop = parent, stop
        self._open: dict[int, tuple[Any, Any]] = {}  # Generators that can give more, and the position of their items.

    def begin(self, told: bytes) -> None:
        self.make(told, {get_ident(): self})
        self.worker.setup()

    def make(self, told: bytes, hands: Hands) -> None:
        """Make the worker, in the world as it is at the start of the run."""
        worker_class, worker_args, stage, index, method, thread, levels, world = pickle.loads(told)
        if world is not None:
            environment, folder = world
            os.environ.clear()
            os.environ.update(environment)
            os.chdir(folder)
        current_thread().name = thread
        logging.getLogger().addHandler(self._parent)
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
        stop_event = ChildStopEvent(self._parent)
        worker = worker_class(**worker_args)
        attach(worker, stage, index, stop_event, hands)
        self.worker = worker
        self._calls = Calls(worker, method, Meter(), Pace(None, stop_event))
        if self._stop is not None:
            Thread(target=stop_event.set_when_closed, args=(self._stop,), daemon=True).start()

    def answer(self, message: Any) -> Any:
        """An outcome for each argument, and the seconds and CPU seconds of all the calls. For no calls, the outcome of `finish`.

        For the key of a generator, some of what it gives; for the complement of one, the generator is closed.
        """
        calls = self.unpacked(message)
        if len(calls) == 1:
            return self._some(calls[0]) if calls[0] >= 0 else self._open.pop(~calls[0])[0].close()
        indexes, arguments = calls or ((None,), (None,))
        start, cpu, outcomes = perf_counter(), process_time(), []
        call: Any = self._calls.batch(arguments, self) if self._calls.batches else self._calls.one
        if indexes == (None,):
            call = self._finish
        for self.index, argument in zip(indexes, arguments, strict=True):
            try:
                given = call(argument)
            except BaseException as error:
                given = self._parent.told(Raised(error))
            if type(given) is GeneratorType:
                outputs, given = given, Expanded()
                given.key = max(self._open, default=-1) + 1
                self._open[given.key] = outputs, self.index
            outcomes.append(given)
        self.index = None
        return outcomes, perf_counter() - start, process_time() - cpu

    def unpacked(self, message: Any) -> Any:
        return unpacked(message)

    def _some(self, key: int) -> Any:
        """What a generator gives within `SOME` seconds: one output or more.

        If the next one takes longer, a timer sends those that are there, and this returns NOTHING.
        """
        outputs, self.index = self._open.pop(key)
        some, sending, guard, end = Expanded(), Once(), Lock(), perf_counter() + SOME
        some.key = key

        def send() -> None:
            with guard:
                if some and sending.take():
                    self._parent.send(some)

        timer = Timer(SOME, send)
        timer.start()
        while True:
            output = tried(next, outputs)
            with guard:
                if not sending.left:
                    self._open[key] = _first(output, outputs), self.index
                    return NOTHING
                if type(output) is not Raised:
                    some.append(output)
                elif type(output.error) is not StopIteration:
                    some.append(self._parent.told(output))
                if type(output) is Raised:
                    some.key = None
                elif perf_counter() > end:
                    self._open[key] = outputs, self.index
                else:
                    continue
                sending.take()
                timer.cancel()
                return some

    def _finish(self, argument: None) -> Generator[Any, None, None]:
        outputs = self.worker.finish()
        yield from () if outputs is None else outputs


def _first(output: Any, outputs: Any) -> Generator[Any, None, None]:
    """This one, and then the others."""
    if type(output) is not Raised:
        yield output
        yield from outputs
    elif type(output.error) is not StopIteration:
        raise output.take()


def each_of(answer: Any, change: Callable[[Any], Any]) -> Any:
    """The same answer, with each outcome in it changed."""
    if type(answer) is Expanded:
        answer[:] = map(change, answer)
        return answer
    outcomes, *seconds = answer
    return [*map(change, outcomes)], *seconds


def work(child: Child, parent: Parent, receive: Callable[[], Any], told: bytes) -> None:
    """Set the worker up, answer messages until an empty one comes, and tear it down."""
    try:
        failed = parent.told(tried(child.begin, told))
        parent.send(failed)
        while failed is None and (message := receive())[0]:
            if (answer := parent.told(tried(child.answer, message))) is not NOTHING:
                parent.send(answer)
    except (EOFError, OSError):  # The parent is gone.
        pass
    finally:
        failed = None if child.worker is None else parent.told(tried(child.worker.teardown))
        with suppress(OSError):
            parent.send(failed)


def serve(pipe: Connection, stop: Connection, told: bytes) -> None:
    """What the process runs."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which stops this process.
    current_process().daemon = False  # It may start processes of its own.
    parent = Parent(partial(send, pipe))
    work(Child(parent, stop), parent, partial(receive, pipe), told)
