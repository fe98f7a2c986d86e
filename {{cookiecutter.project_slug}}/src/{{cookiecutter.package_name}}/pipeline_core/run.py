"""One run of a pipeline, as its consumer sees it."""

import sys
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, suppress
from itertools import chain, filterfalse
from threading import current_thread
from typing import Any

from .channel import Closed
from .errors import CONSUMER, PipelineError, Raised
from .serial import plain_loop
from .supervisor import Supervisor


class Run(Supervisor):
    """A run: it hands out the results, or drops them in the background."""

    _in_background = False  # Nobody wants the results.

    def start_in_background(self) -> None:
        """Start, and drop the results. Raises what keeps it from starting."""
        self._in_background = True
        try:
            self.start()
            self.launched.wait()
            if self.error is not None and not isinstance(self.error, PipelineError):
                raise self.error
        except BaseException:
            self.consumer = self.consumer or current_thread()
            self.leave()
            self.wait()
            raise

    def start_threads(self) -> None:
        if self._in_background:
            self.consumer = self.spawn(self._drop_results, "results")
            self.threads.append(self.consumer)
        super().start_threads()

    def results(self) -> Generator[Any, None, None]:
        """Yield the results to the consumer, and raise the error that ended the run."""
        collected, self.consumer = False, current_thread()
        try:
            with closing(self.outbox.reading.timed(plain_loop(self.source, self.stages))) as outputs:
                # CPython 3.13 finds no `finally` around a loop that a signal strikes as it goes back: so that is elsewhere.
                yield from self._deliver(outputs)
                self.completed = not self.stopping
        except GeneratorExit:
            self.delivered += 1
            # The garbage collector may run in a thread, or under a lock, that this would wait for.
            collected = sys.is_finalizing() or current_thread() != self.consumer
            raise
        except PipelineError as error:
            error.__traceback__ = None  # It refers to this frame.
            self.error = error
        except BaseException:  # Ctrl-C, or whatever else a signal handler raises here.
            self.interrupted = True
            raise
        finally:
            try:
                self.leave()
            finally:  # Again, because Ctrl-C may strike there, too.
                self.leave()
                if not collected:
                    self.wait()
        ended_by = Raised(self.error)
        # The traceback of the error will refer to this frame, and all of these to the error.
        del self, outputs
        if ended_by.error is not None:
            raise ended_by.take()

    def _deliver(self, outputs: Generator[Any, None, None]) -> Generator[Any, None, None]:
        # Failures that have travelled here are judged, in the order of the items.
        arrives = self.dead_letters.arrives
        items: Iterator[Any] = chain.from_iterable(self.outbox.bursts(arrives))
        if self.serial:
            items = filterfalse(arrives, outputs)
        self.start()
        with suppress(Closed, StopIteration):
            while not self.stopping:
                yield next(items)
                self.delivered += 1

    def reject(self, result: object, error: Exception) -> None:
        """The consumer failed on the result that it has. Raises the PipelineError that ends the run."""
        self.rejected += 1
        policy = self.plan.policy(CONSUMER, self.plan.on_error)
        failure = policy.blame(error, "the loop over the results", result, self.delivered)
        try:
            if not policy.skip:
                raise failure
            self.dead_letters.add(failure)
        except PipelineError as ended:
            self.error = ended
            raise

    def _drop_results(self) -> None:
        with suppress(BaseException):  # wait_for_completion raises it.
            deque(self.results(), maxlen=0)
