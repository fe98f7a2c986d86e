"""A child process that does sub-tasks for one thread of a pool, through a pipe of its own."""

import multiprocessing
import pickle
import signal
import traceback
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from threading import Event, Lock
from time import process_time, thread_time
from typing import TYPE_CHECKING, Any

from .errors import short

if TYPE_CHECKING:
    from .sub_task_pool import SubTaskPoolWorker


class ChildProcess:
    """A child process with a worker of its own, for one thread. One that has died is replaced at the next call."""

    _context: Any = multiprocessing.get_context(
        "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    )
    _lock = Lock()  # The start and the end of processes are not made for threads.

    def __init__(self, worker: "SubTaskPoolWorker[Any, Any, Any, Any]") -> None:
        self._arguments = (type(worker), worker._stage.worker_args, worker.name)
        self._process: Any = None
        self._connection: Any = None
        self._cpu_seconds = 0.0

    def start(self) -> None:
        """Have a child, and wait until it is set up. Raises RuntimeError if it died of that."""
        if self._process is None or not self._process.is_alive():
            self._start()
            self._answer()

    def call(self, sub: Any) -> Any:
        """Do a sub-task in the child. Raises what it raised there, and RuntimeError if the child died."""
        self.start()
        with ForkingPickler.dumps(sub) as message:  # A view, which an error's traceback would keep.
            answer = self._answer(message)
        try:
            done, result, cpu_seconds = pickle.loads(answer)
        except BaseException as error:
            raise RuntimeError("what a child process answered does not unpickle here") from error
        self._cpu_seconds += cpu_seconds
        if done:
            return result
        raise result

    def cpu_clock(self) -> float:
        """CPU seconds of the children's sub-tasks so far, and of the thread that waits for them."""
        return self._cpu_seconds + thread_time()

    def end(self) -> None:
        if self._process is not None:
            self._connection.close()
            with self._lock:
                self._process.join()
            self._process = None

    def _answer(self, *messages: Any) -> bytes:
        try:
            for message in messages:
                self._connection.send_bytes(message)
            return self._connection.recv_bytes()  # type: ignore[no-any-return]
        except (EOFError, OSError) as error:
            self.end()
            raise RuntimeError("a child process died in mid-task: killed, crashed or out of memory") from error

    def _start(self) -> None:
        self._connection, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve_in_child, args=(theirs, *self._arguments), daemon=True)
        try:
            with self._lock:
                process.start()
        finally:
            theirs.close()
        self._process = process


def _serve_in_child(
    connection: Connection, worker_class: type["SubTaskPoolWorker[Any, Any, Any, Any]"], worker_args: Any, name: str
) -> None:
    """Make a worker, set it up, and answer until the parent closes. Ctrl-C is the parent's to answer."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker = setup_error = None
    try:
        worker = worker_class(**worker_args)
        worker._attach(name, Event())
        worker.setup()
    except BaseException as error:
        setup_error = error
    try:
        connection.send_bytes(b"ready")
        while True:
            sub_task = connection.recv_bytes()
            start = process_time()
            try:
                if worker is None or setup_error is not None:
                    raise RuntimeError("setup() failed in a child process") from setup_error
                answer = pickle.dumps((True, worker.process_sub_task(pickle.loads(sub_task)), process_time() - start))
            except BaseException as error:
                answer = _pickled(error)
            connection.send_bytes(answer)
    except (EOFError, OSError):
        pass
    finally:
        if worker is not None:
            worker.teardown()


def _pickled(error: BaseException) -> bytes:
    """An answer that carries the error, or its text if it cannot travel; its traceback goes along as a note."""
    where = f"In the child process:\n{traceback.format_exc()}"
    try:
        error.add_note(where)
        answer = pickle.dumps((False, error, 0.0))
        pickle.loads(answer)
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {short(error, str)}")
        error.add_note(where)
        answer = pickle.dumps((False, error, 0.0))
    return answer
