"""The channel between two stages: bounded, first in first out, closable from both ends, and it wakes whoever waits."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty
from typing import Any

import pytest

from {{ cookiecutter.package_name }}.pipeline_core.channel import (
    Channel,
    Closed,
    Signal,
)
from {{ cookiecutter.package_name }}.pipeline_core.errors import (
    PipelineError,
)

pytestmark = pytest.mark.usefixtures("no_thread_left")

Background = Callable[..., Future[Any]]


@pytest.fixture
def blocked(until: Callable[..., None], blocks_in: Callable[[str, str], bool]) -> Iterator[Background]:
    """`blocked(call, *args)` makes a call in another thread, and returns its future once it is seen to block."""
    with ThreadPoolExecutor(1, thread_name_prefix="blocked") as pool:

        def start(call: Callable[..., Any], *args: Any) -> Future[Any]:
            future = pool.submit(call, *args)
            until(lambda: blocks_in("blocked_0", "wait") or future.done())
            assert not future.done(), "the call did not block"
            return future

        yield start


def filled(capacity: int) -> Channel[int]:
    channel = Channel[int](capacity)
    for item in range(capacity):
        channel.put(item)
    return channel


def test_items_come_out_in_the_order_in_which_they_went_in() -> None:
    channel = filled(3)
    assert [channel.get() for _ in range(3)] == [0, 1, 2]


def test_get_blocks_until_an_item_is_put(blocked: Background) -> None:
    channel = Channel[int](1)
    waiting = blocked(channel.get)
    channel.put(7)
    assert waiting.result() == 7


def test_put_blocks_while_the_channel_is_full(blocked: Background) -> None:
    channel = filled(1)
    waiting = blocked(channel.put, 1)
    assert (len(channel), channel.get()) == (1, 0)
    waiting.result()
    assert channel.get() == 1


def test_a_blocked_put_goes_on_when_there_is_room_worth_waking_for(blocked: Background) -> None:
    channel = Channel[int](8)
    for item in range(8):
        channel.put(item)
    waiting = blocked(channel.put, 8)
    for _ in range(6):
        channel.get()
    with pytest.raises(TimeoutError):
        waiting.result(timeout=0.02)
    channel.get()
    waiting.result()
    assert [channel.get() for _ in range(2)] == [7, 8]


def test_get_gives_up_after_its_timeout() -> None:
    with pytest.raises(Empty):
        Channel[int](1).get(timeout=0.001)
    with pytest.raises(Empty):
        Channel[int](1).get(timeout=-1)


def test_after_close_what_is_in_is_still_read() -> None:
    channel = filled(2)
    channel.close()
    assert [channel.get(), channel.get()] == [0, 1]
    with pytest.raises(Closed):
        channel.get()
    with pytest.raises(Closed):
        channel.put(2)


def test_close_hands_on_the_failure_of_its_first_call() -> None:
    channel = Channel[int](1)
    first, second = PipelineError("one", "read"), PipelineError("two", "read")
    channel.close(first)
    channel.close(second)
    assert channel.failure is first


def test_after_cancel_nothing_is_read_and_what_is_in_stays_to_be_counted() -> None:
    channel = filled(2)
    channel.cancel()
    with pytest.raises(Closed):
        channel.get()
    with pytest.raises(Closed):
        channel.put(2)
    assert len(channel) == 2
    channel.clear()
    assert len(channel) == 0


@pytest.mark.parametrize("end", [Channel.close, Channel.cancel])
def test_r7_both_ends_wake_a_blocked_get(end: Callable[[Channel[int]], None], blocked: Background) -> None:
    channel = Channel[int](1)
    waiting = blocked(channel.get)
    end(channel)
    with pytest.raises(Closed):
        waiting.result()


@pytest.mark.parametrize("end", [Channel.close, Channel.cancel])
def test_r7_both_ends_wake_a_blocked_put(end: Callable[[Channel[int]], None], blocked: Background) -> None:
    channel = filled(1)
    waiting = blocked(channel.put, 1)
    end(channel)
    with pytest.raises(Closed):
        waiting.result()
    assert len(channel) == 1


def test_the_channel_knows_who_waited(blocked: Background) -> None:
    channel = Channel[int](1)
    waiting = blocked(channel.get)
    channel.put(0)
    waiting.result()
    assert channel.reading.seconds() > 0
    assert channel.writing.seconds() == 0
    channel.put(1)
    waiting = blocked(channel.put, 2)
    channel.get()
    waiting.result()
    assert channel.writing.seconds() > 0


@pytest.mark.parametrize("capacity", [1, 2, 100])
def test_no_wake_up_is_lost(capacity: int) -> None:
    channel = Channel[int](capacity)

    def write() -> None:
        for item in range(5_000):
            channel.put(item)

    writer = threading.Thread(target=write)
    writer.start()
    assert [channel.get() for _ in range(5_000)] == list(range(5_000))
    writer.join()


def test_a_signal_that_comes_before_the_wait_is_not_lost() -> None:
    signal = Signal()
    signal.set()
    signal.set()
    assert signal.wait() is True
    assert signal.wait(timeout=0.001) is False
