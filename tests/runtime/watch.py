"""What every test, and every example of a property test, is watched for: its time, and what it leaves behind.

And with what tests hold a run up.
"""

import faulthandler
import gc
import inspect
import logging
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from my_pipeline.pipeline_core import BaseWorker

LEAVING_SECONDS = 20.0
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
CORE_LOG = logging.getLogger("my_pipeline.pipeline_core")


def eventually(condition: Callable[[], object], seconds: float = LEAVING_SECONDS) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


class Gated(BaseWorker[Any, Any]):
    """Says that it has begun, and is done with nothing until the gate is open."""

    def __init__(self, begun: threading.Event, gate: threading.Event) -> None:
        self.begun, self.gate = begun, gate

    def process_item(self, item: Any) -> Any:
        self.begun.set()
        self.gate.wait()
        return item


class Watchdog:
    """Ends the process when something takes too long: says what it was, and where every thread stands.

    A thread of its own and not just `faulthandler.dump_traceback_later`, which cannot say what was running; that one
    stands behind it, for hangs that hold the interpreter.
    """

    def __init__(self) -> None:
        self.stderr = 2
        self._running: list[tuple[float, object]] = []
        self.thread: threading.Thread | None = None

    @contextmanager
    def limit(self, seconds: float, what: object) -> Iterator[None]:
        if self.thread is None:
            self.thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self.thread.start()
        entry = (time.monotonic() + seconds, what)
        outermost = not self._running
        self._running.append(entry)
        if outermost:
            faulthandler.dump_traceback_later(seconds + 20, exit=True, file=self.stderr)
        try:
            yield
        finally:
            self._running.remove(entry)
            if outermost:
                faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        while True:
            time.sleep(0.25)
            for deadline, what in reversed(self._running.copy()):
                if time.monotonic() > deadline:
                    os.write(self.stderr, f"\n\nRUNTIME: still running after its time: {what}\n\n".encode())
                    faulthandler.dump_traceback(file=self.stderr, all_threads=True)
                    os._exit(3)


WATCHDOG = Watchdog()


@contextmanager
def watched(what: object, *, seconds: float) -> Iterator[None]:
    """Limit the time of the block, and fail if it leaves threads, children or unhandled exceptions behind."""
    with WATCHDOG.limit(seconds, what), no_exception_lost(what), nothing_left(what):
        yield


@contextmanager
def no_exception_lost(what: object) -> Iterator[None]:
    """Fail if a thread or a finalizer of the block lost an exception, or if the core logged wrong accounts."""
    unhandled: list[str] = []
    hooks = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda args: unhandled.append(f"in {args.thread}: {args.exc_value!r}")
    sys.unraisablehook = lambda args: unhandled.append(f"unraisable in {args.object!r}: {args.exc_value!r}")
    accounts = _Accounts()
    CORE_LOG.addHandler(accounts)
    gc.freeze()  # What was there before takes most of a collection's time, the longer the more examples are kept.
    try:
        yield
        gc.collect()
        assert not unhandled, f"unhandled: {unhandled}\n{what}"
        assert not accounts.found, f"logged: {accounts.found}\n{what}"
    finally:
        gc.unfreeze()
        threading.excepthook, sys.unraisablehook = hooks
        CORE_LOG.removeHandler(accounts)


@contextmanager
def nothing_left(what: object) -> Iterator[None]:
    """Fail if the block leaves a thread or a child process running."""
    before, children = set(threading.enumerate()), set(multiprocessing.active_children())
    yield

    def left() -> set[threading.Thread]:
        return set(threading.enumerate()) - before - {WATCHDOG.thread}

    def left_children() -> set[multiprocessing.process.BaseProcess]:
        return set(multiprocessing.active_children()) - children

    eventually(lambda: not left() and not left_children())
    assert not left(), f"left running: {left()}\n{what}"
    assert not left_children(), f"left running: {left_children()}\n{what}"


def replace_in_core(monkeypatch: pytest.MonkeyPatch, old: object, new: object) -> None:
    """Wherever a module of the core, or a default of one of its methods, holds `old`, let it hold `new` instead."""
    for name, module in list(sys.modules.items()):
        if not name.startswith("my_pipeline.pipeline_core."):
            continue
        for key, value in list(vars(module).items()):
            if value is old:
                monkeypatch.setattr(module, key, new)
            elif isinstance(value, type) and value.__module__ == name:
                for method in filter(inspect.isfunction, vars(value).values()):
                    if any(default is old for default in method.__defaults__ or ()):
                        defaults = tuple(new if default is old else default for default in method.__defaults__ or ())
                        monkeypatch.setattr(method, "__defaults__", defaults)


def place(thread_name: str) -> list[tuple[int, int]]:
    """Where the thread of that name is: its frames, innermost first, and the instruction in each."""
    frames = sys._current_frames()
    for thread in threading.enumerate():
        frame = frames.get(thread.ident or 0)
        if thread.name == thread_name and frame is not None:
            return [(id(inner), inner.f_lasti) for inner, _ in traceback.walk_stack(frame)]
    return []


class _Accounts(logging.Handler):
    """Collects what the core itself says of accounts that do not balance. It never formats an item."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "do not balance" in str(record.msg):
            self.found.append(record.args)
