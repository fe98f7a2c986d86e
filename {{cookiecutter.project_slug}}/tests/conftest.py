"""What all tests share: ways to wait for threads without sleeping."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

PATIENCE = 10  # seconds that `until` waits for something that takes milliseconds on an idle machine


@pytest.fixture
def no_thread_left() -> Iterator[None]:
    """The test ends every thread that it has started, directly or not."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + PATIENCE
    while left := set(threading.enumerate()) - before:  # Some may be about to start: those cannot be joined.
        assert time.monotonic() < deadline, f"still alive: {sorted(thread.name for thread in left)}"
        time.sleep(0.001)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """An event for threads to wait for. It is set at the end, so that a test that fails leaves no thread waiting."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """`until(condition)` returns once the condition holds: for what sets no event."""

    def wait_until(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.001)

    return wait_until
