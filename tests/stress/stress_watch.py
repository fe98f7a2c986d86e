"""What every test, and every example of a property test, is watched for: time, and what it leaves behind."""

import faulthandler
import gc
import logging
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LEAVING_SECONDS = 10.0


def eventually(condition: Callable[[], object], seconds: float = LEAVING_SECONDS) -> bool:
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True


class Watchdog:
    """Ends the process when something takes too long: says what it was, and where every thread stands.

    A thread of its own and not just `faulthandler.dump_traceback_later`, which cannot say what was running; that one
    stands behind it, for hangs that hold the interpreter.
    """

    def __init__(self) -> None:
        self.stderr = 2
        self._running: list[tuple[float, Callable[[], str]]] = []
        self._thread: threading.Thread | None = None

    @contextmanager
    def limit(self, seconds: float, what: Callable[[], str]) -> Iterator[None]:
        if self._thread is None:
            self._thread = threading.Thread(target=self._watch, name="stress-watchdog", daemon=True)
            self._thread.start()
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
                    os.write(self.stderr, f"\n\nSTRESS: still running after its time: {what()}\n\n".encode())
                    faulthandler.dump_traceback(file=self.stderr, all_threads=True)
                    os._exit(3)


WATCHDOG = Watchdog()


@contextmanager
def watched(what: object, *, seconds: float, collect: bool = False) -> Iterator[None]:
    """Limit the time of the block, and fail if it leaves threads, children or unhandled exceptions behind."""
    before, children = set(threading.enumerate()), set(multiprocessing.active_children())
    unhandled: list[str] = []
    hooks = threading.excepthook, sys.unraisablehook
    threading.excepthook = lambda args: unhandled.append(f"in {args.thread}: {args.exc_value!r}")
    sys.unraisablehook = lambda args: unhandled.append(f"unraisable in {args.object!r}: {args.exc_value!r}")
    accounts = _Accounts()
    logging.getLogger("pipeline_core").addHandler(accounts)
    try:
        with WATCHDOG.limit(seconds, lambda: str(what)):
            yield
            if collect:
                gc.collect()

            def left() -> set[threading.Thread]:
                return set(threading.enumerate()) - before - {WATCHDOG._thread}

            def left_children() -> set[multiprocessing.process.BaseProcess]:
                return set(multiprocessing.active_children()) - children

            eventually(lambda: not left() and not left_children())
            assert not left(), f"left running: {left()}; unhandled: {unhandled}\n{what}"
            assert not left_children(), f"left running: {left_children()}\n{what}"
            assert not unhandled, f"unhandled: {unhandled}\n{what}"
            assert not accounts.found, f"logged: {accounts.found}\n{what}"
    finally:
        threading.excepthook, sys.unraisablehook = hooks
        logging.getLogger("pipeline_core").removeHandler(accounts)


class _Accounts(logging.Handler):
    """Collects what the core itself says of accounts that do not balance. It never formats an item."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[Any] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "do not balance" in str(record.msg):
            self.found.append(record.args)
