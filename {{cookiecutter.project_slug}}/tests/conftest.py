"""What all tests share: a time limit that shows where each thread is, and ways to wait for threads without sleeping."""

import faulthandler
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

TIME_LIMIT = 60  # seconds for one test, also for one that waits for threads that never come
PATIENCE = 10  # seconds that `until` waits for something that takes milliseconds on an idle machine

_stderr = 2


def pytest_configure() -> None:
    global _stderr
    _stderr = os.dup(2)  # The real one: while tests run, pytest captures what goes to 2.


@pytest.fixture(autouse=True)
def time_limit() -> Iterator[None]:
    """A test that hangs ends the run, with the stacks of all threads."""
    faulthandler.dump_traceback_later(TIME_LIMIT, exit=True, file=_stderr)
    yield
    faulthandler.cancel_dump_traceback_later()


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
