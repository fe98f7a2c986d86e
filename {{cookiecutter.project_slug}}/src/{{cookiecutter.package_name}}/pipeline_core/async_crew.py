"""The crew of an async stage: one worker, and an event loop of its own that has many of its calls in flight."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from functools import partial
from inspect import isasyncgenfunction
from queue import Full
from time import perf_counter, thread_time
from typing import Any

from .calls import PASSING, Calls
from .channel import Closed
from .clocks import Meter
from .crew import Crew
from .errors import FailedItem, Failure, Raised
from .event_loop import IN_HAND
from .policy import NOTHING, Expansion
from .tasks import Place, Stream
from .workers import Owner


class Bell:
    """Wakes the event loop, where a Signal wakes a thread."""

    def __init__(self) -> None:
        self.event, self.lies = asyncio.Event(), False  # Whether it lies where those do that wait for tasks.
        self._loop = asyncio.get_running_loop()

    def set(self) -> None:
        self.lies = False
        with suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(self.event.set)

    def wait(self, timeout: float | None = None) -> bool:
        return False  # The event loop does not block.

    async def rung(self) -> None:
        await self.event.wait()
        self.event.clear()


class AsyncCalls(Calls):
    """One of the calls that may be in flight."""

    executor = "async"

    def stop(self) -> None:
        self.worker.cancel()


class AsyncCrew(Crew):
    """The event loop takes a place for each call that may be in flight, and finishes it when the call is over."""

    def __init__(self, stage: Owner) -> None:
        spec, policy = stage.spec, stage.policy
        calls = [AsyncCalls(stage.workers[0], spec.method, stage.meter(), policy.pace) for _ in range(spec.workers)]
        more = len(calls) if isasyncgenfunction(spec.worker_class.process_item) else stage.inbox.capacity
        super().__init__(stage, calls, len(calls) + more, singly=True, pooled=False)
        self.served, self.endings, self._worker = calls[:1], self.endings[:1], stage.workers[0]
        self._elsewhere = stage.room > 0  # Whoever makes the calls there counts their CPU time.

    def work(self, calls: Calls) -> None:
        self._cpu_seconds = thread_time()  # When what came after it is not yet counted.
        for each in self.callers:
            each.meter.begin()
        try:
            self._worker.run(self._work)
        finally:
            self._count_cpu_seconds(calls.meter)
            for each in self.callers:
                each.meter.end()

    def _count_cpu_seconds(self, meter: Meter) -> None:
        """Add what the event loop's thread has computed, for whichever call, since the last time."""
        now = thread_time()
        meter.cpu_seconds += 0.0 if self._elsewhere else now - self._cpu_seconds
        self._cpu_seconds = now

    async def _work(self) -> None:
        free = [(calls.meter, calls.meter.waits.begin()) for calls in self.callers]
        in_flight, bell, raised = set[Any](), Bell(), list[BaseException]()

        def over(place: Place, task: Any) -> None:
            in_flight.discard(task)
            if not place.finished:
                raised.append(asyncio.CancelledError() if task.cancelled() else task.exception())
            bell.event.set()

        try:
            while not (raised or self.tasks.ended or self.outbox.closed):
                if not free or (place := self.tasks.take_now()) is None:
                    if free and not bell.lies:
                        bell.lies = True
                        self.tasks.lie_down(bell)
                    await bell.rung()
                    continue
                meter, since = free.pop()
                meter.waits.end(since)
                task = asyncio.create_task(self._make(place, meter, free))
                in_flight.add(task)
                task.add_done_callback(partial(over, place))
                del place, task
            if raised:
                raise raised.pop()
        finally:
            for task in in_flight:
                task.cancel()
            await asyncio.gather(*in_flight, return_exceptions=True)
            for meter, since in free:
                meter.waits.end(since)

    async def _make(self, place: Place, meter: Meter, free: list[tuple[Meter, float]]) -> None:
        """Make the call of a place, as often as it takes."""
        IN_HAND.set(place)
        place.meter, item = meter, place.todo.pop()
        try:
            if id(type(item)) in PASSING:
                outcome = self.lane.policy.concluded(item, place)
            else:
                outcome = await self._result(item, place)
            if type(outcome) is Expansion:
                await self._fill_stream(place, outcome, item)
            else:
                place.done.append(outcome)
        finally:
            outcome = None  # The traceback of an error refers to this frame.
        self.finish(place)
        self._count_cpu_seconds(meter)
        free.append((meter, meter.waits.begin()))

    async def _result(self, item: Any, place: Place) -> Any:
        policy, pause = self.lane.policy, None
        try:
            while True:
                for seconds in policy.pace.pauses():
                    await asyncio.sleep(seconds)
                given = await self._tried(self._worker.call, item, place)
                if isinstance(given, AsyncGenerator):
                    first = await self._tried(self._worker.next, given, place)  # It belongs to the attempt.
                    given = first if type(first) is Raised else Expansion(first, given, place.index, place.attempt)
                if type(given) is not Raised:
                    return policy.concluded(given, place)
                pause = policy.give_up_or_pause(given.take(), item, place)
                if isinstance(pause, Failure):
                    return pause
                await asyncio.sleep(pause)
                place.attempt, place.retried = place.attempt + 1, place.retried + 1
        finally:
            pause = None  # The traceback of an error refers to this frame.

    async def _tried(self, call: Any, argument: Any, place: Place | None = None) -> Any:
        """What the call gives, or Raised; measured, if it is for a place."""
        start = perf_counter()
        try:
            given = await call(argument)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and (self.tasks.ended or self._worker.stop_event.is_set()):
                raise
            if place is not None:
                place.meter.record(start, perf_counter() - start, 0.0, 1)  # Here, where observers see the error.
            return Raised(error)
        if place is None or isinstance(given, AsyncGenerator):  # A generator works when it is asked for outputs.
            return given
        if given is not NOTHING or not place.expands:  # Else it has given its last output.
            place.meter.record(start, perf_counter() - start, 0.0, 1)
        return given

    async def _fill_stream(self, place: Place, expansion: Expansion, item: Any) -> None:
        stream, policy, output, given = self.new_stream(place), self.lane.policy, expansion.first, 0
        stream.room_bell = room = Bell()
        expansion.first = None
        try:
            while output is not NOTHING:
                if type(output) is Raised:
                    output = policy.failure(output.take(), item, expansion, given)
                elif type(output) is FailedItem:
                    output = policy.failure(output.error, output.item, expansion, given)
                if type(output) is Failure:
                    stream.left = output
                    break
                if output is not None:
                    stream.left = NOTHING
                    await self._put(stream, output, room)
                    given += 1
                output = None  # It is not kept while the next one is computed.
                output = await self._tried(self._worker.next, expansion.rest, place)
        except Closed:  # Nobody wants more.
            pass
        finally:
            output = None
            if type(closed := await self._tried(lambda outputs: outputs.aclose(), expansion.rest)) is Raised:
                self._worker.logger.error("a generator raised when it was closed", exc_info=closed.take())
            stream.close()

    async def _put(self, stream: Stream, output: Any, room: Bell) -> None:
        while True:
            try:
                return stream.put(output, timeout=0)
            except Full:
                await room.rung()
