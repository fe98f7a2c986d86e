"""Time limits of calls in threads. A thread cannot be ended: it is left behind, and another worker takes its place."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from threading import current_thread, get_ident
from time import perf_counter
from typing import Any

from .calls import Calls
from .channel import Closed
from .clocks import Meter
from .crew import Crew
from .errors import LeftBehind
from .lane import Bursts
from .policy import NOTHING
from .signals import Once, Signal
from .tasks import Place, Stream
from .workers import Owner


class Attempt(Once):
    """A call that is being made. Either its thread takes it, when the call is over, or the time limit does."""

    def __init__(self, deadline: float) -> None:
        super().__init__()
        self.deadline, self.thread, self.ident = deadline, current_thread(), get_ident()


class LimitedMeter(Meter):
    """Measures each call, and shows it to the crew that watches its time."""

    attempt: Attempt | None = None
    begun: Callable[[], None] | None = None  # Called when there is an attempt.
    limit = 0.0

    def call(self, function: Callable[..., Any], *arguments: Any, items: int = 1) -> Any:
        """Make the call. Raises LeftBehind, whatever the call gave, if it took too long."""
        if self.begun is None:
            return super().call(function, *arguments, items=items)
        self.attempt = attempt = Attempt(perf_counter() + self.limit)
        self.begun()
        try:
            return super().call(function, *arguments, items=items)
        finally:
            self.attempt, self.unmeasured = None, 0
            if not attempt.take():
                raise LeftBehind


class TimedCrew(Crew):
    """Threads whose calls have a time limit. A thread of its own, the timer, sleeps until the next call has run out of time."""

    def __init__(self, stage: Owner, callers: Sequence[Calls], most: int, **options: Any) -> None:
        super().__init__(stage, list(callers), most, **options | {"singly": True})
        self._stage, self._limit = stage, stage.spec.timeout
        self._timer, self._dozing, self._serving = Signal(), False, set[int]()
        for calls in callers:
            self._watch(calls)

    def _watch(self, calls: Calls) -> None:
        meter: Any = calls.meter
        meter.limit, meter.begun = self._limit, self._attempt_begun

    def _attempt_begun(self) -> None:
        self._begun = True  # This store takes the lock of `_dozing =`: it stands between the attempt and the look.
        if self._dozing:  # It stores that, and then looks for attempts.
            self._timer.set()

    def bursts(self) -> Bursts:
        self._stage.begin(self._time, "timer")
        yield from super().bursts()

    def _end(self) -> None:
        super()._end()
        self._timer.set()

    def work(self, calls: Calls, first: Callable[[], None] = lambda: None) -> None:
        self._serving.add(get_ident())
        try:
            first()
            super().work(calls)
        finally:
            self._serving.discard(get_ident())
            self._timer.set()

    def _time(self) -> None:
        """What the timer does, until no worker works any more."""
        while True:
            self._dozing = True  # Stored before the look, as whoever begins an attempt does it the other way round.
            found = [(number, calls.meter.attempt) for number, calls in enumerate(self.callers)]  # type: ignore[attr-defined]
            attempts = [(number, attempt) for number, attempt in found if attempt is not None]
            if self.tasks.ended and not self._serving:
                return
            self._dozing, now = not attempts, perf_counter()
            for number, attempt in attempts:
                place = self.hands.get(attempt.ident)  # Before the end: after it, the thread may leave.
                if attempt.deadline <= now and attempt.take():
                    self._leave_behind(number, attempt, place)
            left = [attempt.deadline for _, attempt in attempts if attempt.deadline > now]
            if left or not attempts:
                self._timer.wait(min(left) - now if left else None)

    def _leave_behind(self, number: int, attempt: Attempt, place: Any) -> None:
        calls = self.callers[number]
        self._serving.discard(attempt.ident)
        self._stage.leave_behind(attempt.thread)
        calls.meter.end()
        if self.tasks.ended:
            return
        with suppress(Closed):
            pause = self._judge(place, calls)
            self._stage.begin(partial(self._replace, number, place, pause), f"{number}")

    def _judge(self, place: Place, calls: Calls) -> float | None:
        """Decide what becomes of the item. Returns seconds to wait before the next attempt; None where there is none."""
        policy, item = self.lane.policy, place.item
        error = TimeoutError(f"no result after {self._limit:g} seconds")
        stream = place.done[-1] if place.done else None
        if type(stream) is Stream and not stream.closed:
            stream.left = policy.failure(error, item, place)
            stream.close()
            self.finish(place)
            return None
        if item is NOTHING:  # It was a batch: its items are tried alone.
            return None
        fate = policy.give_up_or_pause(error, item, place)
        if isinstance(fate, float):
            return fate
        place.done.append(fate)
        place.index, place.attempt = place.index + 1, 1
        if not place.todo:
            self.finish(place)
        return None

    def _replace(self, number: int, place: Place, pause: float | None) -> None:
        """What the thread of another worker does."""
        stage = self._stage
        worker = self.callers[number].worker if self.pooled else stage.new_worker(number)
        calls = stage.calls(worker, self.callers[number].method)
        self._watch(calls)
        self.callers[number] = calls  # type: ignore[index]
        stage.serve(self, number, calls, partial(self._resume, place, pause, calls))

    def _resume(self, place: Place, pause: float | None, calls: Calls) -> None:
        """Go on with the place."""
        if place.finished:
            return
        if pause is not None:
            if self.lane.policy.stop_event.wait(pause):
                raise Closed
            place.attempt, place.retried = place.attempt + 1, place.retried + 1
            place.todo.append(place.item)
        self.make(place, calls.measured, calls)
