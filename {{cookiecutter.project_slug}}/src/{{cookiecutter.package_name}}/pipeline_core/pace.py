"""When the calls of a stage may begin."""

from collections.abc import Callable, Generator
from threading import Event, Lock
from time import perf_counter
from typing import Any

from .channel import Closed


class Pace:
    """Spaces the calls of all workers of a stage, and holds them back. Any thread may call.

    Each call reserves the next free moment, `1 / rate` seconds behind the one before, so that any second has no more than
    `rate` of them. A `hold` voids what is reserved.
    """

    observe: Callable[[float, float], object] | None = None  # Told of each wait that is over: start and seconds.

    def __init__(self, rate: float | None, stop_event: Event) -> None:
        self.rate, self.waited = rate, 0.0  # Seconds, of all threads together.
        self.stop_event, self._between = stop_event, 0.0 if rate is None else 1 / rate
        self._next = self._held = 0.0  # Moments: the next free one, and the end of the holds.
        self.holds, self._lock = 0, Lock()  # How many there were. The lock guards all of it.

    def hold(self, seconds: float) -> None:
        """No call begins for so long."""
        with self._lock:
            now, self.holds = perf_counter(), self.holds + 1
            self._held = max(self._held, now + seconds)
            self._next = max(self._held, now + self._between)

    def wait(self) -> None:
        """Wait until a call may begin. Raises Closed after a stop."""
        for seconds in self.pauses():
            if self.stop_event.wait(seconds):
                raise Closed

    def pauses(self) -> Generator[float, None, None]:
        """Yield seconds to wait, until a call may begin."""
        begun = holds = None
        while holds != self.holds and (self._between or self._next):
            with self._lock:
                now, holds = perf_counter(), self.holds
                moment = max(self._next, now)
                self._next = moment + self._between
            if moment > now:
                begun = begun or now
                yield moment - now
        if begun is not None:
            seconds = perf_counter() - begun
            with self._lock:
                self.waited += seconds
            if self.observe is not None:
                self.observe(begun, seconds)

    def paced(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, when it may begin."""

        def waits_and_calls(*arguments: Any) -> Any:
            self.wait()
            return call(*arguments)

        return waits_and_calls
