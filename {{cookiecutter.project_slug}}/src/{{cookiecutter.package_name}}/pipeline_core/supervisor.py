"""The threads of a run: who starts them, stops them and waits for them."""

from _thread import start_new_thread
from collections.abc import Callable
from contextvars import copy_context
from threading import Thread, current_thread
from time import perf_counter, process_time

from .errors import PipelineError
from .flow import Flow
from .plan import Plan
from .signals import Gate, Once, Signal
from .source_function import SourceLike


class Supervisor(Flow):
    """A thread that starts the others of a run, waits for a stop or the end, and closes the accounts.

    So Ctrl-C, which strikes in the main thread only, breaks off none of that. In serial mode it is the only other thread:
    the consumer's makes all the calls.
    """

    def __init__(self, plan: Plan, source: SourceLike, *, serial: bool) -> None:
        super().__init__(plan, source, serial=serial)
        self.stop_event = plan.stop_event
        self.launched, self.finished = Gate(), Gate()
        self.consumer: Thread | None = None  # Which iterates over the results.
        self.stopping = False
        self.threads: list[Thread] = []  # The supervisor, and the one that drops the results.
        self._own: set[Thread] = set()  # All threads of this run.
        self._consumer_left, self._wake = Gate(), Signal()
        self._charge = Once()  # Whoever takes it starts the supervisor.
        self._context = copy_context()

    def open(self) -> None:
        """Make the workers. Raises PipelineError for one that cannot be made."""
        self.started, self.cpu_started = self.ended, self.cpu_ended = perf_counter(), process_time()
        try:
            for stage in self.stages:
                stage.open(serial=self.serial)
        except BaseException as error:
            self.error = error if isinstance(error, PipelineError) else None
            self.settle()
            raise
        self.stop_event.on_set, self.dead_letters.origin = self.stop, self.origin
        if self.stop_event.is_set():  # A stop before the start.
            self.stop()

    def start(self) -> None:
        """Start the supervisor, any number of times. Raises RuntimeError if no thread can be started."""
        if self._charge.left:
            if isinstance(self.error, RuntimeError):  # `_launch` could not start it.
                raise self.error
            start_new_thread(self._launch, ())  # A signal that strikes in Thread.start() may leave its locks taken.

    def start_threads(self) -> None:
        """Called by the supervisor."""
        for stage in () if self.serial else self.stages:
            stage.start(self.spawn)
        if not self.serial or self.source.always_has_a_thread:
            self.source.start(self.spawn)

    def stop(self) -> None:
        """End the run. Any thread, and a signal handler, may call."""
        if not self.stopping:  # A signal handler may call this in the middle of itself, and Event.set takes a lock.
            self.stopping = True
            self.stop_event.set()
        self.outbox.cancel()  # At once: the supervisor cancels the rest.
        self._wake.set()

    def leave(self) -> None:
        """End the run for the consumer, any number of times. If it has not begun, the supervisor closes the accounts."""
        self._consumer_left.set()
        self.stop()
        try:
            self.start()
        except RuntimeError:
            if self._charge.take():
                self.settle()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all threads have left and the accounts are closed. Returns False if the time ran out.

        The first Ctrl-C stops the run, and is raised when it has ended; a second one is raised at once.
        """
        try:
            over = self.finished.wait(timeout)
            if over and current_thread() not in self._own:
                for thread in self.threads:
                    thread.join()
                # Else it may be collected in the main thread, where CPython loses a Ctrl-C that comes meanwhile.
                self.threads, self._own = [], set()
            return over
        except BaseException:
            first, self.interrupted = not self.interrupted, True
            self.stop()
            if first:
                self.wait()
            raise

    def waits_for(self, thread: Thread) -> bool:
        """Whether the run cannot end before this thread does something."""
        return not self.finished.is_set() and (thread in self._own or (thread is self.consumer and not self.stopping))

    def spawn(self, run: Callable[[], object], suffix: str) -> Thread:
        """Start a thread that sees the context variables of whoever started the run."""
        thread = Thread(target=self._context.copy().run, args=(run,), name=f"{self.name}-{suffix}", daemon=True)
        self._own.add(thread)  # Before it runs, and may ask.
        thread.start()
        return thread

    def settle(self) -> None:
        """Close the accounts: no thread of a stage runs any more."""
        self.stop()
        try:
            self.close_accounts()
        finally:
            # A run that is dropped goes at once, and waits for no collection of garbage.
            self.stop_event.on_set = self.dead_letters.origin = None
            self.finished.set()
            self.launched.set()
        self.tell_of_the_end()

    def _launch(self) -> None:
        if self._charge.take():
            self.state = "running"
            try:
                self.spawn(self._supervise, "supervisor")
            except RuntimeError as error:
                self.error = error
                self._charge = Once()
                self.launched.set()
                self.stop()

    def _supervise(self) -> None:
        self.threads.append(current_thread())
        try:
            if self.stopping:
                return
            self.start_threads()
            self.launched.set()
            before: object = None
            while not self._wake.wait(self.plan.stall_timeout):
                before = self.look_for_a_stall(before)
        except BaseException as error:
            self.error = error
        finally:
            self.stop()
            self.stop_event.mark()  # Ctrl-C may have broken off a stop.
            for stage in self.stages:
                stage.cancel()
            if self.serial:
                self._consumer_left.wait()
            for stage in self.stages:
                stage.join()
            self.source.join()
            self.settle()
