"""What threads wait for."""

from collections.abc import Callable
from threading import TIMEOUT_MAX, Lock, get_ident, main_thread
from time import perf_counter


class Signal:
    """An event that wakes one waiting thread, and that the wait resets. A `set` that comes before the `wait` is not lost."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._lock.acquire()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until `set`, at most `timeout` seconds. Returns False if the time ran out."""
        if get_ident() == main_thread().ident:
            return attentive(self._acquire, timeout)
        if timeout is None:
            return self._lock.acquire()  # Quicker.
        return self._acquire(min(max(timeout, 0), TIMEOUT_MAX))

    def set(self) -> None:
        try:  # No `suppress`, which takes longer than the rest.
            self._lock.release()
        except RuntimeError:
            return  # It is set already.

    def _acquire(self, timeout: float) -> bool:
        return self._lock.acquire(timeout=timeout)


class Gate(Signal):
    """Like `threading.Event`, but a signal handler that raises cannot leave it locked. It stays set."""

    def __init__(self) -> None:
        super().__init__()
        self._open = False

    def is_set(self) -> bool:
        return self._open

    def set(self) -> None:
        self._open = True
        super().set()

    def wait(self, timeout: float | None = None) -> bool:
        try:
            return self._open or super().wait(timeout)
        finally:
            if self._open:
                super().set()  # For the next thread that waits.


class Once:
    """What only one thread can take, and only once."""

    def __init__(self) -> None:
        self.left = [None]

    def take(self) -> bool:
        """Returns True to the first who asks."""
        try:
            self.left.pop()
        except IndexError:
            return False
        return True


def attentive(wait: Callable[[float], bool], timeout: float | None) -> bool:
    """Wait at most `timeout` seconds, and let signal handlers run meanwhile. Returns what `wait(seconds)` does.

    A handler runs between two bytecodes of the main thread. A signal that comes just before that thread sleeps, or that
    the system gives to another thread, does not wake it: so it looks again after 0.05 seconds, and then ever more rarely.
    """
    end, pause = perf_counter() + (TIMEOUT_MAX if timeout is None else timeout), 0.05
    while (left := end - perf_counter()) > pause:
        if wait(pause):
            return True
        pause *= 4
    return wait(max(left, 0))
