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
        self.rate, self.calls = rate, 0  # Calls are counted where there is a rate.
        self.stop_event, self._between = stop_event, 0.0 if rate is None else 1 / rate
        self._next = self._held = 0.0  # Moments: the next free one, and the end of the holds.
        self._waited = 0.0  # The sum of the ends of all waits, less that of their begins,
        self._waiting = 0  # of which so many go on.
        self.holds, self._lock = 0, Lock()  # How many there were. The lock guards all of it.

    @property
    def waited(self) -> float:
        """Seconds, of all calls together, including the waits that go on now."""
        with self._lock:
            return self._waited + self._waiting * perf_counter()

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
        try:
            while holds != self.holds and (self._between or self._next):
                with self._lock:
                    self.calls += holds is None
                    now, holds = perf_counter(), self.holds
                    moment = max(self._next, now)
                    self._next = moment + self._between
                    if moment > now and begun is None:
                        begun, self._waited, self._waiting = now, self._waited - now, self._waiting + 1
                if moment > now:
                    yield moment - now
        finally:
            if begun is not None:
                now = perf_counter()
                with self._lock:
                    self._waited, self._waiting = self._waited + now, self._waiting - 1
                if self.observe is not None:
                    self.observe(begun, now - begun)

    def paced(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """The same call, when it may begin."""

        def waits_and_calls(*arguments: Any) -> Any:
            if self._between or self._next:  # Else nothing is to be waited for.
                self.wait()
            return call(*arguments)

        return waits_and_calls
