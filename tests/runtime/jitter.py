"""Random little pauses at every call, lock and deque of the core, so that threads meet in ways that they seldom would.

It goes by what Python shows of the core's modules, and knows none of their names.
"""

import functools
import inspect
import os
import random
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_random = random.Random(0)  # Its random() is atomic, so threads may share it.
_yield = getattr(os, "sched_yield", lambda: time.sleep(0))
_late = 0.0


def nudge() -> None:
    draw = _random.random()
    if draw < 0.01:
        time.sleep(draw * 0.05)
    elif draw < 0.05:
        time.sleep(0)
    elif draw < 0.1:
        _yield()


def nudged(call: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(call)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        nudge()
        try:
            return call(*args, **kwargs)
        finally:
            nudge()

    return wrapper


class NudgedDeque(deque[Any]):
    """Stands for the core's deques: it pauses between the looks and the changes of which a hand-over is made."""

    append = nudged(deque.append)
    popleft = nudged(deque.popleft)
    __len__ = nudged(deque.__len__)
    __bool__ = nudged(lambda self: deque.__len__(self) > 0)


class NudgedLock:
    """Stands for the core's locks: whoever has released one may be late to go on."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.locked = self._lock.locked

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        nudge()
        return self._lock.acquire(blocking, timeout)

    def release(self) -> None:
        self._lock.release()
        nudge()
        if _late and _random.random() < 0.1:
            time.sleep(_late)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


STAND_INS: list[tuple[object, type]] = [(deque, NudgedDeque), (threading.Lock, NudgedLock)]


def core_modules() -> list[ModuleType]:
    return [module for name, module in list(sys.modules.items()) if name.startswith("my_pipeline.pipeline_core.")]


def places() -> Iterator[tuple[Any, str, Any]]:
    """Where something of the core stands, under which name, and what takes its place."""
    for module in core_modules():
        for name, value in vars(module).items():
            for original, stand_in in STAND_INS:
                if value is original:
                    yield module, name, stand_in
            if isinstance(value, type) and value.__module__ == module.__name__:
                for method, function in vars(value).items():
                    if inspect.isfunction(function) and not method.startswith("__"):
                        yield value, method, nudged(function)


@contextmanager
def jitter(seed: int, late: float = 0.0) -> Iterator[None]:
    """Within the block the core is nudged. `late`: seconds that some threads sleep after they have released a lock."""
    global _late
    _random.seed(seed)
    _late = late
    originals = [(owner, name, vars(owner)[name], stand_in) for owner, name, stand_in in list(places())]
    for owner, name, _, stand_in in originals:
        setattr(owner, name, stand_in)
    try:
        yield
    finally:
        _late = 0.0
        for owner, name, original, _ in originals:
            setattr(owner, name, original)
