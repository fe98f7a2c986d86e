"""The threads of a run that belong to none of its stages."""

from collections.abc import Callable
from threading import Event, Thread, current_thread


class OwnThreads:
    """Daemon threads, each called by the pipeline's name and what it does."""

    def __init__(self, pipeline: str) -> None:
        self._pipeline = pipeline
        self._threads: list[Thread] = []

    def spawn(self, run: Callable[[], None], what: str) -> None:
        thread = Thread(target=run, name=f"{self._pipeline}-{what}", daemon=True)
        thread.start()
        self._threads.append(thread)

    def apart(self, work: Callable[[], None], what: str, *, wait: bool = True) -> None:
        """Do that in a thread of its own, and `wait` for it; then raise what it raised.

        Ctrl-C, which strikes in the main thread only, breaks off the wait, but not the work.
        """
        over, errors = Event(), list[BaseException]()

        def do() -> None:
            try:
                work()
            except BaseException as error:
                errors.append(error)
            over.set()

        try:
            self.spawn(do, what)
        except RuntimeError:  # There is no thread to be had.
            do()
        if wait:
            over.wait()
            if errors:
                raise errors.pop()

    def join(self) -> None:
        """Once the run has finished: wait for those that have nothing more to do."""
        for thread in self._threads:
            if thread is not current_thread():
                thread.join()
