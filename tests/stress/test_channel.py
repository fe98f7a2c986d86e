"""The channel alone: against a deque, one operation at a time, and hammered from two threads; and an outlet's end."""

import os
import random
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from queue import Empty

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pipeline_core.channel import Channel, Closed, Signal
from pipeline_core.errors import PipelineError
from pipeline_core.ports import Outlet

from stress_jitter import jitter

EXAMPLES = int(os.environ.get("STRESS_EXAMPLES", "2000"))


class AgainstADeque(RuleBasedStateMachine):
    """Each rule is an operation that does not block in the state that the model is in."""

    @initialize(capacity=st.integers(1, 6))
    def make(self, capacity: int) -> None:
        self.capacity = capacity
        self.channel = Channel[int](capacity)
        self.model: deque[int] = deque()
        self.closed = self.cancelled = False
        self.failure: PipelineError | None = None
        self.number = 0

    @precondition(lambda self: self.closed or len(self.model) < self.capacity)
    @rule()
    def put(self) -> None:
        self.number += 1
        try:
            self.channel.put(self.number)
        except Closed:
            assert self.closed
        else:
            assert not self.closed
            self.model.append(self.number)

    @precondition(lambda self: self.closed or self.model)
    @rule(timeout=st.sampled_from([None, 0, 0.001]))
    def get(self, timeout: float | None) -> None:
        try:
            item = self.channel.get(timeout)
        except Closed:
            assert self.cancelled or (self.closed and not self.model)
        else:
            assert not self.cancelled
            assert item == self.model.popleft()

    @rule()
    def get_what_is_ready(self) -> None:
        number = self.channel.ready()
        assert number <= (0 if self.cancelled else len(self.model))
        assert [*self.channel.next(number)] == [self.model.popleft() for _ in range(number)]

    @rule()
    def put_what_finds_room(self) -> None:
        room = self.channel.room()
        assert (room <= 0) if self.closed else (room == self.capacity - len(self.model))
        for _ in range(room):
            self.put()

    @precondition(lambda self: not self.closed and not self.model)
    @rule(timeout=st.sampled_from([-1, 0, 0.001]))
    def get_times_out(self, timeout: float) -> None:
        with pytest.raises(Empty):
            self.channel.get(timeout)

    @rule(fails=st.booleans())
    def close(self, fails: bool) -> None:
        failure = PipelineError("stage", "test") if fails else None
        self.channel.close(failure)
        if not self.closed:
            self.closed, self.failure = True, failure

    @rule()
    def cancel(self) -> None:
        self.channel.cancel()
        self.closed = self.cancelled = True

    @precondition(lambda self: self.cancelled)
    @rule()
    def clear(self) -> None:
        self.channel.clear()
        self.model.clear()

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "model"):
            return
        assert len(self.channel) == len(self.model) <= self.capacity
        assert (self.channel.closed, self.channel.cancelled) == (self.closed, self.cancelled)
        assert self.channel.failure is self.failure


AgainstADeque.TestCase.settings = settings(
    max_examples=max(20, EXAMPLES // 3), deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
test_channel_is_a_deque = AgainstADeque.TestCase


class Side(threading.Thread):
    """Runs a function, and keeps what it raised."""

    def __init__(self, call) -> None:
        super().__init__(daemon=True)
        self.call = call
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.call()
        except BaseException as error:
            self.error = error


def hammer(capacity: int, refill: int | None, items: int, end: str, seed: int) -> None:
    """A writer and a reader, and a third thread that may close or cancel: nothing is lost, doubled or out of order."""
    channel = Channel[int](capacity)
    draw = random.Random(seed)
    patience = draw.choice([None, None, 0.0002])
    late = draw.random() * 0.003
    put: list[int] = []
    got: list[int] = []

    def write() -> None:
        try:
            for number in range(items):
                channel.put(number)
                put.append(number)
        finally:
            channel.close()

    def read() -> None:
        while True:
            with suppress(Empty):
                got.append(channel.get(patience))
                got.extend(channel.next(channel.ready()))
            if end == "reader leaves" and len(got) > items // 3:
                channel.cancel()
                return

    def interrupt() -> None:
        time.sleep(late)
        if end == "closed":
            channel.close()
        elif end == "cancelled":
            channel.cancel()

    sides = [Side(write), Side(read), Side(interrupt)]
    for side in sides:
        side.start()
    for side in sides:
        side.join(30)
        assert not side.is_alive(), f"hangs: {(capacity, refill, items, end, seed)}"
        assert side.error is None or isinstance(side.error, Closed), side.error
    left = list(channel.items)
    assert got + left == list(range(len(got) + len(left))), (capacity, refill, end, seed)
    assert put == got + left
    assert len(left) <= capacity
    if end == "exhaust":
        assert len(got) == items
    if end == "closed":
        assert len(left) <= 1  # One that the writer was about to add when a third thread closed.


@pytest.mark.parametrize("end", ["exhaust", "closed", "cancelled", "reader leaves"])
@pytest.mark.parametrize("capacity", [1, 2, 3, 100])
def test_hammered_by_two_threads(capacity: int, end: str) -> None:
    rounds = max(10, EXAMPLES // 20)
    for seed in range(rounds):
        refill = None if seed % 3 else capacity - 1
        with jitter(seed):
            hammer(capacity, refill, 200, end, seed)
        sys.setswitchinterval((1e-6, 1e-4)[seed % 2])
        hammer(capacity, refill, 1000, end, seed)


def test_r7_a_waiting_reader_and_a_waiting_writer_wake_at_once() -> None:
    for leave in ("close", "cancel"):
        empty, full = Channel[int](1), Channel[int](1)
        full.put(1)
        waiting = [Side(empty.get), Side(lambda full=full: full.put(2))]
        for side in waiting:
            side.start()
        time.sleep(0.05)
        assert all(side.is_alive() for side in waiting)
        for channel in (empty, full):
            getattr(channel, leave)()
        for side in waiting:
            side.join(10)
            assert isinstance(side.error, Closed)


def test_a_signal_that_comes_first_is_not_lost() -> None:
    signal = Signal()
    signal.set()
    signal.set()
    assert signal.wait(0)
    assert not signal.wait(0)
    assert not signal.wait(-5)


def test_r6_a_stop_that_a_thread_itself_calls_just_before_it_waits_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a garbage collection may, which strikes between the look and the wait. The end of the run closes once more."""
    outlet = Outlet(Channel(10), 1, ordered=True)
    assert not outlet.put(1, "early", last=True)
    must_wait, looks = outlet._must_wait, []

    def and_close_behind_the_second_look(place: int) -> bool:
        looks.append(must_wait(place))
        if len(looks) == 2:
            outlet.close()
        return looks[-1]

    monkeypatch.setattr(outlet, "_must_wait", and_close_behind_the_second_look)
    waiting = Side(lambda: outlet.put(2, "too much", last=True))
    waiting.start()
    while not outlet._changed._waiters:  # type: ignore[attr-defined]
        time.sleep(0.001)
    outlet.close()
    waiting.join(10)
    assert isinstance(waiting.error, Closed)
